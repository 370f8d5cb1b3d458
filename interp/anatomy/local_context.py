"""What a column's answer can depend on nearby: its local context, its exact share, its inputs.

The local context of column c is the carry into column c - 1 and the digit pairs of columns c - 1, c
and c + 1. It fixes the previous answer digit, the carry into c and the true digit of c.
"""

from dataclasses import dataclass
from fractions import Fraction

import torch
from jaxtyping import Int
from torch import Tensor

from model.task import N_DIGITS, Pairs, carries, uniform_pairs

DigitPair = tuple[int, int] | None
"""Digits (a_j, b_j); None where the column does not exist."""


@dataclass(frozen=True, order=True)
class Context:
    """The local context of one answer column.

    Attributes:
        column: Answer column, 0 to 10.
        carry_below: Carry into column - 1; 0 where that column does not exist.
        below: Digits of column - 1.
        here: Digits of the column; None for column 10.
        above: Digits of column + 1; None for columns 9 and 10.
    """

    column: int
    carry_below: int
    below: DigitPair
    here: DigitPair
    above: DigitPair

    @property
    def fixed(self) -> dict[int, tuple[int, int]]:
        """The digit pairs that the context fixes, by column."""
        named = {self.column - 1: self.below, self.column: self.here, self.column + 1: self.above}
        return {column: pair for column, pair in named.items() if pair is not None}

    @property
    def carry_in(self) -> int:
        """The carry into the column."""
        return int(self.below is not None and sum(self.below) + self.carry_below >= 10)

    @property
    def previous_digit(self) -> int | None:
        """The answer digit of column - 1, which is the query's token; None for column 0."""
        return None if self.below is None else (sum(self.below) + self.carry_below) % 10

    @property
    def true_digit(self) -> int:
        """The right answer of the column."""
        return (sum(self.here or (0, 0)) + self.carry_in) % 10

    def describe(self) -> str:
        """Write the context in one line, for tables."""

        def sum_of(pair: DigitPair) -> str:
            return "-" if pair is None else f"{pair[0]}+{pair[1]}"

        return (
            f"column {self.column}: {sum_of(self.here)}, below {sum_of(self.below)} with carry "
            f"{self.carry_below}, above {sum_of(self.above)}"
        )


def context_of(a: int, b: int, column: int) -> Context:
    """Read the local context of answer column `column` (0 to 10) of a + b."""
    carry_in, _ = carries(torch.tensor([a]), torch.tensor([b]))

    def pair(j: int) -> DigitPair:
        return (a // 10**j % 10, b // 10**j % 10) if 0 <= j < N_DIGITS else None

    below = int(carry_in[0, column - 1]) if column else 0
    return Context(column, below, pair(column - 1), pair(column), pair(column + 1))


def carry_share(column: int, carry: int) -> Fraction:
    """Compute the exact share of uniform pairs with that carry into `column`.

    Of the 10^2n lower halves, 10^n (10^n - 1) / 2 carry.
    """
    carrying = Fraction(10**column - 1, 2 * 10**column)
    return carrying if carry else 1 - carrying


def context_share(context: Context) -> Fraction:
    """Compute the exact share of all 10^20 pairs that have this context."""
    free_below = max(context.column - 1, 0)
    return carry_share(free_below, context.carry_below) / 100 ** len(context.fixed)


def pairs_with_carry(
    column: int, carry: Int[Tensor, " batch"], generator: torch.Generator
) -> Pairs:
    """Draw uniform pairs, each with the given carry into `column`.

    Args:
        column: 0 to 10.
        carry: 0 or 1 per pair; all 0 for column 0, into which nothing carries.
        generator: Source of randomness.

    Returns:
        Operands; wrong carries are redrawn until none is left.
    """
    modulus = 10**column
    a, b = uniform_pairs(carry.shape[0], generator)
    while True:
        bad = (a % modulus + b % modulus >= modulus).long() != carry
        if not bool(bad.any()):
            return a, b
        a[bad], b[bad] = uniform_pairs(int(bad.sum()), generator)


def context_pairs(context: Context, n: int, generator: torch.Generator) -> Pairs:
    """Draw pairs uniformly among those with a given context; none where it is impossible."""
    low = max(context.column - 1, 0)
    count = n if carry_share(low, context.carry_below) else 0
    carry = torch.full((count,), context.carry_below, dtype=torch.int64)
    a, b = pairs_with_carry(low, carry, generator)
    for column, (x, y) in context.fixed.items():
        a, b = set_digit(a, column, x), set_digit(b, column, y)
    return a, b


def set_digit(
    x: Int[Tensor, " batch"], column: int, digit: int | Int[Tensor, " batch"]
) -> Int[Tensor, " batch"]:
    """Replace decimal digit `column` of every number, by one digit or by one each."""
    return x + (digit - x // 10**column % 10) * 10**column
