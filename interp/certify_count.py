"""Exact integers: how many of the 10^20 pairs avoid a set of cells.

The cells to avoid may belong to several answer columns, so one pair can lie in many of them; no
union bound is taken. Each column's cells become a deterministic automaton that reads the digit
groups from group 0 upwards (its state: which suffixes of cells are still possible), and a dynamic
program over the product of the automata and the carry counts the pairs that never complete a cell.
Counts are kept as two integers in base 10^10 and returned as Python integers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interp.certify_cells import ALL, CARRY_IN, CARRY_OUT, N_CLASSES, N_OPTIONS, OPTION, members
from model.task import N_DIGITS

TOTAL = 10 ** (2 * N_DIGITS)
"""Number of operand pairs."""
_BASE = 10**N_DIGITS
_FREE, _DEAD = 0, 1
_CHUNK = 20_000


@dataclass(frozen=True)
class Automaton:
    """Reads options of groups 0 to 9; state 0: no cell can be completed any more, 1: one is.

    Attributes:
        start: The state before group 0.
        moves: For each group, the next state by (state, option).
    """

    start: int
    moves: tuple[np.ndarray, ...]


def count_avoiding(cells_by_column: Sequence[np.ndarray]) -> int:
    """Count the pairs (a, b) that lie in none of the cells.

    Args:
        cells_by_column: Arrays of classes (cell, 10); one automaton is built for each.

    Returns:
        An exact integer, 0 to 10^20.
    """
    return _run([build_automaton(cells) for cells in cells_by_column if len(cells)])


def build_automaton(cells: np.ndarray) -> Automaton:
    """Determinise a set of cells of one column, which need not be disjoint."""
    suffixes = [
        np.unique(cells[:, k:], axis=0, return_inverse=True)[1].ravel() for k in range(N_DIGITS)
    ]
    finished = np.cumprod((cells == ALL)[:, ::-1], axis=1)[:, ::-1].astype(bool)
    start, nodes = _FREE, []
    if len(cells):
        start, nodes = (_DEAD, []) if finished[:, 0].any() else (2, [np.arange(len(cells))])
    moves = []
    for k in range(N_DIGITS):
        contains = members(k)
        table = [np.full(N_OPTIONS, _FREE), np.full(N_OPTIONS, _DEAD)]
        names: dict[bytes, int] = {}
        later: list[np.ndarray] = []

        def name(rows: np.ndarray, k: int = k, names=names, later=later) -> int:
            if not len(rows):
                return _FREE
            if k == N_DIGITS - 1 or finished[rows, k + 1].any():
                return _DEAD
            identity, first = np.unique(suffixes[k + 1][rows], return_index=True)
            key = identity.tobytes()
            if key not in names:
                names[key] = len(later) + 2
                later.append(rows[first])
            return names[key]

        for rows in nodes:
            labels, inverse = np.unique(cells[rows, k], return_inverse=True)
            inside = contains[labels]
            if k == N_DIGITS - 1 or finished[rows, k + 1].all():
                table.append(np.where(inside.any(axis=0), _DEAD, _FREE))
                continue
            by_label = np.split(
                rows[np.argsort(inverse, kind="stable")],
                np.cumsum(np.bincount(inverse, minlength=len(labels)))[:-1],
            )
            patterns, which = np.unique(inside, axis=1, return_inverse=True)
            following = [
                name(np.concatenate([by_label[i] for i in np.flatnonzero(pattern)]))
                if pattern.any()
                else _FREE
                for pattern in patterns.T
            ]
            table.append(np.array(following)[which.ravel()])
        moves.append(np.stack(table))
        nodes = later
    return Automaton(start, tuple(moves))


def _run(automata: list[Automaton]) -> int:
    if any(automaton.start == _DEAD for automaton in automata):
        return 0
    states = np.array([[0] + [automaton.start for automaton in automata]])
    high, low = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64)
    for k in range(N_DIGITS):
        if not len(states):
            return 0
        moves = [automaton.moves[k] for automaton in automata]
        parts = [
            _step(moves, states[i : i + _CHUNK], high[i : i + _CHUNK], low[i : i + _CHUNK])
            for i in range(0, len(states), _CHUNK)
        ]
        states, high, low = (np.concatenate(part) for part in zip(*parts, strict=True))
        if len(parts) > 1:
            states, high, low = _merge(states, high, low)
    return int(high.sum()) * _BASE + int(low.sum())


def _step(
    moves: list[np.ndarray], states: np.ndarray, high: np.ndarray, low: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read one group: every state times the 100 digit pairs that its carry allows."""
    options = 100 * states[:, :1] + np.arange(100)
    columns = [CARRY_OUT[options].ravel()]
    columns += [table[states[:, i + 1, None], options].ravel() for i, table in enumerate(moves)]
    alive = np.ones(options.size, dtype=bool)
    for column in columns[1:]:
        alive &= column != _DEAD
    source = np.repeat(np.arange(len(states)), 100)[alive]
    following = np.stack([column[alive] for column in columns], axis=1)
    return _merge(following, high[source], low[source])


def _merge(
    states: np.ndarray, high: np.ndarray, low: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Add up the counts of equal states."""
    if not len(states):
        return states, high, low
    key = np.zeros(len(states), dtype=np.int64)
    for column in states.T:
        if column.max():
            key = np.unique(key * (int(column.max()) + 1) + column, return_inverse=True)[1].ravel()
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    low = np.add.reduceat(low[order], first)
    high = np.add.reduceat(high[order], first) + low // _BASE
    return states[order[first]], high, low % _BASE


def _transfers() -> np.ndarray:
    """Count the options of each class by carry in and carry out, shape (2, class, 2, 2)."""
    table = np.zeros((2, N_CLASSES, 2, 2), dtype=np.int64)
    for kind in range(2):
        for option in OPTION:
            table[kind, :, CARRY_IN[option], CARRY_OUT[option]] += members(kind)[:, option]
    return table


_TRANSFERS = _transfers()


def cell_masses(cells: np.ndarray) -> list[int]:
    """Count the pairs in each cell.

    Args:
        cells: Classes, (cell, 10).

    Returns:
        One exact integer per cell.
    """
    low = np.zeros((len(cells), 2), dtype=np.int64)
    high = np.zeros((len(cells), 2), dtype=np.int64)
    low[:, 0] = 1
    for k in range(N_DIGITS):
        matrix = _TRANSFERS[min(k, 1), cells[:, k]]
        low = (low[:, :, None] * matrix).sum(axis=1)
        high = (high[:, :, None] * matrix).sum(axis=1) + low // _BASE
        low = low % _BASE
    return [h * _BASE + x for h, x in zip(high.sum(1).tolist(), low.sum(1).tolist(), strict=True)]
