"""Exact integers: how many of the 10^20 pairs avoid a set of cells.

The cells to avoid may belong to several answer columns, so one pair can lie in many of them; no
union bound is taken. Each column's cells become a deterministic automaton that reads the digit
groups from group 0 upwards (its state: which suffixes of cells are still possible), and a dynamic
program over the product of the automata and the carry counts the pairs that never complete a cell.
Counts are kept as two integers in base 10^10 and returned as Python integers. Cells can overlap in
so many ways that this does not end, so its steps are counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interp.certify.cells import ALL, CARRY_IN, CARRY_OUT, N_CLASSES, N_OPTIONS, OPTION, members
from model.task import N_DIGITS

TOTAL = 10 ** (2 * N_DIGITS)
"""Number of operand pairs."""
_BASE = 10**N_DIGITS
_FREE, _DEAD = 0, 1
_CHUNK = 20_000
_VISIT = 200
"""Steps of visiting a state, beside the suffixes that it is made of."""


class TooManySteps(Exception):
    """Counting takes more steps than are allowed."""


class Steps:
    """How many steps some counts may still take.

    Raises:
        TooManySteps: By `take`, when none are left.
    """

    def __init__(self, left: int = 60_000_000) -> None:
        """Start with all of them."""
        self.left = left

    def take(self, steps: int) -> None:
        """Take some."""
        self.left -= steps
        if self.left < 0:
            raise TooManySteps


@dataclass(frozen=True)
class Automaton:
    """Reads a pair's digits from group 0 to 9. State 0: in no cell for certain; 1: in one.

    Attributes:
        start: The state before group 0.
        moves: For each group, the next state by (state, option).
    """

    start: int
    moves: tuple[np.ndarray, ...]


def build_automaton(cells: np.ndarray, steps: Steps | None = None) -> Automaton:
    """Determinise a set of cells of one column, which need not be disjoint.

    A state before group k is the set of distinct suffixes (classes of groups k to 9) that would
    complete a cell.

    Args:
        cells: Classes, (cell, 10).
        steps: What it may take; what any count may, by default.

    Raises:
        TooManySteps: It takes more.
    """
    steps = steps or Steps()
    suffixes, leaders = _suffix_numbers(cells)
    finished = np.cumprod((cells == ALL)[:, ::-1], axis=1)[:, ::-1].astype(bool)
    done = [finished[leaders[k], k] for k in range(N_DIGITS)]
    start, states = _FREE, []
    if len(cells):
        start, states = (_DEAD, []) if done[0].any() else (2, [tuple(range(len(leaders[0])))])
    moves = []
    for k in range(N_DIGITS):
        table = np.full((len(states) + 2, N_OPTIONS), _FREE)
        table[_DEAD] = _DEAD
        names: dict[tuple[int, ...], int] = {}
        for row, state in enumerate(states, start=2):
            steps.take(_VISIT + len(state))
            leading = leaders[k][list(state)]
            by_label: dict[int, set[int]] = {}
            after = suffixes[k + 1][leading].tolist()
            for label, suffix in zip(cells[leading, k].tolist(), after, strict=True):
                by_label.setdefault(label, set()).add(suffix)
            inside = members(k)[list(by_label)]
            sets = list(by_label.values())
            last = k == N_DIGITS - 1

            def name(suffix_set: set[int], k: int = k, names=names, last: bool = last) -> int:
                steps.take(len(suffix_set))
                if last or done[k + 1][list(suffix_set)].any():
                    return _DEAD
                return names.setdefault(tuple(sorted(suffix_set)), len(names) + 2)

            overlap = inside.sum(axis=0)
            for i, suffix_set in enumerate(sets):
                alone = inside[i] & (overlap == 1)
                if alone.any():
                    table[row, alone] = name(suffix_set)
            shared = np.flatnonzero(overlap > 1)
            if len(shared):
                patterns, which = np.unique(inside[:, shared], axis=1, return_inverse=True)
                following = [
                    name(set().union(*(sets[i] for i in np.flatnonzero(pattern))))
                    for pattern in patterns.T
                ]
                table[row, shared] = np.array(following)[which.ravel()]
        moves.append(table)
        states = list(names)
    return Automaton(start, tuple(moves))


def _suffix_numbers(cells: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Number the distinct suffixes cells[:, k:] for k = 0 to 10, and find a cell that has each."""
    numbers = [np.zeros(len(cells), dtype=np.int64)]
    leaders = [np.zeros(min(len(cells), 1), dtype=np.int64)]
    for k in reversed(range(N_DIGITS)):
        key = numbers[0] * N_CLASSES + cells[:, k]
        _, first, number = np.unique(key, return_index=True, return_inverse=True)
        numbers.insert(0, number.ravel())
        leaders.insert(0, first)
    return numbers, leaders


def count_avoiding(
    automata: Sequence[Automaton],
    allowed: np.ndarray | None = None,
    steps: Steps | None = None,
) -> int:
    """Count the pairs (a, b) that lie in none of the cells of some automata.

    Args:
        automata: One for each column, from `build_automaton`.
        allowed: Which digit pairs 10 a_k + b_k may occur in each group, (10, 100), to count in a
            restricted domain; all of them by default.
        steps: What it may take; what any count may, by default.

    Returns:
        An exact integer, 0 to 10^20.

    Raises:
        TooManySteps: It takes more.
    """
    steps = steps or Steps()
    automata = [automaton for automaton in automata if automaton.start != _FREE]
    if any(automaton.start == _DEAD for automaton in automata):
        return 0
    states = np.array([[0] + [automaton.start for automaton in automata]])
    high, low = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64)
    for k in range(N_DIGITS):
        if not len(states):
            return 0
        steps.take(_VISIT * len(states))
        moves = [automaton.moves[k] for automaton in automata]
        pairs = np.arange(100) if allowed is None else np.flatnonzero(allowed[k])
        parts = [
            _step(moves, pairs, states[i : i + _CHUNK], high[i : i + _CHUNK], low[i : i + _CHUNK])
            for i in range(0, len(states), _CHUNK)
        ]
        states, high, low = (np.concatenate(part) for part in zip(*parts, strict=True))
        if len(parts) > 1:
            states, high, low = _merge(states, high, low)
    return int(high.sum()) * _BASE + int(low.sum())


def _step(
    moves: list[np.ndarray],
    pairs: np.ndarray,
    states: np.ndarray,
    high: np.ndarray,
    low: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read one group: every state with every digit pair."""
    options = 100 * states[:, :1] + pairs
    columns = [CARRY_OUT[options].ravel()]
    columns += [table[states[:, i + 1, None], options].ravel() for i, table in enumerate(moves)]
    alive = np.ones(options.size, dtype=bool)
    for column in columns[1:]:
        alive &= column != _DEAD
    source = np.repeat(np.arange(len(states)), len(pairs))[alive]
    following = np.stack([column[alive] for column in columns], axis=1)
    return _merge(following, high[source], low[source])


def _merge(
    states: np.ndarray, high: np.ndarray, low: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Add up the counts of equal states."""
    if not len(states):
        return states, high, low
    key, size = np.zeros(len(states), dtype=np.int64), 1
    for column in states.T:
        width = int(column.max()) + 1
        if width == 1:
            continue
        if size * width >= 2**62:
            key = np.unique(key, return_inverse=True)[1].ravel()
            size = int(key.max()) + 1
        key, size = key * width + column, size * width
    order = np.argsort(key)
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
