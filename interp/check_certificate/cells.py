"""Cells and counts, for the checker of certificates; shares no code with the certifier.

A digit group k stands for (c_k, a_k, b_k): carry in and two digits, numbered 100 c + 10 a + b. A
set of such options is a row of 200 booleans; every set that turns up gets a number. A cell is a
tuple of ten such numbers. Rules (docs/certification.md, "The file"):

* column i starts from all sets full; group i - 1 is one option whose digit sum ends in the query
  token, group i one digit pair, group i - 2 the options that carry what group i - 1 receives;
* a group below the column is split by its answer digit, then into single options; another by its
  first digit, then by its second; where a single option shows the carry it receives, the group
  below is cut to the options that produce it; empty cells are left out.
"""

import functools

import numpy as np

OPTION = np.arange(200)
CARRY = OPTION // 100
LEFT = OPTION % 100 // 10
RIGHT = OPTION % 10
TOTAL = CARRY + LEFT + RIGHT


class Sets:
    """The sets of options met so far; group 0 receives no carry, so its sets are cut to that."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.rows: list[np.ndarray] = []
        self._numbers: dict[bytes, int] = {}

    def number(self, row: np.ndarray) -> int:
        """Give the number of a set, or -1 for the empty set."""
        if not row.any():
            return -1
        key = row.tobytes()
        if key not in self._numbers:
            self._numbers[key] = len(self.rows)
            self.rows.append(row)
        return self._numbers[key]

    def start(self, group: int, condition: np.ndarray | None = None) -> int:
        """Give the number of a group's full set, or of the part that meets a condition."""
        row = CARRY == 0 if group == 0 else np.ones(200, dtype=bool)
        return self.number(row if condition is None else row & condition)

    @functools.cache  # noqa: B019
    def parts(self, number: int, visible: bool) -> tuple[int, ...]:
        """Split a set in the order that the rules give."""
        row = self.rows[number]
        if visible:
            digits = np.unique(TOTAL[row] % 10)
            pieces = [s == TOTAL % 10 for s in digits] if len(digits) > 1 else []
            pieces = pieces or [x == OPTION for x in np.flatnonzero(row)]
        else:
            lefts = np.unique(LEFT[row])
            pieces = [a == LEFT for a in lefts] if len(lefts) > 1 else []
            pieces = pieces or [b == RIGHT for b in np.unique(RIGHT[row])]
        return tuple(self.number(row & piece) for piece in pieces) if len(pieces) > 1 else ()

    @functools.cache  # noqa: B019
    def carrying(self, number: int, carry: int) -> int:
        """Cut a set to the options that carry out `carry`."""
        return self.number(self.rows[number] & (carry == TOTAL // 10))


Cell = tuple[int, ...]


def first_cells(sets: Sets, column: int, query: int) -> tuple[list[Cell], list[int]]:
    """List the coarsest cells of a column and the token that is right in each."""
    full = [sets.start(k) for k in range(10)]
    if column == 11:
        return [(*full[:9], sets.start(9, np.equal(TOTAL // 10, query)))], [13]
    cells, truth = [], []
    before = OPTION[query == TOTAL % 10] if column else [None]
    for x in before:
        cell, carry = list(full), 0
        if x is not None:
            cell[column - 1] = sets.start(column - 1, np.equal(OPTION, x))
            if cell[column - 1] < 0:
                continue
            carry = int(TOTAL[x] // 10)
            if column > 1:
                cell[column - 2] = sets.start(column - 2, CARRY[x] == TOTAL // 10)
        if column == 10:
            cells.append(tuple(cell))
            truth.append(carry)
            continue
        for pair in range(100):
            cell[column] = sets.start(column, np.equal(OPTION % 100, pair))
            cells.append(tuple(cell))
            truth.append((pair // 10 + pair % 10 + carry) % 10)
    return cells, truth


def split(sets: Sets, cell: Cell, group: int, column: int) -> list[Cell]:
    """Split one group of a cell."""
    children = []
    for part in sets.parts(cell[group], group < column):
        child = [*cell]
        child[group] = part
        row = sets.rows[part]
        if 0 < group < column and row.sum() == 1:
            child[group - 1] = sets.carrying(child[group - 1], int(CARRY[row.argmax()]))
        if min(child) >= 0:
            children.append(tuple(child))
    return children


def rebuild(
    sets: Sets, column: int, query: int, codes: list[int]
) -> tuple[list[Cell], list[int], list[int]]:
    """Read a tree: codes breadth first, 0 to 8 for a leaf, 9 + group for a split.

    Returns:
        Leaves in the order of their codes, their true tokens and their codes.

    Raises:
        ValueError: The codes do not describe a tree.
    """
    level, truth = first_cells(sets, column, query)
    leaves, tokens, verdicts = [], [], []
    position = 0
    while level:
        if position + len(level) > len(codes):
            raise ValueError("the tree has too few nodes")
        below, below_truth = [], []
        for cell, token in zip(level, truth, strict=True):
            code = codes[position]
            position += 1
            if code < 9:
                leaves.append(cell)
                tokens.append(token)
                verdicts.append(code)
                continue
            children = split(sets, cell, code - 9, column) if code < 19 else []
            if not children:
                raise ValueError(f"code {code} splits what cannot be split")
            below += children
            below_truth += [token] * len(children)
        level, truth = below, below_truth
    if position != len(codes):
        raise ValueError("the tree has too many nodes")
    return leaves, tokens, verdicts


def holds_pair(sets: Sets, cell: Cell) -> bool:
    """Tell whether some pair lies in a cell: whether a chain of carries goes through it."""
    carries = {0}
    for number in cell:
        row = sets.rows[number]
        carries = {int(TOTAL[x] // 10) for x in np.flatnonzero(row) if CARRY[x] in carries}
    return bool(carries)
