"""Bounds on margins over boxes of residual streams, for the checker.

Shares no code with the certifier; the theorems are those of docs/certification.md.
"""

import math
from dataclasses import dataclass

import numpy as np

from interp.check_certificate.rounding import (
    LIBRARY,
    OWN,
    PEAK,
    TINY,
    U32,
    Matrix,
    Norm,
    gamma,
    lost,
    mean,
    multiply,
    rms,
)

SLOPE = 1.13
"""Above sup |gelu'|."""
NEARLY = 1 - 2.0**-20
"""A box may take up this much of the norm's scale."""


@dataclass(frozen=True)
class Box:
    """Boxes y = centre + axes u + t + e with |u| <= width, |t| <= slack, |e| <= error.

    Attributes:
        centre: (leaf, d); width: the same, along the axes.
        error: Effect of rounding in float32; a share of it covers this program's rounding.
        slack: What the axes miss and this program rounds: it counts in real arithmetic too.
        axes: (d, d), the same for all.
        usable: Where the numbers bound anything.
        fits: Where float32 has stayed below 2^127 so far.
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
    """Margins of the true token against the 13 others, times the last norm's scale.

    Attributes:
        value: At the centre, (leaf, 13).
        real: Reach in real arithmetic, float32: in float32; infinite where nothing is bounded.
        slope: Derivative along the axes, (leaf, 13, d).
    """

    value: np.ndarray
    real: np.ndarray
    float32: np.ndarray
    slope: np.ndarray


@dataclass(frozen=True)
class _Point:
    """The network at the centres."""

    y: np.ndarray
    c: np.ndarray
    s: np.ndarray
    ratio: np.ndarray
    z: np.ndarray
    post: np.ndarray
    slope: np.ndarray
    f: np.ndarray


@dataclass(frozen=True)
class _Swing:
    """How far scale and units can move over |delta| <= wide."""

    ok: np.ndarray
    wide: np.ndarray
    low: np.ndarray
    bent: np.ndarray
    moved: np.ndarray


class Head:
    """The network after attention."""

    def __init__(
        self, norm: Norm, w_in: Matrix, w_out: Matrix, last: Norm, head: np.ndarray
    ) -> None:
        """Keep the weights.

        Args:
            norm: The second norm.
            w_in: Into the feed-forward units.
            w_out: Out of them.
            last: The last norm.
            head: The unembedding, (d, 14).
        """
        self.norm, self.w_in, self.w_out, self.last, self.head = norm, w_in, w_out, last, head
        self.d = len(head)
        self.unembed = multiply([head])
        inward = norm.gain[:, None] * w_in.value
        self.inward = inward - inward.mean(axis=0) if norm.layer else inward
        self.shift = norm.bias @ w_in.value

    def margins(self, box: Box, truth: int) -> Margins:
        """Bound the margins of token `truth`."""
        others = [c for c in range(14) if c != truth]
        raw = self.last.gain[:, None] * (self.head[:, [truth]] - self.head[:, others])
        pull = raw - raw.mean(axis=0) if self.last.layer else raw
        beta = self.last.bias @ (self.head[:, [truth]] - self.head[:, others])
        at = self._point(box.centre)
        # d z_h / d y, times the slope: (leaf, h, d); then the derivative of f.
        bow = at.ratio / (self.d * at.s * at.s)
        dz = self.inward.T / at.s[..., None] - bow[..., None] * at.c[:, None, :]
        df = (at.slope[..., None] * dz).transpose(0, 2, 1) @ self.w_out.value + np.eye(self.d)
        gradient, value = df @ pull, at.f @ pull
        sigma = np.ones_like(at.s)
        if self.last.layer:
            centred = at.f - mean(at.f)
            sigma = np.sqrt(mean(centred * centred) + self.last.eps)
            gradient = gradient + (df @ (centred / (self.d * sigma))[..., None]) * beta
            value = value + sigma * beta

        across = box.width @ np.abs(box.axes).T + box.slack
        rough = self._swing(at, across + (1 + OWN) * box.error)
        fine = self._swing(at, across + OWN * box.error)
        pre, rounding, spread, peak = self._rounding(at, rough, truth, others)
        least = np.maximum(sigma - OWN * spread, math.sqrt(self.last.eps))
        turned = (box.axes.T @ gradient).transpose(0, 2, 1)  # (leaf, 13, d)
        along = (np.abs(turned) @ box.width[..., None])[..., 0]
        tilt = np.abs(gradient).transpose(0, 2, 1)
        along = along + (tilt @ box.slack[..., None])[..., 0]
        rounding = rounding + (tilt @ box.error[..., None])[..., 0]
        real = along + self._remainder(at, fine, pre, pull, beta, least) + OWN * rounding
        float32 = along + self._remainder(at, rough, pre, pull, beta, least)
        float32 = float32 + (1 + OWN) * rounding
        proves = box.usable & fine.ok & rough.ok
        proves32 = proves & box.fits & (peak < PEAK)
        return Margins(
            value,
            np.where(proves[:, None], real, np.inf),
            np.where(proves32[:, None], float32, np.inf),
            turned,
        )

    def _point(self, y: np.ndarray) -> _Point:
        c = y - mean(y) if self.norm.layer else y
        s = np.sqrt(mean(c * c) + self.norm.eps)
        ratio = (y @ self.inward) / s
        z = ratio + self.shift
        cdf = 0.5 + 0.5 * _erf(z / math.sqrt(2))
        slope = cdf + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        post = z * cdf
        return _Point(y, c, s, ratio, z, post, slope, y + post @ self.w_out.value)

    def _swing(self, at: _Point, wide: np.ndarray) -> _Swing:
        """Bound how far the scale and the inputs of the units move over |delta| <= wide."""
        reach = rms(wide) + rms(self.norm.centring(np.abs(at.y) + wide))
        ok = reach < NEARLY * at.s
        wide = np.where(ok, wide, 0.0)
        epsilon = rms(wide)
        low = at.s - epsilon
        swing = wide @ np.abs(self.inward)
        bent = (1.5 * np.abs(at.ratio) * epsilon + swing) * (epsilon / low) / at.s
        along = (np.abs(at.c) * wide).sum(axis=1, keepdims=True) / (self.d * at.s)
        moved = swing / at.s + np.abs(at.ratio) * along / at.s + bent
        return _Swing(ok[:, 0], wide, low, bent, moved)

    def _remainder(
        self,
        at: _Point,
        box: _Swing,
        pre: np.ndarray,
        pull: np.ndarray,
        beta: np.ndarray,
        least: np.ndarray,
    ) -> np.ndarray:
        """Bound what the gradient leaves over: of the norm, the GELU and the last scale."""
        closest = np.abs(at.z) - box.moved - OWN * pre
        second = np.abs(at.slope) * box.bent + 0.5 * _bend(closest) * box.moved * box.moved
        remainder = second @ np.abs(self.w_out.value @ pull)
        if self.last.layer:
            shift = box.wide + SLOPE * box.moved @ np.abs(self.w_out.value)
            drift = rms(second @ np.abs(self.w_out.value))
            remainder += np.abs(beta) * (rms(shift) ** 2 / (2 * least) + drift)
        return remainder

    def _rounding(
        self, at: _Point, box: _Swing, truth: int, others: list[int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Bound the rounding after attention, at every point of a box.

        Returns:
            Error of the units' inputs, of the margins, of the last scale (LayerNorm only), and the
            size of the largest intermediate.
        """
        d, norm, last = self.d, self.norm, self.last
        size, y_size = np.abs(at.c) + box.wide, np.abs(at.y) + box.wide
        if norm.layer:
            size = size + mean(box.wide)
        centring = norm.centring(y_size)
        inverse = 1 / np.maximum(box.low - rms(centring), at.s * (1 - NEARLY))
        normed = size * inverse * np.abs(norm.gain) + np.abs(norm.bias)
        own = gamma(d + 8 + LIBRARY) * normed + norm.underflow
        own = own + (centring + size * rms(centring) * inverse) * inverse * np.abs(norm.gain)
        pre = own @ np.abs(self.w_in.value) + self.w_in.underflow
        pre += self.w_in.relative * ((normed + own) @ self.w_in.size)
        z_size, post = np.abs(at.z) + box.moved, np.abs(at.post) + SLOPE * box.moved
        gelu = SLOPE * pre + (LIBRARY + 3) * U32 * (z_size + pre) + 4 * TINY
        out = gelu @ np.abs(self.w_out.value) + self.w_out.underflow
        out += self.w_out.relative * ((post + gelu) @ self.w_out.size)
        f_size = np.abs(at.f) + box.wide + SLOPE * box.moved @ np.abs(self.w_out.value)
        out = out + gamma(2) * (f_size + out) + 2 * TINY
        f_size = f_size + out
        heads = np.abs(self.head[:, [truth]]) + np.abs(self.head[:, others])
        both = np.abs(last.gain)[:, None] * heads
        both = both + both.mean(axis=0) if last.layer else both
        raw = last.gain[:, None] * (self.head[:, [truth]] - self.head[:, others])
        pull = raw - raw.mean(axis=0) if last.layer else raw
        rounding = out @ np.abs(pull) + gamma(2 * d + 8 + LIBRARY) * (f_size @ both)
        largest = np.sqrt(mean(f_size * f_size) + last.eps)
        rounding += largest * (2 * lost(d) + last.underflow @ heads)
        spread = np.zeros_like(at.s)
        if last.layer:
            centring = last.centring(f_size)
            rounding += centring @ np.abs(raw)
            spread = rms(out + mean(out) + centring)
            beta = last.bias @ (self.head[:, [truth]] - self.head[:, others])
            rounding += np.abs(beta) * spread
            sizes = np.abs(last.bias) @ heads
            rounding += gamma(2 * d + 8 + LIBRARY) * (largest + spread) * sizes
        final = 2 * f_size / math.sqrt(last.eps) * np.abs(last.gain) + np.abs(last.bias)
        peaks = [
            norm.peak(y_size, inverse),
            self.w_in.peak(normed + own),
            (z_size + pre).max(axis=1),
            self.w_out.peak(post + gelu),
            last.peak(f_size, np.full_like(at.s, 1 / math.sqrt(last.eps))),
            self.unembed.peak(final),
        ]
        return pre, rounding, spread, np.max(peaks, axis=0)


def _erf(x: np.ndarray) -> np.ndarray:
    return np.array(np.frompyfunc(math.erf, 1, 1)(x), dtype=float)


def _bend(closest: np.ndarray) -> np.ndarray:
    """Bound |gelu''| beyond `closest`."""
    near = np.maximum(closest, 0.0)
    size = np.exp(-near * near / 2) * np.abs(2 - near * near) / math.sqrt(2 * math.pi)
    return np.where(
        near >= 2, size, np.where(near < math.sqrt(2), np.maximum(size, 0.10799), 0.10799)
    )
