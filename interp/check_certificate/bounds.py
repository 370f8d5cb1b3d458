"""Bounds on margins, for the checker of certificates; shares no code with the certifier.

Everything is a value with a bound of the error that an arithmetic of unit roundoff `U32` makes in
it, operation by operation (class `Approx`); the theorems are those of docs/certification.md.
"""

import math
from dataclasses import dataclass

import numpy as np

from interp.check_certificate.cells import LEFT, RIGHT, TOTAL, Sets

U32 = 2.0**-24
OWN = 8 * 2.0**-53 / U32
"""Share of the float32 bounds that covers this program's own float64."""
LIBRARY = 4
BIG = 1e30
Tensors = dict[str, np.ndarray]


def gamma(n: int) -> float:
    """Bound the relative effect of n roundings."""
    return n * U32 / (1 - n * U32)


def rms(x: np.ndarray) -> np.ndarray:
    """Root of the mean square over the last axis, kept."""
    return np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True))


def mean(x: np.ndarray) -> np.ndarray:
    """Mean over the last axis, kept."""
    return x.mean(axis=-1, keepdims=True)


@dataclass(frozen=True)
class Approx:
    """A real value and how far the computed one can be from it."""

    value: np.ndarray
    error: np.ndarray

    @property
    def size(self) -> np.ndarray:
        """Bound of the computed magnitude."""
        return np.abs(self.value) + self.error


@dataclass(frozen=True)
class Matrix:
    """A stored matrix or product of two: value, product of absolute values, roundings a term."""

    value: np.ndarray
    size: np.ndarray
    roundings: int


class Checker:
    """The network, read from its tensors, with every bound that a leaf needs."""

    def __init__(self, tensors: Tensors, config: dict) -> None:
        """Read the weights.

        Args:
            tensors: Stored parameters in float64.
            config: The configuration in the checkpoint's card.
        """
        self.t, self.d = tensors, int(config["d_model"])
        self.layer = config["norm"] == "layer"
        self.eps = 1e-5 if self.layer else 1e-8
        self.pos_rank = int(config["pos_rank"])
        embedding, where = tensors["W_E"], self.matrix("W_pos")
        stream = embedding + where.value[:33, None]
        scale = gamma(self.pos_rank + 1) * (np.abs(embedding) + where.size[:33, None])
        self.x = Approx(stream, scale)
        h = self.norm(self.x, "ln1")
        q, k, v = (self.apply(h, self.product(names)) for names in qkv(config["tie_qkv"], tensors))
        self.q, self.k = q, k
        out = self.matrix("W_O")
        mixing = gamma(70)
        error = (v.error + mixing * v.size) @ np.abs(out.value)
        error += (1 + mixing) * gamma(out.roundings) * (v.size @ out.size)
        self.ov = Approx(v.value @ out.value, error)
        self.w_in, self.w_out = self.matrix("W_in"), self.matrix("W_out")

    def product(self, names: tuple[str, ...]) -> Matrix:
        """Multiply stored factors."""
        factors = [self.t[name] for name in names]
        value, size = factors[0], np.abs(factors[0])
        for factor in factors[1:]:
            value, size = value @ factor, size @ np.abs(factor)
        return Matrix(value, size, sum(len(factor) for factor in factors))

    def matrix(self, name: str) -> Matrix:
        """Read a matrix that is stored whole or as two factors."""
        return self.product((name,) if name in self.t else (f"{name}_A", f"{name}_B"))

    def apply(self, x: Approx, w: Matrix) -> Approx:
        """Multiply by a matrix from the right."""
        moved = x.error @ np.abs(w.value)
        return Approx(x.value @ w.value, moved + gamma(w.roundings) * (x.size @ w.size))

    def centring(self, size: np.ndarray) -> np.ndarray:
        """Bound the rounding of subtracting the mean."""
        return gamma(self.d + 4) * (size + mean(size)) if self.layer else np.zeros_like(size)

    def gain(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Read gain and bias of a norm."""
        gain = self.t[f"{name}_w"]
        return gain, self.t.get(f"{name}_b", np.zeros_like(gain))

    def norm(self, x: Approx, name: str) -> Approx:
        """Normalise."""
        gain, bias = self.gain(name)
        c = x.value - mean(x.value) if self.layer else x.value
        error = (
            x.error
            + (mean(x.error) if self.layer else 0.0)
            + self.centring(np.abs(x.value) + x.error + (mean(x.error) if self.layer else 0.0))
        )
        s = np.sqrt(mean(c * c) + self.eps)
        low = np.where(s > rms(error), s - rms(error), np.nan)
        moved = error / low + np.abs(c) * rms(error) / (s * low)
        moved = np.where(np.isnan(moved), np.inf, moved)
        own = gamma(self.d + 6 + LIBRARY) * (np.abs(c / s) + moved)
        total = np.abs(gain) * (moved + own)
        value = gain * c / s + bias
        return Approx(value, total + gamma(2) * (np.abs(bias) + np.abs(value) + total))

    def hull(self, column: int, query: int, reference: np.ndarray, axes: np.ndarray) -> "Hull":
        """Tabulate what every option of every group brings to one query."""
        here, d = 21 + column, self.d
        root = math.sqrt(d)
        q = Approx(self.q.value[here, query], self.q.error[here, query])
        k = Approx(self.k.value[: here + 1], self.k.error[: here + 1])
        score = k.value @ q.value / root
        wrong = np.abs(k.value) @ q.error + k.error @ q.size + gamma(d + 3) * (k.size @ q.size)
        wrong = wrong / root
        possible = np.zeros(score.shape, dtype=bool)
        possible[:, :10] = True
        for place, token in ((10, 10), (21, 11), (here, query)):
            possible[place] = np.arange(14) == token
        top = score[possible].max()
        weight = np.exp(score - top)
        relative = np.expm1(wrong + U32 * (top - score + 2 * wrong.max()))
        relative = relative + (1 + relative) * gamma(LIBRARY)
        worst = relative[possible].max()
        relative = np.minimum(relative, 0.5)[..., None]
        value = self.ov.value[: here + 1] - reference
        moved = relative * np.abs(value) + (1 + relative) * self.ov.error[: here + 1]
        w = weight[..., None]
        largest = np.abs(value[possible]).max(axis=0)
        own = gamma(-(-(2 * d + 20) // 8)) * (np.abs(axes) @ (np.abs(axes).T @ largest))
        table = np.concatenate([w * (value @ axes), w, w * moved, w * relative], axis=-1)
        fixed = table[10, 10] + table[21, 11]
        if column == 11:
            fixed = fixed + table[here, query]
        fixed = fixed + np.concatenate([np.zeros(d), [0.0], 34 * 2.0**-100 * largest, [0.0]])
        options = []
        for group in range(10):
            rows = table[9 - group, LEFT] + table[20 - group, RIGHT]
            options.append(rows + table[22 + group, TOTAL % 10] if group < column else rows)
        stream = Approx(self.x.value[here, query], self.x.error[here, query] + own)
        return Hull(options, fixed, stream, reference, axes, float(worst))

    def margins(
        self, y: np.ndarray, width: np.ndarray, error: np.ndarray, axes: np.ndarray, truth: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Bound the margins of token `truth` over boxes y + axes u + e, |u| <= width, |e| <= error.

        Returns:
            Margin at the centre, its reach in real arithmetic and in float32, shape (leaf, 13), and
            its derivative along the axes, (leaf, 13, d).
        """
        d, others = self.d, [c for c in range(14) if c != truth]
        gain2, bias2 = self.gain("ln2")
        gain, bias = self.gain("ln_final")
        head = self.t["W_E"].T
        raw = gain[:, None] * (head[:, [truth]] - head[:, others])
        pull = raw - raw.mean(axis=0) if self.layer else raw
        beta = bias @ (head[:, [truth]] - head[:, others])
        w_in = gain2[:, None] * self.w_in.value
        w_in = w_in - w_in.mean(axis=0) if self.layer else w_in
        c = y - mean(y) if self.layer else y
        s = np.sqrt(mean(c * c) + self.eps)
        p = y @ w_in
        z = p / s + bias2 @ self.w_in.value
        cdf = 0.5 + 0.5 * _erf(z / math.sqrt(2))
        slope = cdf + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        f = y + (z * cdf) @ self.w_out.value
        # d z_h / d y, times the slope: (leaf, h, d); then the derivative of f.
        dz = w_in.T / s[..., None] - (p / (d * s**3))[..., None] * c[:, None, :]
        df = (slope[..., None] * dz).transpose(0, 2, 1) @ self.w_out.value + np.eye(d)
        gradient, value = df @ pull, f @ pull
        sigma = np.ones((len(y), 1))
        if self.layer:
            centred = f - mean(f)
            sigma = np.sqrt(mean(centred * centred) + self.eps)
            gradient = gradient + (df @ (centred / (d * sigma))[..., None]) * beta
            value = value + sigma * beta

        def over(wide: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """Bound remainder and rounding over |delta| <= wide."""
            epsilon = rms(wide)
            low = np.where(s > epsilon, s - epsilon, 0.0)
            with np.errstate(divide="ignore", invalid="ignore"):
                swing = wide @ np.abs(w_in)
                bent = (1.5 * np.abs(p / s) * epsilon + swing) * epsilon / (low * s)
            along = (np.abs(c) * wide).sum(axis=1, keepdims=True)
            moved = swing / s + np.abs(p) * along / (d * s**3) + bent
            second = np.abs(slope) * bent + 0.5 * _bend(np.abs(z) - moved) * moved * moved
            second, moved = np.fmin(second, BIG), np.fmin(moved, BIG)
            remainder = second @ np.abs(self.w_out.value @ pull)
            shift = wide + 1.13 * moved @ np.abs(self.w_out.value)
            if self.layer:
                drift = rms(second @ np.abs(self.w_out.value))
                remainder += np.abs(beta) * (rms(shift) ** 2 / (2 * sigma) + drift)
            # Rounding after attention.
            with np.errstate(divide="ignore"):
                inverse = np.fmin(1 / low, BIG)
            size = np.abs(c) + wide + (mean(wide) if self.layer else 0.0)
            normed = size * inverse * np.abs(gain2) + np.abs(bias2)
            own = gamma(d + 8 + LIBRARY) * normed
            if self.layer:
                centring = self.centring(np.abs(y) + wide)
                own = own + (centring + size * rms(centring) * inverse) * inverse * np.abs(gain2)
            pre = own @ np.abs(self.w_in.value)
            pre += gamma(self.w_in.roundings) * ((normed + own) @ self.w_in.size)
            z_size, post = np.abs(z) + moved, np.abs(z * cdf) + 1.13 * moved
            gelu = 1.13 * pre + (LIBRARY + 3) * U32 * (z_size + pre)
            out = gelu @ np.abs(self.w_out.value)
            out += gamma(self.w_out.roundings) * ((post + gelu) @ self.w_out.size)
            f_size = np.abs(f) + shift
            out = out + gamma(2) * (f_size + out)
            both = np.abs(gain)[:, None] * (np.abs(head[:, [truth]]) + np.abs(head[:, others]))
            both = both + both.mean(axis=0) if self.layer else both
            last = gamma(2 * d + 8 + LIBRARY)
            rounding = out @ np.abs(pull) + last * ((f_size + out) @ both)
            if self.layer:
                centring = self.centring(f_size + out)
                rounding += centring @ np.abs(raw)
                spread = rms(out + mean(out) + centring)
                sizes = np.abs(bias) @ (np.abs(head[:, [truth]]) + np.abs(head[:, others]))
                rounding += np.abs(beta) * spread
                rounding += last * (np.sqrt(mean(f_size**2) + self.eps) + spread) * sizes
            return remainder, rounding

        across = width @ np.abs(axes).T
        turned = (axes.T @ gradient).transpose(0, 2, 1)  # (leaf, 13, d)
        along = (np.abs(turned) @ width[..., None])[..., 0]
        tilt = (np.abs(gradient).transpose(0, 2, 1) @ error[..., None])[..., 0]
        rough, rounding = over(across + (1 + OWN) * error)
        fine, _ = over(across + OWN * error)
        rounding = rounding + tilt
        real = along + fine + OWN * rounding
        float32 = along + rough + (1 + OWN) * rounding
        huge = np.inf
        return (
            value,
            np.nan_to_num(real, nan=huge, posinf=huge),
            np.nan_to_num(float32, nan=huge, posinf=huge),
            turned,
        )


class Hull:
    """The options of every group for one query, and the boxes of the sets of options asked for."""

    def __init__(
        self,
        options: list[np.ndarray],
        fixed: np.ndarray,
        stream: Approx,
        reference: np.ndarray,
        axes: np.ndarray,
        worst: float,
    ) -> None:
        """Keep the tables; see `Checker.hull`."""
        self.options, self.fixed, self.stream = options, fixed, stream
        self.reference, self.axes, self.worst = reference, axes, worst

    def boxes(self, sets: Sets, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Enclose the residual stream over cells: centre, half width along the axes, error."""
        d = len(self.reference)
        low = np.tile(self.fixed, (len(cells), 1))
        high = low.copy()
        for group in range(10):
            used, where = np.unique(cells[:, group], return_inverse=True)
            chosen = [self.options[group][sets.rows[number]] for number in used]
            low += np.array([x.min(axis=0) for x in chosen])[where.ravel()]
            high += np.array([x.max(axis=0) for x in chosen])[where.ravel()]
        middle, radius = (low + high)[:, : d + 1] / 2, (high - low)[:, : d + 1] / 2
        output = middle[:, :d] / middle[:, d:]
        least = low[:, d : d + 1]
        width = (radius[:, :d] + np.abs(output) * radius[:, d:]) / least
        turned = output @ self.axes.T
        across = width @ np.abs(self.axes).T
        error = high[:, d + 1 : -1] + (np.abs(turned) + across) * high[:, -1:]
        error = error / (least * (1 - self.worst)) if self.worst < 0.5 else np.full_like(error, BIG)
        centre = self.stream.value + self.reference + turned
        error = error + self.stream.error
        return centre, width, error + gamma(2) * (np.abs(centre) + across + error)


def _erf(x: np.ndarray) -> np.ndarray:
    return np.array(np.frompyfunc(math.erf, 1, 1)(x), dtype=float)


def _bend(closest: np.ndarray) -> np.ndarray:
    """Bound |gelu''| beyond `closest`."""
    near = np.maximum(closest, 0.0)
    size = np.exp(-near * near / 2) * np.abs(2 - near * near) / math.sqrt(2 * math.pi)
    return np.where(
        near >= 2, size, np.where(near < math.sqrt(2), np.maximum(size, 0.10799), 0.10799)
    )


def qkv(mode: str, tensors: Tensors) -> list[tuple[str, ...]]:
    """Find the stored factors of W_Q, W_K and W_V."""
    found = []
    for role in "QKV":
        names = []
        for stem in ("qkv_A", "qkv_B", "W"):
            labels = [f"{stem}_{x}" for x in (role, "QK", "KV", "QKV") if role in x] + [stem]
            names += [label for label in labels if label in tensors][:1]
        if not names:
            raise ValueError(f"no W_{role} for tie mode {mode}")
        found.append(tuple(names))
    return found
