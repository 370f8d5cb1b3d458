"""The second proof, after attention: margins over a box, by the mean value theorem in balls.

Over a box, margin = margin at the centre + gradient somewhere in the box . (point - centre). The
gradient is enclosed by evaluating it on balls, so no remainder has to be derived by hand; a box on
which that is too wide is halved. Float32 starts anew twice, at the residual stream and after the
feed-forward layer: what is off there moves the margin by at most gradient times error.
"""

from dataclasses import dataclass

from flint import arb, arb_mat

from interp.check_certificate.exact_boxes import Box, Network
from interp.check_certificate.float32 import (
    Computed,
    add,
    dot,
    gelu,
    gelu_ball,
    square,
    through,
)

PIECES = 256
"""Into how many pieces a cell may be cut."""


@dataclass(frozen=True)
class Margins:
    """Margins of a token against the 13 others over a box.

    Attributes:
        centre: Margin at the centre in real arithmetic, times the scale of the last norm.
        value: Balls of the same over the box.
        float32: How far the margin that float32 computes can be from it.
        along: How far each number of the box moves each margin, one row a number.
    """

    centre: list[arb]
    value: list[arb]
    float32: list[arb]
    along: list[list[arb]]


class Head:
    """The network after attention, as seen by one true token."""

    def __init__(self, network: Network, truth: int) -> None:
        """Multiply the stored factors out, exactly."""
        self.network, self.truth, self.d = network, truth, network.d
        d = self.d
        self.others = [t for t in range(14) if t != truth]
        self.w_in, self.w_out = self._matrix("W_in"), self._matrix("W_out")
        gain2 = [x.value for x in network.rows("ln2_w")[0]]
        gain = [x.value for x in network.rows("ln_final_w")[0]]
        tokens = [[x.value for x in row] for row in network.rows("W_E")]
        read = [[g * x for x in row] for g, row in zip(gain2, self.w_in.tolist(), strict=True)]
        apart = [[tokens[truth][j] - tokens[c][j] for c in self.others] for j in range(d)]
        pull = [[g * x for x in row] for g, row in zip(gain, apart, strict=True)]
        self.read, self.pull = self._centred(arb_mat(read)), self._centred(arb_mat(pull))
        self.add_in, self.beta = arb_mat(1, self.w_in.ncols()), arb_mat(1, 13)
        if network.layer:
            self.add_in = arb_mat([[x.value for x in network.rows("ln2_b")[0]]]) * self.w_in
            self.beta = arb_mat([[x.value for x in network.rows("ln_final_b")[0]]]) * arb_mat(apart)

    def _matrix(self, name: str) -> arb_mat:
        result = None
        for factor in self.network.factors(self.network.names(name)):
            matrix = arb_mat([[x.value for x in row] for row in factor])
            result = matrix if result is None else result * matrix
        assert result is not None
        return result

    def _centred(self, columns: arb_mat) -> arb_mat:
        """Fold the centring of LayerNorm into the matrix that follows it."""
        if not self.network.layer:
            return columns
        rows = columns.tolist()
        means = [sum(column, arb(0)) / self.d for column in zip(*rows, strict=True)]
        return arb_mat([[x - m for x, m in zip(row, means, strict=True)] for row in rows])

    def margins(self, box: Box, ratio: list[arb]) -> Margins:
        """Bound the margins while N and D range over a part of a box.

        Args:
            box: The box.
            ratio: Balls of N and D.
        """
        d = self.d
        middle = [x.mid() for x in ratio]
        step = [x - m for x, m in zip(ratio, middle, strict=True)]
        centre = box.base + _ratio(middle) * box.turn
        output = _ratio(ratio)
        y = box.base + output * box.turn
        wide = arb_mat([[y[0, j] + arb(0, 1) * box.error[j] for j in range(d)]])
        at = self._point(centre)
        over = self._spread(wide, at, wide - centre)
        # d y / d N_i = turn_i / D, d y / d D = - (N / D) turn / D.
        jacobian = arb_mat([*box.turn.tolist(), [-x for x in (output * box.turn).entries()]]) * (
            1 / ratio[d]
        )
        slopes = (jacobian * over.gradient).tolist()
        value = [
            m + sum((s * row[c] for s, row in zip(step, slopes, strict=True)), arb(0))
            for c, m in enumerate(at.value)
        ]
        along = [
            [s.abs_upper() * x.abs_upper() for x in row]
            for s, row in zip(step, slopes, strict=True)
        ]
        return Margins(at.value, value, self._float32(box, over), along)

    def _point(self, y: arb_mat) -> "_Point":
        """Run the network at one stream."""
        s = self._scale(y)
        z = y * self.read * (1 / s) + self.add_in
        f = y + arb_mat([[gelu_ball(x) for x in z.entries()]]) * self.w_out
        value = f * self.pull
        if self.network.layer:
            value = value + self.beta * self._scale(f)
        return _Point(z.entries(), f, value.entries())

    def _spread(self, y: arb_mat, at: "_Point", delta: arb_mat) -> "_Spread":
        """Enclose stream, hidden units and gradient over a box around a point."""
        d, s = self.d, self._scale(y)
        c = self._offset(y)
        z = y * self.read * (1 / s)
        for _ in range(2):  # the second time with the slope of the first
            rows = [
                [(u - x * c[0, j] / (d * s)) / s for u, x in zip(row, z.entries(), strict=True)]
                for j, row in enumerate(self.read.tolist())
            ]
            inner = arb_mat(rows)
            tangent = arb_mat([at.z]) - self.add_in + delta * inner
            z = arb_mat([list(map(_both, z.entries(), tangent.entries()))])
        z = z + self.add_in
        slopes = [_slope(x) for x in z.entries()]
        bent = arb_mat([[x * g for x, g in zip(row, slopes, strict=True)] for row in rows])
        through_units = bent * self.w_out
        f = at.f + delta + delta * through_units
        pull = self.pull
        if self.network.layer:
            sigma, out = self._scale(f), self._offset(f)
            pull = pull + out.transpose() * self.beta * (1 / (d * sigma))
        gradient = pull + bent * (self.w_out * pull)
        return _Spread(y, f, gradient, pull)

    def _float32(self, box: Box, over: "_Spread") -> list[arb]:
        """Bound the rounding after attention; see the module."""
        network = self.network
        start = [Computed(x, arb(0)) for x in over.y.entries()]
        hidden = through(network.norm(start, "ln2"), network.factors(network.names("W_in")))
        out = through([gelu(z) for z in hidden], network.factors(network.names("W_out")))
        fs = [add(x, y) for x, y in zip(start, out, strict=True)]
        wide = arb_mat(
            [[x + arb(0, 1) * f.error for x, f in zip(over.f.entries(), fs, strict=True)]]
        )
        again = [Computed(x, arb(0)) for x in wide.entries()]
        last = network.norm(again, "ln_final")
        logits = [dot(last, row) for row in network.rows("W_E")]
        sigma = self._scale(wide).abs_upper()
        tilt = self.pull
        if network.layer:
            tilt = tilt + self._offset(wide).transpose() * self.beta * (
                1 / (self.d * self._scale(wide))
            )
        result = []
        for c, token in enumerate(self.others):
            moved = sum(
                (over.gradient[j, c].abs_upper() * e for j, e in enumerate(box.error)), arb(0)
            )
            moved += sum((tilt[j, c].abs_upper() * f.error for j, f in enumerate(fs)), arb(0))
            result.append(
                (moved + sigma * (logits[self.truth].error + logits[token].error)).upper()
            )
        return result

    def _offset(self, y: arb_mat) -> arb_mat:
        """Centre where the norm does."""
        return self._centred(y.transpose()).transpose() if self.network.layer else y

    def _scale(self, y: arb_mat) -> arb:
        squares = sum((square(x) for x in self._offset(y).entries()), arb(0))
        return (squares / self.d + arb(self.network.eps)).sqrt()


@dataclass(frozen=True)
class _Point:
    z: list[arb]
    f: arb_mat
    value: list[arb]


@dataclass(frozen=True)
class _Spread:
    y: arb_mat
    f: arb_mat
    gradient: arb_mat
    pull: arb_mat


def proved(head: Head, box: Box, real: int, float32: int, pieces: int = PIECES) -> bool:
    """Tell whether the claimed verdicts hold on every part of a box.

    Args:
        head: The network as seen by the true token.
        box: The box.
        real: Verdict in real arithmetic: 0 right, 1 wrong, 2 nothing claimed.
        float32: The same in float32.
        pieces: Into how many parts the box may be cut.
    """
    left = [box.ratio]
    while left:
        ratio = left.pop()
        pieces -= 1
        found = head.margins(box, ratio)
        rounded = [v + arb(0, 1) * e for v, e in zip(found.value, found.float32, strict=True)]
        if _holds(found.value, real) and _holds(rounded, float32):
            continue
        if pieces <= 0 or not all(x.is_finite() for x in found.value):
            return False
        near = [m + arb(0, 1) * e for m, e in zip(found.centre, found.float32, strict=True)]
        if not (_possible(found.centre, real) and _possible(near, float32)):
            return False
        least = min(range(13), key=lambda c: float(rounded[c].lower()))
        side = max(range(len(ratio)), key=lambda i: float(found.along[i][least]))
        if not found.along[side][least] > 0:
            return False
        for half in _halves(ratio[side]):
            left.append([half if i == side else x for i, x in enumerate(ratio)])
    return True


def _holds(margins: list[arb], verdict: int) -> bool:
    if verdict == 2:
        return True
    return all(m > 0 for m in margins) if verdict == 0 else any(m < 0 for m in margins)


def _possible(margins: list[arb], verdict: int) -> bool:
    """Tell whether one point leaves a verdict possible: what is false there no halving mends."""
    if verdict == 0:
        return not any(m < 0 for m in margins)
    return verdict == 2 or not all(m > 0 for m in margins)


def _halves(x: arb) -> tuple[arb, arb]:
    middle = x.mid()
    return x.lower().union(middle), middle.union(x.upper())


def _ratio(ratio: list[arb]) -> arb_mat:
    return arb_mat([[n / ratio[-1] for n in ratio[:-1]]])


def _both(x: arb, y: arb) -> arb:
    return x.intersection(y) if x.overlaps(y) else x


def _slope(z: arb) -> arb:
    """Enclose gelu' over a ball, by gelu'' = phi (2 - z^2); it is always within 0.64 of 0.5."""
    middle, root = z.mid(), (2 * arb.pi()).sqrt()
    density = (-middle * middle / 2).exp() / root
    at = (1 + (middle / arb(2).sqrt()).erf()) / 2 + middle * density
    far = square(z)
    bend = (-far / 2).exp() / root * (2 - far)
    return _both(arb(0.5, 0.64), at + bend * (z - middle))
