"""Source positions by the digit role that they play for an answer column."""

import torch
from jaxtyping import Int
from torch import Tensor

from model.task import N_DIGITS, N_INPUT, N_PROMPT, N_TARGET, a_position, b_position, query_position

ROLES = (
    "a_i",
    "b_i",
    "a_{i-1}",
    "b_{i-1}",
    "a_{i+1}",
    "b_{i+1}",
    "a_{i-2}",
    "b_{i-2}",
    "other a",
    "other b",
    "+",
    "=",
    "s_{i-1}",
    "s_{i-2}",
    "older s",
)
"""Roles of a source position; s_{i-1} is the query's own position (in column 0 that is `=`)."""

_OFFSETS = {0: "i", -1: "{i-1}", 1: "{i+1}", -2: "{i-2}"}


def role_of(column: int, position: int) -> str:
    """Name the role of source `position` for answer column `column`.

    Args:
        column: 0 (units) to 11 (EOS).
        position: Source position, at most the query position 21 + column.
    """
    if position == N_DIGITS:
        return "+"
    if position == N_PROMPT - 1:
        return "="
    if position < N_PROMPT:
        letter, digit = (
            ("a", a_position(0) - position)
            if position < N_DIGITS
            else ("b", b_position(0) - position)
        )
        offset = _OFFSETS.get(digit - column)
        return f"{letter}_{offset}" if offset else f"other {letter}"
    behind = query_position(column) - position
    return ("s_{i-1}", "s_{i-2}")[behind] if behind < 2 else "older s"


def role_index() -> Int[Tensor, "column pos"]:
    """Tabulate the index into `ROLES` per (answer column, source position); -1 where masked."""
    table = torch.full((N_TARGET, N_INPUT), -1, dtype=torch.int64)
    for column in range(N_TARGET):
        for position in range(query_position(column) + 1):
            table[column, position] = ROLES.index(role_of(column, position))
    return table
