"""Float32 by balls: a real number in a ball of python-flint, and how far a computed one can be.

For the second proof of the checker (docs/certification.md, "A second proof"). Every operation adds
the rounding of one or several float32 operations, in any order of summation, with or without fused
multiply-add, with results below `TINY` flushed to zero or not. What could reach 2^127 gets an
infinite error, which proves nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flint import arb

UNIT = arb(2) ** -24
TINY = arb(2) ** -100
"""Below this a result may be flushed to zero."""
NORMAL = arb(2) ** -126
LARGEST = arb(2) ** 127
LIBRARY = 4
"""Units of 2^-24 by which exp, erf and square root may be wrong (two units in the last place)."""


def gamma(n: int) -> arb:
    """Bound the relative effect of n roundings."""
    return n * UNIT / (1 - n * UNIT)


@dataclass(frozen=True)
class Computed:
    """The real value lies in the ball `value`, the computed one within `error` of it."""

    value: arb
    error: arb

    @property
    def size(self) -> arb:
        """Bound of the computed magnitude."""
        return (self.value.abs_upper() + self.error).upper()


def stored(value: float) -> Computed:
    """Take a stored number; a processor that flushes may read a subnormal one as zero."""
    exact = arb(value)
    return Computed(exact, exact.abs_upper() if abs(exact) < NORMAL else arb(0))


def rounded(value: arb, moved: arb, roundings: arb, size: arb, steps: int = 1) -> Computed:
    """Close an operation.

    Args:
        value: The real result.
        moved: How far the operation moves it because its inputs are off.
        roundings: Relative effect of its own roundings.
        size: Bound of every intermediate magnitude.
        steps: How many results may be flushed.
    """
    error = moved + roundings * size + 2 * steps * TINY
    return Computed(value, error.upper() if size + error < LARGEST else arb.pos_inf())


def square(x: arb) -> arb:
    """Square a ball; x * x would forget that both are the same number."""
    return (x.abs_lower() * x.abs_lower()).lower().union((x.abs_upper() * x.abs_upper()).upper())


def dot(xs: Sequence[Computed], ys: Sequence[Computed]) -> Computed:
    """Multiply and add up, in any order."""
    value, moved, size = arb(0), arb(0), arb(0)
    for x, y in zip(xs, ys, strict=True):
        x_size, y_size = x.size, y.size
        value += x.value * y.value
        moved += x.error * y_size + x.value.abs_upper() * y.error
        size += x_size * y_size
    return rounded(value, moved, gamma(len(xs)), size, 2 * len(xs))


def product(x: Computed, y: Computed) -> Computed:
    """Multiply."""
    return dot([x], [y])


def add(x: Computed, y: Computed) -> Computed:
    """Add."""
    return rounded(x.value + y.value, x.error + y.error, UNIT, x.size + y.size)


def centred(xs: Sequence[Computed]) -> list[Computed]:
    """Subtract the mean: d additions, division, subtraction, and 3 for the form x s - mean s."""
    d = len(xs)
    mean = sum((x.value for x in xs), arb(0)) / d
    moved = sum((x.error for x in xs), arb(0)) / d
    size = sum((x.size for x in xs), arb(0))
    own = gamma(d + 4)
    return [
        rounded(x.value - mean, x.error + moved, own, x.size + size / d, d + 4)
        if size < LARGEST
        else Computed(x.value - mean, arb.pos_inf())
        for x in xs
    ]


def scale(xs: Sequence[Computed], eps: float) -> Computed:
    """Take the root of mean square plus eps."""
    d = len(xs)
    mean = sum((square(x.value) for x in xs), arb(0)) / d + arb(eps)
    moved = sum((x.error * (2 * x.value.abs_upper() + x.error) for x in xs), arb(0)) / d
    size = sum((x.size * x.size for x in xs), arb(0))
    error = moved + gamma(d + 3) * (size / d + arb(eps)) + 2 * (2 * d + 3) * TINY
    root, low = mean.sqrt(), (mean - error).lower()
    if not (low > 0 and size + error < LARGEST):
        return Computed(root, arb.pos_inf())
    return rounded(
        root, error / (root + low.sqrt()).lower(), LIBRARY * UNIT, (root + error).upper()
    )


def quotient(x: Computed, y: Computed, roundings: int = 1) -> Computed:
    """Divide by a positive number, with room for other ways to write it."""
    low = (y.value - y.error).lower()
    if not low > 0:
        return Computed(x.value / y.value, arb.pos_inf())
    ratio = x.value / y.value
    moved = (x.error + ratio.abs_upper() * y.error) / low
    return rounded(ratio, moved, gamma(roundings), x.size / low, roundings)


def normalised(
    xs: Sequence[Computed],
    gain: Sequence[Computed],
    bias: Sequence[Computed] | None,
    eps: float,
) -> list[Computed]:
    """Normalise: RMSNorm without a bias, LayerNorm with one."""
    xs = xs if bias is None else centred(xs)
    s = scale(xs, eps)
    result = [product(quotient(x, s, 3), g) for x, g in zip(xs, gain, strict=True)]
    return result if bias is None else [add(x, b) for x, b in zip(result, bias, strict=True)]


def through(x: Sequence[Computed], factors: Sequence[list[list[Computed]]]) -> list[Computed]:
    """Multiply a row by stored factors, one after the other."""
    row = list(x)
    for factor in factors:
        row = [dot(row, column) for column in zip(*factor, strict=True)]
    return row


def gelu(z: Computed) -> Computed:
    """Apply GELU, whose slope is at most 1.13; its own roundings are at most 4.5 units of |z|."""
    value = gelu_ball(z.value)
    return rounded(value, arb("1.13") * z.error, 7 * UNIT, z.size, 4)


def gelu_ball(z: arb) -> arb:
    """Enclose GELU over a ball."""
    middle = z.mid()
    at = middle * (1 + (middle / arb(2).sqrt()).erf()) / 2
    return at + arb(0, 1) * (arb("1.13") * z.rad())
