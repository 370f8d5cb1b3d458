"""Source positions by the digit role that they play for an answer column.

A role says which digit stands at a position, seen from column i: a_i, b_{i-1}, the fed digit
s_{i-1}, or a separator by its name. Where a separator's token is a digit as well, or stands in
several places, its place is part of the name ("0 between").
"""

import functools

import torch
from jaxtyping import Int
from torch import Tensor

from model.layouts import WRITE_UPS, Layout

_OFFSETS = {0: "i", -1: "{i-1}", 1: "{i+1}", -2: "{i-2}"}
_DIGITS = tuple(f"{letter}_{offset}" for offset in _OFFSETS.values() for letter in "ab")
OLDER = "older s"


def fed_roles(layout: Layout) -> tuple[str, str]:
    """Name the fed digits at the query's own position and before it.

    With the units first they are s_{i-1} and s_{i-2}; with the units last, s_{i+1} and s_{i+2}.
    """
    sign = "-" if layout.answer == "units first" else "+"
    return f"s_{{i{sign}1}}", f"s_{{i{sign}2}}"


def separator_roles(layout: Layout) -> dict[int, str]:
    """Name each separator by its token, and by its place where the token does not say which."""
    first, second = sorted((layout.a_position(0), layout.b_position(0)))
    found = {}
    for at, token in layout.separators.items():
        name = layout.token_names[token]
        places = {_place(other, first, second) for other in _positions(layout, token)}
        is_digit = layout.first_digit <= token < layout.first_digit + layout.base
        found[at] = f"{name} {_place(at, first, second)}" if is_digit or len(places) > 1 else name
    return found


def _positions(layout: Layout, token: int) -> list[int]:
    return [at for at, other in layout.separators.items() if other == token]


def _place(at: int, first: int, second: int) -> str:
    return "before" if at < first else "between" if at < second else "after"


@functools.cache
def roles_of(layout: Layout) -> tuple[str, ...]:
    """List the roles of a layout: digits, separators in the prompt's order, fed digits.

    The query's own position is the first fed digit, s_{i-1} (or s_{i+1}); when the first digit is
    decoded it is the last token of the prompt.
    """
    separators = dict.fromkeys(separator_roles(layout).values())
    return (*_DIGITS, "other a", "other b", *separators, *fed_roles(layout), OLDER)


ROLES = roles_of(WRITE_UPS)
"""Roles of the write-ups' layout."""


def role_of(column: int, position: int, layout: Layout = WRITE_UPS) -> str:
    """Name the role of a source for an answer column.

    Args:
        column: Answer column, 0 (units) to the layout's last; one more is the end token.
        position: Source position, at most that of the column's query.
        layout: The task.
    """
    if position >= layout.n_prompt:
        behind = layout.query_position(column) - position
        return (*fed_roles(layout), OLDER)[min(behind, 2)]
    separators = separator_roles(layout)
    if position in separators:
        return separators[position]
    name = layout.roles()[position]
    offset = _OFFSETS.get(int(name[1:]) - column)
    return f"{name[0]}_{offset}" if offset else f"other {name[0]}"


def role_index(layout: Layout = WRITE_UPS) -> Int[Tensor, "column pos"]:
    """Tabulate the index into `roles_of(layout)` per (answer column, position); -1 where masked."""
    return _role_index(layout).clone()


@functools.cache
def _role_index(layout: Layout) -> Tensor:
    roles = roles_of(layout)
    table = torch.full((layout.n_target, layout.n_input), -1, dtype=torch.int64)
    for column in range(layout.n_target):
        for position in range(layout.query_position(column) + 1):
            table[column, position] = roles.index(role_of(column, position, layout))
    return table
