"""The margins of the true token over a box of residual streams, by the mean value theorem.

After attention the stream is y, then

    f = y + act(g W_in + b_in) W_out + b_out   (or gated),   g = norm2(y),
    m_c = (f G_t - f G_c) + sigma(f) (beta_t - beta_c),   G = gain W_U, beta = bias W_U + b_U,

where token t beats token c exactly when m_c > 0: the last norm divides by sigma > 0. Over the box
y0 + Q u, |u| <= w, m_c stays within sum |dm_c / du_i| w_i of m_c(y0), the slopes enclosed over the
whole box. Everything is a ball, so rounding is included.
"""

from dataclasses import dataclass

import numpy as np

from interp.certify_any.activations import activate, slope
from interp.certify_any.balls import UP, Ball
from interp.certify_any.boxes import Box
from interp.certify_any.tables import arrays
from model.network import Network
from model.parts import Activation


@dataclass(frozen=True)
class Margins:
    """Margins over the boxes of some cells, (cell, token); those of the true token are infinite.

    Attributes:
        middle: Margin at the centre, times the scale of the last norm.
        reach: How far the margin can be from it over the box.
        rounding: Radius of the margin at the centre.
        slopes: The slopes over the box, (cell, direction, token).
    """

    middle: np.ndarray
    reach: np.ndarray
    rounding: np.ndarray
    slopes: Ball


class Head:
    """The network after attention."""

    def __init__(self, network: Network) -> None:  # noqa: D107
        w = {name: Ball.exact(x) for name, x in arrays(network).items()}
        d = network.d_model
        self.act: Activation = network.act
        self.normed = network.norm != "none"
        self.centring = Ball.exact(np.eye(d))
        if network.norm == "layer":
            self.centring = self.centring - Ball.exact(np.full((d, d), float(d))).inverse()
        self.eps = Ball.exact(network.eps)
        gain = w["ln2_w"].reshape(d, 1)
        self.reads = [
            (self.centring @ (gain * w[name]), (w["ln2_b"] @ w[name]) + w[bias])
            for name, bias in (("W_in", "b_in"), ("W_gate", "b_gate"))
            if name in w and network.act != "none"
        ]
        self.W_out, self.b_out = w["W_out"], w["b_out"]
        G = self.centring @ (w["ln_final_w"].reshape(d, 1) * w["W_U"])
        beta = (w["ln_final_b"] @ w["W_U"]) + w["b_U"]
        tokens = range(network.layout.vocab_size)
        self.G = [G[:, t, None] - G for t in tokens]
        self.writes = [self.W_out @ x for x in self.G]
        self.beta = [beta[t, None] - beta for t in tokens]
        self.biased = bool((beta.size > 0).any())

    def margins(self, box: Box, axes: np.ndarray, target: int) -> Margins:
        """Bound the margins of cells that have the same true token.

        Args:
            box: Where the residual stream can be.
            axes: Directions of the box, (d, direction).
            target: The true token.
        """
        Q = Ball.exact(axes)
        G, beta = self.G[target], self.beta[target]
        f, moved = self._feed_forward(box, Q)
        value, rows = f @ G, _row(Q)
        slopes = (rows @ G).repeat(len(box.width))
        if moved is not None:
            slopes = slopes + moved @ self.writes[target]
        if self.biased and self.normed:
            along = rows.repeat(len(box.width))
            along = along if moved is None else along + moved @ self.W_out
            centred = f @ self.centring
            turned = along @ self.centring
            wide = centred.widen(_reach(turned.size, box.width))
            scale = (centred.square().mean() + self.eps).root()
            away = np.sqrt((wide.radius**2).mean(axis=-1, keepdims=True)) * UP
            pull = (turned * wide[:, None]).mean() * scale.widen(away).inverse()[:, None]
            value, slopes = value + scale * beta, slopes + pull * beta
        elif self.biased:
            value = value + beta
        reach = (_reach(slopes.size, box.width) + value.radius) * UP
        middle = value.middle.copy()
        middle[:, target], reach[:, target] = np.inf, 0.0
        return Margins(middle, reach, value.radius, slopes)

    def _feed_forward(self, box: Box, Q: Ball) -> tuple[Ball, Ball | None]:
        """Enclose f at the centres, and how the units move over the boxes, (cell, direction, unit).

        The scale of a norm is a norm of (y, const): it moves by at most rms of what y moves by.
        """
        y, width = box.centre, box.width
        if not self.reads:
            return y, None
        centred = y @ self.centring
        turned = self.centring @ Q
        swing = width @ turned.size.T * UP
        inner = (y @ turned).widen(width @ (_row(turned) @ turned).size * UP)
        scale = inverse = pull = None
        if self.normed:
            scale = (centred.square().mean() + self.eps).root()
            inverse = scale.widen(np.sqrt((swing * swing).mean(axis=-1, keepdims=True)) * UP)
            inverse = inverse.inverse()
            d = Ball.exact(float(len(Q.middle))).inverse()
            pull = inner * d * inverse * inverse * inverse
        centres, ranges, slopes = [], [], []
        for A, b in self.reads:
            read, rows = y @ A, _row(Q) @ A
            wide = read.widen(width @ rows.size * UP)
            if scale is None or inverse is None or pull is None:
                centre, loose = read + b, wide + b
                slow = rows.repeat(len(width))
            else:
                centre, loose = read * scale.inverse() + b, wide * inverse + b
                slow = rows[None] * inverse[:, None] - wide[:, None] * pull[:, :, None]
            centres.append(centre)
            ranges.append(centre.widen(_reach(slow.size, width)).narrower(loose))
            slopes.append(slow)
        if len(self.reads) == 1:
            at, moved = (
                activate(centres[0], self.act),
                slope(ranges[0], self.act)[:, None] * slopes[0],
            )
        else:
            at = activate(centres[1], self.act) * centres[0]
            moved = (slope(ranges[1], self.act) * ranges[0])[:, None] * slopes[1]
            moved = moved + activate(ranges[1], self.act)[:, None] * slopes[0]
        return y + at @ self.W_out + self.b_out, moved


def _row(x: Ball) -> Ball:
    return x.transpose(1, 0)


def _reach(size: np.ndarray, width: np.ndarray) -> np.ndarray:
    """How far something moves whose slopes have a size of at most (cell, direction, place)."""
    return (size * width[:, :, None]).sum(axis=1) * UP
