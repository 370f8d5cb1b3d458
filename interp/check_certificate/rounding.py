"""The arithmetic that the checker proves for: roundings, underflow, the largest number.

Every operation with the real result x gives x (1 + delta) + eta, |delta| <= U32 and |eta| <= TINY,
where no intermediate reaches 2^127 (docs/certification.md, "The arithmetic"). A table is a value
with a bound of the error that the arithmetic makes in it. Nothing here is ever infinite: what
cannot be bounded is marked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

U32 = 2.0**-24
TINY = 2.0**-100
"""Loss of an operation whose result may be flushed to zero."""
OWN = 8 * 2.0**-53 / U32
"""Share of the float32 bounds that covers this program's own float64."""
LIBRARY = 4
"""Roundings that exp, erf and the square root count for: two units in the last place."""
PEAK = 2.0**126
"""Bound of all intermediate sizes; a computed one is less than twice its bound."""
HEAVIEST, LIGHTEST = 2.0**64, 2.0**-126
"""A stored number is 0 or its magnitude lies between these."""
Tensors = dict[str, np.ndarray]


def check_range(tensors: Tensors) -> None:
    """Refuse weights for which the theorem is not stated.

    Raises:
        ValueError: A stored number is not finite, above 2^64, or not 0 and below 2^-126.
    """
    for name, value in tensors.items():
        size = np.abs(value)
        if not np.isfinite(size).all():
            raise ValueError(f"tensor {name} holds a number that is not finite")
        if (size > HEAVIEST).any():
            raise ValueError(f"tensor {name} holds a number above 2^64: nothing is proved there")
        if ((size > 0) & (size < LIGHTEST)).any():
            raise ValueError(
                f"tensor {name} holds a number below 2^-126 that is not 0: nothing is proved there"
            )


def gamma(n: int) -> float:
    """Bound the relative effect of n roundings."""
    return n * U32 / (1 - n * U32)


def lost(n: int) -> float:
    """Bound what underflow takes from an inner product of n terms: n products, n additions."""
    return 4 * n * TINY


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
    """A stored matrix or product of factors, applied to a row from the right.

    Attributes:
        value: The product.
        size: Product of the factors' absolute values.
        relative: Bound of the rounding per unit of |row| size.
        underflow: Bound of what underflow adds, per output.
        factors: Absolute values of the factors.
    """

    value: np.ndarray
    size: np.ndarray
    relative: float
    underflow: np.ndarray
    factors: tuple[np.ndarray, ...]

    def apply(self, x: Approx) -> Approx:
        """Multiply a row whose components are uncertain."""
        moved = x.error @ np.abs(self.value) + self.relative * (x.size @ self.size)
        return Approx(x.value @ self.value, moved + self.underflow)

    def peak(self, size: np.ndarray) -> np.ndarray:
        """Bound every intermediate, per row: the row and its product with each factor."""
        highest = size.max(axis=-1)
        for factor in self.factors:
            size = size @ factor
            highest = np.maximum(highest, size.max(axis=-1))
        return highest


def multiply(factors: Sequence[np.ndarray]) -> Matrix:
    """Multiply stored factors; one rounding more pays for the rounding of their product here."""
    value, size = factors[0], np.abs(factors[0])
    underflow = np.full(value.shape[1], lost(len(value)))
    for factor in factors[1:]:
        value, size = value @ factor, size @ np.abs(factor)
        underflow = underflow @ np.abs(factor) + lost(len(factor))
    roundings = 1 + sum(len(factor) for factor in factors)
    absolute = tuple(np.abs(factor) for factor in factors)
    return Matrix(value, size, gamma(roundings), underflow, absolute)


@dataclass(frozen=True)
class Norm:
    """RMSNorm or LayerNorm with its gain and bias."""

    gain: np.ndarray
    bias: np.ndarray
    layer: bool
    eps: float

    def centring(self, size: np.ndarray) -> np.ndarray:
        """Bound the error of subtracting the mean, given sizes."""
        if not self.layer:
            return np.zeros_like(size)
        return gamma(size.shape[-1] + 4) * (size + mean(size)) + lost(size.shape[-1] + 1)

    @property
    def underflow(self) -> np.ndarray:
        """Bound what underflow takes after the scale is known: at most four results."""
        return 4 * TINY * (np.abs(self.gain) + 1)

    def peak(self, size: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        """Bound every intermediate, per row: the sum of squares, the quotient, gain and bias."""
        wide = 2 * size if self.layer else size
        squares = (wide * wide).sum(axis=-1)
        normed = (wide * inverse) * np.maximum(np.abs(self.gain), 1) + np.abs(self.bias)
        return np.maximum(squares, normed.max(axis=-1))

    def apply(self, x: Approx) -> tuple[Approx, np.ndarray, np.ndarray]:
        """Normalise.

        Returns:
            The result, where it is bounded at all, and the size of the largest intermediate.
        """
        c = x.value - mean(x.value) if self.layer else x.value
        error = x.error + (mean(x.error) if self.layer else 0.0)
        error = error + self.centring(np.abs(x.value) + error)
        s = np.sqrt(mean(c * c) + self.eps)
        sound = rms(error) < s / 2
        error = np.where(sound, error, 0.0)
        low = s - rms(error)
        moved = error / low + np.abs(c) * rms(error) / (s * low)
        own = gamma(c.shape[-1] + 6 + LIBRARY) * (np.abs(c / s) + moved)
        total = np.abs(self.gain) * (moved + own) + self.underflow
        value = self.gain * c / s + self.bias
        total = total + gamma(2) * (np.abs(self.bias) + np.abs(value) + total)
        return Approx(value, total), sound[..., 0], self.peak(x.size, 1 / low)
