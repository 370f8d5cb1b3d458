"""Columns of a sum: digits, carries and their chains, in any base and for any number of digits."""

import torch
from jaxtyping import Int
from torch import Tensor

KILL, PROPAGATE, GENERATE = 0, 1, 2
STATE_NAMES = ("kill", "propagate", "generate")


def digits(x: Int[Tensor, " batch"], n: int = 10, base: int = 10) -> Int[Tensor, "batch n"]:
    """Split numbers into `n` digits, units first."""
    powers = base ** torch.arange(n, dtype=torch.int64, device=x.device)
    return x[:, None] // powers % base


def carries(
    a: Int[Tensor, " batch"], b: Int[Tensor, " batch"], n: int = 10, base: int = 10
) -> tuple[Int[Tensor, "batch columns"], Int[Tensor, "batch columns"]]:
    """Compute carry_in and carry_out of columns 0 to n, each 0 or 1.

    Column i's carry_in is carry_out of column i - 1; column 0 has none, column n has no carry_out.
    """
    total = digits(a, n, base) + digits(b, n, base)
    carry_in = [torch.zeros_like(a)]
    for column in range(n):
        carry_in.append((total[:, column] + carry_in[-1] >= base).long())
    stacked = torch.stack(carry_in, dim=1)
    return stacked, torch.cat([stacked[:, 1:], torch.zeros_like(stacked[:, :1])], dim=1)


def column_state(
    a: Int[Tensor, " batch"], b: Int[Tensor, " batch"], n: int = 10, base: int = 10
) -> Int[Tensor, "batch n"]:
    """Classify each column by a_i + b_i: KILL (< base - 1), PROPAGATE (=) or GENERATE (>)."""
    total = digits(a, n, base) + digits(b, n, base)
    return (total >= base - 1).long() + (total > base - 1).long()


def chain_length(
    a: Int[Tensor, " batch"], b: Int[Tensor, " batch"], n: int = 10, base: int = 10
) -> Int[Tensor, "batch columns"]:
    """Count, per column, how many columns the incoming carry has travelled.

    0: no carry comes in; 1: the column below generated it; k: it was generated k columns below and
    passed through k - 1 propagating columns.
    """
    state = column_state(a, b, n, base)
    carry_in, _ = carries(a, b, n, base)
    length = [torch.zeros_like(a)]
    for column in range(n):
        travelled = torch.where(state[:, column] == PROPAGATE, length[-1] + 1, 1)
        length.append(torch.where(carry_in[:, column + 1] == 1, travelled, 0))
    return torch.stack(length, dim=1)


def describe_difference(true: int, predicted: int, n: int = 11, base: int = 10) -> str:
    """Say where two sums of `n` digits part, in the column order of the model (0 = units)."""
    if predicted < 0:
        return "the answer is no number"
    wrong = []
    for i in range(n):
        got, right = predicted // base**i % base, true // base**i % base
        if got != right:
            wrong.append(f"column {i}: {got} for {right}")
    return "; ".join(wrong) + f" ({predicted - true:+d})" if wrong else "none"
