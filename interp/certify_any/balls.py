"""Numbers with a proven error: arrays of balls in float64.

A ball holds every real number within `radius` of `middle`. Each operation returns balls that hold
all results of real operations on the numbers of its arguments, its own rounding included: u |x| for
one operation, gamma_n for an inner product of n terms in any order (Higham 2002, section 3.1), 4 u
for functions of the library. Radii are raised by a factor that outweighs their own rounding, and by
a number that outweighs underflow. What leaves the range becomes infinite or NaN, and is never
taken for a proof: comparisons with it are false.
"""

from dataclasses import dataclass

import numpy as np

U = 2.0**-53
LIBRARY = 4 * U
"""Relative error of exp, erf, tanh, cos, sin and powers; a test holds NumPy and SciPy to it."""
UP = 1 + 2.0**-40
"""Outweighs the rounding of a radius: sums of non-negative terms, at most 4096 of them."""
TINY = 2.0**-900
"""Outweighs underflow."""


@dataclass(frozen=True)
class Ball:
    """An array of balls; see the module."""

    middle: np.ndarray
    radius: np.ndarray

    @classmethod
    def exact(cls, numbers: np.ndarray | float) -> "Ball":
        """Take numbers as they are."""
        middle = np.atleast_1d(np.asarray(numbers, dtype=np.float64))
        return cls(middle, np.zeros_like(middle))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.middle.shape

    @property
    def size(self) -> np.ndarray:
        """Bound the magnitudes."""
        return (np.abs(self.middle) + self.radius) * UP

    @property
    def low(self) -> np.ndarray:
        """Bound the numbers from below."""
        return self.middle - self.radius * UP - np.abs(self.middle) * (2 * U)

    @property
    def high(self) -> np.ndarray:
        """Bound the numbers from above."""
        return self.middle + self.radius * UP + np.abs(self.middle) * (2 * U)

    def __getitem__(self, index: object) -> "Ball":
        """Select, as of an array."""
        return Ball(self.middle[index], self.radius[index])  # pyright: ignore[reportArgumentType, reportCallIssue]

    def reshape(self, *shape: int) -> "Ball":
        """Arrange anew."""
        return Ball(self.middle.reshape(shape), self.radius.reshape(shape))

    def transpose(self, *axes: int) -> "Ball":
        """Permute axes."""
        return Ball(self.middle.transpose(axes), self.radius.transpose(axes))

    def repeat(self, n: int) -> "Ball":
        """Show the array n times along a new first axis."""
        shape = (n, *self.shape)
        return Ball(np.broadcast_to(self.middle, shape), np.broadcast_to(self.radius, shape))

    def narrower(self, other: "Ball") -> "Ball":
        """Take the smaller of two balls that hold the same number, place by place."""
        better = self.radius < other.radius
        return Ball(
            np.where(better, self.middle, other.middle), np.where(better, self.radius, other.radius)
        )

    def widen(self, by: np.ndarray | float) -> "Ball":
        """Add to the radii."""
        return Ball(self.middle, (self.radius + by) * UP)

    def __neg__(self) -> "Ball":
        """Change the sign; exact."""
        return Ball(-self.middle, self.radius)

    def __add__(self, other: "Ball") -> "Ball":
        """Add."""
        middle = self.middle + other.middle
        return Ball(middle, _up(self.radius + other.radius + U * np.abs(middle)))

    def __sub__(self, other: "Ball") -> "Ball":
        """Subtract."""
        return self + -other

    def __mul__(self, other: "Ball") -> "Ball":
        """Multiply."""
        middle = self.middle * other.middle
        radius = np.abs(self.middle) * other.radius
        radius = radius + self.radius * (np.abs(other.middle) + other.radius)
        return Ball(middle, _up(radius + U * np.abs(middle)))

    def __matmul__(self, other: "Ball") -> "Ball":
        """Multiply matrices."""
        size = np.abs(other.middle)
        gamma = (self.shape[-1] + 1) * U * UP
        mine = np.abs(self.middle)
        radius = (self.radius + gamma * mine) @ size
        radius = radius + (self.radius + mine) @ other.radius
        return Ball(self.middle @ other.middle, _up(radius))

    def scale(self, factor: float) -> "Ball":
        """Multiply by a number."""
        return self * Ball.exact(factor)

    def mean(self) -> "Ball":
        """Average over the last axis, which is kept."""
        n = self.shape[-1]
        middle = self.middle.sum(axis=-1, keepdims=True) / n
        size = np.abs(self.middle).sum(axis=-1, keepdims=True) / n
        radius = self.radius.sum(axis=-1, keepdims=True) / n
        return Ball(middle, _up(radius + (n + 1) * U * size))

    def square(self) -> "Ball":
        """Square."""
        return self * self

    def root(self) -> "Ball":
        """Take square roots; the radius is infinite where a number could be negative.

        |sqrt x - sqrt m| <= |x - m| / sqrt m for non-negative x.
        """
        safe = (self.middle - self.radius * UP) >= 0
        positive = np.where(self.middle > 0, self.middle, 1.0)
        middle = np.sqrt(positive)
        radius = _up(self.radius / middle + 2 * U * middle)
        return Ball(middle, np.where(safe & (self.middle > 0), radius, np.inf))

    def inverse(self) -> "Ball":
        """Invert; the radius is infinite where a number could be zero."""
        least = np.abs(self.middle) - self.radius * UP
        safe = least > 0
        middle = 1 / np.where(safe, self.middle, 1.0)
        radius = self.radius * np.abs(middle) / np.where(safe, least, 1.0) * UP
        radius = _up(radius * UP + 2 * U * np.abs(middle))
        return Ball(middle, np.where(safe, radius, np.inf))

    def exponential(self) -> "Ball":
        """Take exponentials; the radius is infinite for exponents that are off by one or more."""
        middle = np.exp(self.middle)
        known = self.radius < 1
        rise = np.expm1(np.where(known, self.radius, 0.0)) * UP
        radius = _up(middle * (rise + 2 * LIBRARY))
        return Ball(middle, np.where(known, radius, np.inf))


def join(parts: list[Ball]) -> Ball:
    """Lay arrays side by side along the last axis."""
    return Ball(
        np.concatenate([x.middle for x in parts], axis=-1),
        np.concatenate([x.radius for x in parts], axis=-1),
    )


def _up(radius: np.ndarray) -> np.ndarray:
    return radius * UP + TINY
