"""Cells: boxes of operand pairs that share the classes of their ten digit groups.

Group k is the digit pair (a_k, b_k) together with the carry c_k into its column: 200 options
100 c + 10 a + b. A *class* is a set of options out of a fixed catalogue; a *cell* of an answer
column is one class per group. The cells of `base_cells` fix what the answer digit depends on, and
`split_cells` refines one group of a cell into disjoint children, so that the leaves of any sequence
of splits partition the pairs.
"""

from dataclasses import dataclass

import numpy as np

from model.task import EOS, EQUALS, N_ANSWER, N_DIGITS

N_OPTIONS = 200
OPTION = np.arange(N_OPTIONS)
CARRY_IN, DIGIT_A, DIGIT_B = OPTION // 100, OPTION // 10 % 10, OPTION % 10
ANSWER: np.ndarray = (DIGIT_A + DIGIT_B + CARRY_IN) % 10
CARRY_OUT = (DIGIT_A + DIGIT_B + CARRY_IN) // 10

# The catalogue of classes: number of the first class of each kind.
ALL = 0  # every option
CARRY = 1  # + v: carry out v
SUM = 3  # + s: answer digit s
CARRY_SUM = 13  # + 10 v + s: carry out v and answer digit s
SINGLE = 33  # + option: that option
LEFT = 233  # + a: first digit a
PAIR = 243  # + 10 a + b: both digits, any carry in
N_CLASSES = 343


def _members() -> np.ndarray:
    rows = np.zeros((N_CLASSES, N_OPTIONS), dtype=bool)
    rows[ALL] = True
    for label in (
        CARRY + CARRY_OUT,
        SUM + ANSWER,
        CARRY_SUM + 10 * CARRY_OUT + ANSWER,
        SINGLE + OPTION,
        LEFT + DIGIT_A,
        PAIR + 10 * DIGIT_A + DIGIT_B,
    ):
        rows[label, OPTION] = True
    return rows


_ANY_GROUP: np.ndarray = _members()
_FIRST_GROUP: np.ndarray = _ANY_GROUP & (CARRY_IN == 0)


def members(group: int) -> np.ndarray:
    """Tabulate which options belong to each class of a group, shape (class, option).

    No carry comes into group 0, so its options with a carry belong to no class.
    """
    return _FIRST_GROUP if group == 0 else _ANY_GROUP


def _given_carry() -> np.ndarray:
    """Tabulate the part of each class that has a given carry out; -1 if there is none."""
    table = np.full((N_CLASSES, 2), -1, dtype=np.int16)
    for carry in range(2):
        table[ALL, carry] = table[CARRY + carry, carry] = CARRY + carry
        for digit in range(10):
            both = CARRY_SUM + 10 * carry + digit
            table[SUM + digit, carry] = table[both, carry] = both
        single = SINGLE + np.flatnonzero(carry == CARRY_OUT)
        table[single, carry] = single
    return table


GIVEN_CARRY = _given_carry()


@dataclass(frozen=True)
class _Children:
    """Children of every class of one kind of group, flattened: class c owns flat[start[c]:...]."""

    start: np.ndarray
    count: np.ndarray
    flat: np.ndarray


def _children(visible: bool, group: int) -> _Children:
    table: list[np.ndarray] = [np.zeros(0, dtype=np.int64)] * N_CLASSES
    if visible:
        table[ALL] = SUM + np.arange(10)
        for carry in range(2):
            table[CARRY + carry] = CARRY_SUM + 10 * carry + np.arange(10)
        for coarse in range(SUM, SINGLE):
            table[coarse] = SINGLE + np.flatnonzero(_ANY_GROUP[coarse])
    else:
        table[ALL] = LEFT + np.arange(10)
        for digit in range(10):
            table[LEFT + digit] = PAIR + 10 * digit + np.arange(10)
    filled = np.any(members(group), axis=1)
    table = [labels[filled[labels]] for labels in table]
    count = np.array([len(labels) for labels in table])
    return _Children(np.cumsum(count) - count, count, np.concatenate(table).astype(np.int16))


_CHILDREN = {
    (visible, group): _children(visible, group) for visible in (False, True) for group in (0, 1)
}


def children_of(column: int, group: int) -> _Children:
    """Tabulate the children of each class; groups below `column` show their answer digit."""
    return _CHILDREN[group < column, min(group, 1)]


def children_count(cells: np.ndarray, groups: np.ndarray, column: int) -> np.ndarray:
    """Count the children of each cell in its given group, empty ones included (0: no split)."""
    count = np.zeros(len(cells), dtype=np.int64)
    for k in range(N_DIGITS):
        chosen = groups == k
        count[chosen] = children_of(column, k).count[cells[chosen, k]]
    return count


def query_tokens(column: int) -> tuple[int, ...]:
    """List the tokens that the query of an answer column can be, given the true prefix."""
    if column == 0:
        return (EQUALS,)
    return tuple(range(10)) if column < N_ANSWER else (0, 1)


def base_cells(column: int, query: int) -> tuple[np.ndarray, np.ndarray]:
    """Enumerate the coarsest cells that fix the query token and the answer token.

    Column i fixes group i - 1 (its carry in, a and b) and group i; the group below is restricted to
    the carry out that group i - 1 receives. Column 10 has no group of its own, and column 11 (EOS)
    needs only the carry out of group 9, which is s_10.

    Args:
        column: Answer column, 0 to 11.
        query: One of `query_tokens(column)`.

    Returns:
        Classes, shape (cell, 10), in ascending order of (option of group i - 1, option of group
        i), and the true token of each cell.
    """
    if column == N_ANSWER:
        cells = np.full((1, N_DIGITS), ALL, dtype=np.int16)
        cells[0, -1] = CARRY + query
        return cells, np.array([EOS])
    before = np.zeros(1, dtype=np.int64)
    if column:
        before = np.flatnonzero((query == ANSWER) & (members(column - 1)[ALL]))
    here = np.arange(100) if column < N_DIGITS else np.zeros(1, dtype=np.int64)
    low, high = (grid.ravel() for grid in np.meshgrid(before, here, indexing="ij"))
    cells = np.full((len(low), N_DIGITS), ALL, dtype=np.int16)
    carry = np.zeros(len(low), dtype=np.int64)
    if column:
        cells[:, column - 1] = SINGLE + low
        carry = CARRY_OUT[low]
    if column >= 2:
        cells[:, column - 2] = CARRY + CARRY_IN[low]
    if column == N_DIGITS:
        return cells, carry
    cells[:, column] = PAIR + high
    return cells, (high // 10 + high % 10 + carry) % 10


def split_cells(
    cells: np.ndarray, groups: np.ndarray, column: int
) -> tuple[np.ndarray, np.ndarray]:
    """Replace each cell by its children in one group.

    Where a child fixes the carry into its group, the group below is restricted to that carry out;
    children that leave no option there are dropped.

    Args:
        cells: Classes, shape (cell, 10).
        groups: The group to refine in each cell, shape (cell,); it must have children.
        column: Answer column.

    Returns:
        The children, in the order of their parents and of the catalogue, and each one's parent.
    """
    tables = [children_of(column, k) for k in range(N_DIGITS)]
    count = children_count(cells, groups, column)
    start = np.zeros(len(cells), dtype=np.int64)
    for k in range(N_DIGITS):
        chosen = groups == k
        start[chosen] = tables[k].start[cells[chosen, k]]
    parent = np.repeat(np.arange(len(cells)), count)
    rank = np.arange(len(parent)) - np.repeat(np.cumsum(count) - count, count)
    children = cells[parent]
    alive = np.ones(len(parent), dtype=bool)
    for k in range(N_DIGITS):
        rows = np.flatnonzero(groups[parent] == k)
        label = tables[k].flat[start[parent[rows]] + rank[rows]]
        children[rows, k] = label
        if k == 0 or k >= column:
            continue
        single = rows[label >= SINGLE]
        carry = CARRY_IN[children[single, k] - SINGLE]
        below = GIVEN_CARRY[children[single, k - 1], carry]
        filled = np.any(members(k - 1), axis=1)
        alive[single] = (below >= 0) & filled[below]
        children[single, k - 1] = below
    return children[alive], parent[alive]
