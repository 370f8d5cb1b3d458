"""Bounds of the margins over a box of residual streams: a mean-value form with explicit remainders.

After attention the residual stream is y = y0 + delta, delta in a box. With s(y) the scale
of the second norm, z_h = y U_h / s + b_h the inputs of the GELU and f = y + gelu(z) W_out, the last
norm divides f by a positive number, so the true token t beats token c exactly when

    m_c = f G_t - f G_c + sigma(f) (beta_t - beta_c) > 0

with G = ln_final_w * W_U and beta = ln_final_b W_U (0 for RMSNorm; LayerNorm's centring is folded
into U and G). m_c is expanded at y0: gradient times half width, plus remainders of the norm, the
GELU and sigma that are bounded in closed form, plus the rounding of a floating-point evaluation.
Derivations: docs/certification.md.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import erf

from interp.certify.range import LARGEST_SIZE, in_norm, through
from interp.certify.rounding import (
    LIBRARY_ULPS,
    Roundoff,
    centring_error,
    linear,
    norm_underflow,
    numpy_params,
)
from model.adder import Adder
from model.config import VOCAB_SIZE
from model.factored import factor_names

GELU_SLOPE = 1.13
"""Above sup |gelu'| = gelu'(sqrt 2) = 1.1289..."""
_TAIL = 0.10799
"""Above max |gelu''| over |z| >= sqrt 2, taken at z = 2: 2 phi(2) = 0.10798..."""
_NARROW = 1 - 2.0**-20
"""A box may take up this much of the scale of the second norm."""
_PHI0 = 1 / np.sqrt(2 * np.pi)


def curvature(closest: np.ndarray) -> np.ndarray:
    """Bound |gelu''(z)| = phi(z) |2 - z^2| over all |z| >= `closest` (>= 0); it never increases."""
    square = closest * closest
    size = _PHI0 * np.exp(-square / 2) * np.abs(2 - square)
    return np.where(square < 2, np.maximum(size, _TAIL), np.where(closest < 2, _TAIL, size))


@dataclass(frozen=True)
class Box:
    """Where the residual stream can be after attention: centre + axes u + t + e.

    Attributes:
        centre: Shape (cell, d).
        width: Bound of |u| in real arithmetic, (cell, d).
        error: Bound of |e|, the effect of rounding, in the coordinates of the stream, (cell, d).
        slack: Bound of |t|, what the axes miss and the certifier itself rounds, (cell, d).
        axes: Directions, in columns, (d, d); the same for all cells.
        usable: Whether the numbers bound anything, (cell,).
        fits: Whether float32 has stayed below 2^127 so far, (cell,).
    """

    centre: np.ndarray
    width: np.ndarray
    error: np.ndarray
    slack: np.ndarray
    axes: np.ndarray
    usable: np.ndarray
    fits: np.ndarray


@dataclass(frozen=True)
class Margins:
    """Margins of the true token against each of the 14 tokens over boxes, shape (cell, token).

    The true token's own column is +infinity in `value` and zero elsewhere. A verdict needs |value|
    to exceed the reach, which is infinite where nothing is bounded.

    Attributes:
        value: Margin at the centre, times the positive scale of the last norm.
        real: How far the margin can be from `value` within the box, in real arithmetic (the
            certifier's own rounding included).
        float32: The same for the margin that a float32 forward pass computes.
        rounding: The part of `float32` that is due to rounding and not to the width of the box.
        gradient: Derivative of the margin along the axes of the box, (cell, token, d).
    """

    value: np.ndarray
    real: np.ndarray
    float32: np.ndarray
    rounding: np.ndarray
    gradient: np.ndarray


@dataclass(frozen=True)
class _Point:
    """The forward pass at the centre of each cell, and the derivative of its margins."""

    y: np.ndarray
    centred: np.ndarray
    scale: np.ndarray
    ratio: np.ndarray
    z: np.ndarray
    slope: np.ndarray
    post: np.ndarray
    f: np.ndarray
    sigma: np.ndarray
    value: np.ndarray
    gradient: np.ndarray


@dataclass(frozen=True)
class _Swing:
    """What can happen over a box: whether it is small enough, its width, least scale, movements.

    `bent` is what is not linear in the movement of z, `moved` all of it, `shift` that of f.
    """

    inside: np.ndarray
    wide: np.ndarray
    low: np.ndarray
    bent: np.ndarray
    moved: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True)
class _Rounding:
    """Errors of the units' inputs, the margins and the last scale; the largest intermediate."""

    pre: np.ndarray
    margin: np.ndarray
    spread: np.ndarray
    largest: np.ndarray


class Head:
    """The network after attention, with what its bounds need; centring is folded into matrices.

    Args:
        model: The network.
        unit: The arithmetic whose rounding is bounded.
        own_share: Part of that rounding which bounds the certifier's own.
    """

    def __init__(self, model: Adder, unit: Roundoff, own_share: float) -> None:  # noqa: D107
        params, config = numpy_params(model), model.config
        d = config.d_model
        zero = np.zeros(d)
        self.config, self.unit, self.own_share = config, unit, own_share
        self.layer = config.norm == "layer"
        self.W_in = linear(params, factor_names(model.params, "W_in"))
        self.W_out = linear(params, factor_names(model.params, "W_out"))
        self.gain, self.bias = params["ln2_w"], params.get("ln2_b", zero)
        self.last_gain, self.last_bias = params["ln_final_w"], params.get("ln_final_b", zero)
        self.W_U = W_U = params["W_E"].T
        centring = np.eye(d) - (1.0 / d if self.layer else 0.0)
        self.U = centring @ (self.gain[:, None] * self.W_in.matrix)
        self.b = self.bias @ self.W_in.matrix
        raw = self.last_gain[:, None] * W_U
        self.G = centring @ raw
        self.writes = self.W_out.matrix @ self.G  # (ff, token)
        self.read = (self.U.T[:, None, :] * self.writes[:, :, None]).reshape(config.d_ff, -1)
        self.beta = self.last_bias @ W_U
        # Sizes of differences between two tokens, (d or ff, token pair).
        pairs = (self.G[:, :, None] - self.G[:, None, :]).reshape(d, -1)
        self.pairs = np.abs(pairs)
        self.raw_pairs = np.abs(raw[:, :, None] - raw[:, None, :]).reshape(d, -1)
        self.write_pairs = np.abs(self.W_out.matrix @ pairs)
        size = np.abs(raw) + (np.abs(raw).mean(axis=0) if self.layer else 0.0)
        self.sizes = (size[:, :, None] + size[:, None, :]).reshape(d, -1)
        # What a pair of logits loses to underflow, per unit of the last scale.
        loss = norm_underflow(self.last_gain, unit) @ np.abs(W_U)
        self.head_loss = 2 * unit.lost(d) + loss[:, None] + loss[None, :]
        bias_size = np.abs(self.last_bias) @ np.abs(W_U)
        self.bias_sizes = bias_size[:, None] + bias_size[None, :]

    def margins(self, box: Box, target: np.ndarray) -> Margins:
        """Bound the margins of every cell.

        Args:
            box: Where the residual stream can be.
            target: True tokens, (cell,).
        """
        point = self._expand(box.centre, target)
        share = self.own_share
        wide = box.width @ np.abs(box.axes).T + box.slack
        narrow = self._swing(point, wide + share * box.error)
        whole = self._swing(point, wide + (1 + share) * box.error)
        own = self._rounding(point, whole, target)
        least = np.maximum(point.sigma - share * own.spread, np.sqrt(self.config.eps))
        turned = point.gradient @ box.axes
        steep = np.abs(point.gradient)
        linear_part = (np.abs(turned) @ box.width[:, :, None])[:, :, 0]
        linear_part += (steep @ box.slack[:, :, None])[:, :, 0]
        rounding = (steep @ box.error[:, :, None])[:, :, 0] + own.margin
        real = (
            linear_part + self._remainder(point, narrow, own.pre, least, target) + share * rounding
        )
        float32 = linear_part + self._remainder(point, whole, own.pre, least, target)
        float32 += (1 + share) * rounding
        bounded = box.usable & narrow.inside & whole.inside
        real[~bounded] = np.inf
        float32[~(bounded & box.fits & (own.largest < LARGEST_SIZE))] = np.inf
        true = np.arange(len(target)), target
        for reach in (real, float32, rounding):
            reach[true] = 0.0
        point.value[true] = np.inf
        return Margins(point.value, real, float32, rounding, turned)

    def _expand(self, y: np.ndarray, target: np.ndarray) -> _Point:
        n, d = y.shape
        rows = np.arange(n)
        W_out = self.W_out.matrix
        c = y - y.mean(axis=1, keepdims=True) if self.layer else y
        s = np.sqrt((c * c).mean(axis=1) + self.config.eps)[:, None]
        ratio = y @ self.U / s
        z = ratio + self.b
        cdf = 0.5 * (1 + erf(z / np.sqrt(2)))
        slope, post = cdf + z * _PHI0 * np.exp(-z * z / 2), z * cdf
        f = y + post @ W_out
        logits = f @ self.G
        # dz_h/dy = U_h / s - p_h c / (d s^3), p = ratio s, summed over h with slope_h W_out_h G.
        gradient = (slope @ self.read).reshape(n, VOCAB_SIZE, d) / s[:, :, None]
        pull = (slope * ratio) @ self.writes / (d * s * s)
        gradient += self.G.T - pull[:, :, None] * c[:, None, :]
        sigma = np.zeros((n, 1))
        if self.layer:
            centred = f - f.mean(axis=1, keepdims=True)
            sigma = np.sqrt((centred * centred).mean(axis=1) + self.config.eps)[:, None]
            logits = logits + sigma * self.beta
            towards = centred / (d * sigma)
            along = slope * (towards @ W_out.T)
            inward = (along * ratio).sum(axis=1, keepdims=True) * c / (d * s * s)
            bend = towards + (along @ self.U.T) / s - inward
            gradient += self.beta[:, None] * bend[:, None, :]
        gradient = gradient[rows, target][:, None, :] - gradient
        value = logits[rows, target][:, None] - logits
        return _Point(y, c, s, ratio, z, slope, post, f, sigma, value, gradient)

    def _swing(self, at: _Point, wide: np.ndarray) -> _Swing:
        """Bound how far the scale and the units' inputs move over |delta| <= wide."""
        d, s = self.config.d_model, at.scale
        centring = centring_error(np.abs(at.y) + wide, self.config, self.unit)
        taken = np.sqrt((wide * wide).mean(axis=1)) + np.sqrt((centring * centring).mean(axis=1))
        inside = taken < _NARROW * s[:, 0]
        wide = np.where(inside[:, None], wide, 0.0)
        epsilon = np.sqrt((wide * wide).mean(axis=1))[:, None]
        low = s - epsilon
        share = epsilon / low / s
        swing = wide @ np.abs(self.U)
        bent = np.abs(at.ratio) * 1.5 * epsilon * share + swing * share
        along = (np.abs(at.centred) * wide).sum(axis=1, keepdims=True) / (d * s)
        moved = swing / s + np.abs(at.ratio) * along / s + bent
        shift = wide + (GELU_SLOPE * moved) @ np.abs(self.W_out.matrix)
        return _Swing(inside, wide, low, bent, moved, shift)

    def _remainder(
        self, at: _Point, box: _Swing, pre: np.ndarray, least: np.ndarray, target: np.ndarray
    ) -> np.ndarray:
        """Bound what the gradient leaves over: of the norm, the GELU and the last scale."""
        closest = np.maximum(np.abs(at.z) - box.moved - self.own_share * pre, 0)
        second = np.abs(at.slope) * box.bent + 0.5 * curvature(closest) * box.moved * box.moved
        remainder = _of_target(second @ self.write_pairs, target)
        if self.layer:
            drift = second @ np.abs(self.W_out.matrix)
            bow = (box.shift * box.shift).mean(axis=1, keepdims=True) / (2 * least)
            bow = bow + np.sqrt((drift * drift).mean(axis=1, keepdims=True))
            remainder += np.abs(self.beta[target][:, None] - self.beta) * bow
        return remainder

    def _rounding(self, at: _Point, box: _Swing, target: np.ndarray) -> _Rounding:
        """Bound the rounding of the second norm, the feed-forward layer and the head over a box."""
        unit, d, eps = self.unit, self.config.d_model, self.config.eps
        c = np.abs(at.centred) + box.wide
        y = np.abs(at.y) + box.wide
        if self.layer:
            c += box.wide.mean(axis=1, keepdims=True)
        centring = centring_error(y, self.config, unit)
        spread = np.sqrt((centring * centring).mean(axis=1, keepdims=True))
        low = np.maximum(box.low - spread, (1 - _NARROW) * at.scale)
        normed = c / low * np.abs(self.gain) + np.abs(self.bias)
        own = unit.gamma(d + 8 + LIBRARY_ULPS) * normed + norm_underflow(self.gain, unit)
        own += (centring + c * spread / low) / low * np.abs(self.gain)
        pre = own @ np.abs(self.W_in.matrix) + (normed + own) @ self.W_in.rounding(unit)
        pre += self.W_in.underflow(unit)
        z = np.abs(at.z) + box.moved
        post = np.abs(at.post) + GELU_SLOPE * box.moved
        gelu = GELU_SLOPE * pre + (LIBRARY_ULPS + 3) * unit.u * (z + pre) + 4 * unit.tiny
        out = gelu @ np.abs(self.W_out.matrix) + (post + gelu) @ self.W_out.rounding(unit)
        out += self.W_out.underflow(unit)
        f = np.abs(at.f) + box.shift
        out += unit.gamma(2) * (f + out) + 2 * unit.tiny
        f = f + out
        head = unit.gamma(2 * d + 8 + LIBRARY_ULPS)
        sigma = np.sqrt((f * f).mean(axis=1, keepdims=True) + eps)
        total = _of_target(out @ self.pairs + head * (f @ self.sizes), target)
        total += sigma * self.head_loss[target]
        spread = np.zeros_like(low)
        if self.layer:
            centring = centring_error(f, self.config, unit)
            total += _of_target(centring @ self.raw_pairs, target)
            away = out + out.mean(axis=1, keepdims=True) + centring
            spread = np.sqrt((away * away).mean(axis=1, keepdims=True))
            total += np.abs(self.beta[target][:, None] - self.beta) * spread
            total += head * (sigma + spread) * self.bias_sizes[target]
        last = 2 * f / np.sqrt(eps) * np.abs(self.last_gain) + np.abs(self.last_bias)
        floor = np.full_like(low, np.sqrt(eps))
        largest = [
            in_norm(y, low, self.gain, self.bias, self.layer),
            through(normed + own, self.W_in.factors),
            (z + pre).max(axis=1),
            through(post + gelu, self.W_out.factors),
            in_norm(f, floor, self.last_gain, self.last_bias, self.layer),
            through(last, (self.W_U,)),
        ]
        return _Rounding(pre, total, spread, np.max(largest, axis=0))


def _of_target(pairs: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Take the row of each cell's true token out of flattened (token, token) columns."""
    n = len(pairs)
    return pairs.reshape(n, VOCAB_SIZE, VOCAB_SIZE)[np.arange(n), target]
