"""The coarsest cells of an answer column, and how cells are split.

A step of the answer is predicted after a query token: the answer digit before it, a separator, or
the last digit of an operand. A coarsest cell fixes that token and the digit that is to come: "s_i =
3 after s_(i-1) = 7". Splitting refines one group; where that fixes a carry between two groups, both
are cut to it.
"""

from dataclasses import dataclass

import numpy as np

from interp.certify_any.groups import EMPTY, Pool
from model.layouts import Layout


@dataclass(frozen=True)
class Question:
    """One query token of one step of the answer.

    Attributes:
        step: Step of the answer.
        column: Its column; n_answer for the end token.
        token: Token at the query.
        cells: The coarsest cells, (cell, group).
        target: True token of each.
    """

    step: int
    column: int
    token: int
    cells: np.ndarray
    target: np.ndarray


def questions(layout: Layout, pool: Pool, step: int) -> list[Question]:
    """List what can be asked at a step of the answer, with the coarsest cells of each."""
    whole = np.full(layout.width, pool.everything)
    whole[0] = pool.cut(whole[:1], "carry_in", np.zeros(1, dtype=np.int64))[0]
    column = layout.step(step) if step < layout.n_answer else layout.n_answer
    found = []
    for token, group, what, value in _queries(layout, step):
        cell = whole if group < 0 else _fix(pool, whole, group, what, value)
        if column == layout.n_answer:
            assert layout.end is not None
            cells, target = [cell], [layout.end]
        elif column == layout.width:
            cells = [_fix(pool, cell, column - 1, "carry_out", carry) for carry in (0, 1)]
            target = [layout.first_digit, layout.first_digit + 1]
        else:
            digits = range(layout.base)
            cells = [_fix(pool, cell, column, "digit", digit) for digit in digits]
            target = [layout.first_digit + digit for digit in digits]
        alive = (np.array(cells) != EMPTY).all(axis=1)
        question = np.array(cells)[alive], np.array(target)[alive]
        if alive.any():
            found.append(Question(step, column, token, *question))
    return found


def _queries(layout: Layout, step: int) -> list[tuple[int, int, str, int]]:
    """List the tokens that a query can be: token, group, and what it fixes there (-1: nothing)."""
    here = layout.n_prompt - 1 + step
    first, digits = layout.first_digit, range(layout.base)
    if step == 0:
        if here in layout.separators:
            return [(layout.separators[here], -1, "", 0)]
        for name, position in (("a", layout.a_position), ("b", layout.b_position)):
            for group in range(layout.width):
                if position(group) == here:
                    return [(first + digit, group, name, digit) for digit in digits]
    before = layout.step(step - 1)
    if before == layout.width:
        return [(first + carry, before - 1, "carry_out", carry) for carry in (0, 1)]
    return [(first + digit, before, "digit", digit) for digit in digits]


def _fix(pool: Pool, cell: np.ndarray, group: int, what: str, value: int) -> np.ndarray:
    fixed = cell.copy()
    fixed[group] = pool.cut(cell[group : group + 1], what, np.array([value]))[0]
    return fixed


def split(
    pool: Pool, shown: np.ndarray, cells: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Replace each cell by its parts in one group.

    Args:
        pool: Sets of options.
        shown: Which groups show their answer digit.
        cells: (cell, group).
        groups: The group to split in each cell.

    Returns:
        The parts in the order of their cells, and the cell of each; empty ones are left out.
    """
    parts: list[np.ndarray] = []
    numbers = cells[np.arange(len(cells)), groups]
    for number, group in zip(numbers.tolist(), groups.tolist(), strict=True):
        parts.append(pool.parts(number, bool(shown[group])))
    counts = np.array([len(part) for part in parts], dtype=np.int64)
    parent = np.repeat(np.arange(len(cells)), counts)
    children, rows = cells[parent], np.arange(len(parent))
    at = groups[parent]
    children[rows, at] = np.concatenate(parts) if parts else at
    for k in range(cells.shape[1]):
        chosen = np.flatnonzero(at == k)
        here = children[chosen, k]
        if k:
            below = pool.cut(children[chosen, k - 1], "carry_out", pool.value(here, "carry_in"))
            children[chosen, k - 1] = below
        if k + 1 < cells.shape[1]:
            above = pool.cut(children[chosen, k + 1], "carry_in", pool.value(here, "carry_out"))
            children[chosen, k + 1] = above
    alive = (children != EMPTY).all(axis=1)
    return children[alive], parent[alive]
