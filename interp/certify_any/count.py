"""Exact integers: masses of cells, pairs drawn from them, and how many pairs avoid them all.

Cells of one column are disjoint; those of several overlap. Each column's cells become a
deterministic automaton that reads the groups from the lowest up (its state: which rests of cells
are still possible), and a dynamic program over the product of the automata and the carry counts
the pairs that complete no cell. Its steps are limited.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interp.certify_any.groups import Pool

FREE, DEAD = 0, 1
VISIT = 200


class TooManySteps(Exception):
    """Counting takes more steps than are allowed."""


class Steps:
    """How many steps some counts may still take."""

    def __init__(self, left: int = 40_000_000) -> None:
        """Start with all of them."""
        self.left = left

    def take(self, steps: int) -> None:
        """Take some.

        Raises:
            TooManySteps: None are left.
        """
        self.left -= steps
        if self.left < 0:
            raise TooManySteps


@dataclass(frozen=True)
class Automaton:
    """Reads the groups of a pair; state 0: in no cell for certain, 1: in one.

    Attributes:
        start: The state before group 0.
        moves: For each group, the next state by (state, option).
    """

    start: int
    moves: tuple[np.ndarray, ...]


def masses(pool: Pool, cells: np.ndarray) -> list[int]:
    """Count the pairs in each cell, (cell, group), as Python integers."""
    ways = np.zeros((len(cells), 2), dtype=object)
    ways[:, 0] = 1
    for k in range(cells.shape[1]):
        used, where = np.unique(cells[:, k], return_inverse=True)
        table = np.array([transfer(pool, number) for number in used.tolist()], dtype=object)
        ways = (ways[:, :, None] * table.reshape(-1, 2, 2)[where.ravel()]).sum(axis=1)
    return ways.sum(axis=1).tolist()


def transfer(pool: Pool, number: int) -> list[list[int]]:
    """Count the options of a set by carry in and carry out, (2, 2)."""
    row, options = pool.row(number), pool.options
    both = 2 * options.carry_in[row] + options.carry_out[row]
    return np.bincount(both, minlength=4).reshape(2, 2).tolist()


def draw(pool: Pool, cells: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one pair uniformly from each cell; each must hold one.

    Returns:
        Operands a and b, int64.
    """
    options = pool.options
    n, groups = cells.shape
    rest = [np.ones((n, 2))]  # pairs that complete a cell, by carry in, from the top down
    for k in reversed(range(groups)):
        weight = pool.rows(cells[:, k]) * rest[0][:, options.carry_out]
        by_carry = [weight[:, options.carry_in == c].sum(axis=1) for c in (0, 1)]
        rest.insert(0, np.stack(by_carry, axis=1))
    carry, a, b = (np.zeros(n, dtype=np.int64) for _ in range(3))
    for k in range(groups):
        inside = pool.rows(cells[:, k]) & (options.carry_in == carry[:, None])
        level = np.cumsum(inside * rest[k + 1][:, options.carry_out], axis=1)
        aim = rng.random(n)[:, None] * level[:, -1:]
        option = np.minimum((level <= aim).sum(axis=1), options.count - 1)
        a, b = a + options.a[option] * pool.base**k, b + options.b[option] * pool.base**k
        carry = options.carry_out[option]
    return a, b


def build_automaton(pool: Pool, cells: np.ndarray, steps: Steps) -> Automaton:
    """Determinise a set of cells, (cell, group), which need not be disjoint.

    Raises:
        TooManySteps: It takes more.
    """
    groups = cells.shape[1]
    if not len(cells):
        return Automaton(FREE, ())
    # rest[k] numbers the distinct rests of cells from group k on; leader[k]: a cell that has each.
    rest, leader = [np.zeros(len(cells), dtype=np.int64)], [np.zeros(1, dtype=np.int64)]
    for k in reversed(range(groups)):
        key = rest[0] * len(pool) + cells[:, k]
        _, first, number = np.unique(key, return_index=True, return_inverse=True)
        rest.insert(0, number.ravel())
        leader.insert(0, first)
    whole = (cells == pool.everything) | ((cells == pool.lowest) & (np.arange(groups) == 0))
    done = np.cumprod(whole[:, ::-1], axis=1)[:, ::-1].astype(bool)
    if done[leader[0], 0].any():
        return Automaton(DEAD, ())
    states = [np.arange(len(leader[0]))]
    moves = []
    for k in range(groups):
        table = np.full((len(states) + 2, pool.options.count), FREE)
        table[DEAD] = DEAD
        names: dict[bytes, int] = {}
        following: list[np.ndarray] = []
        for row, state in enumerate(states, start=2):
            steps.take(VISIT + len(state))
            leading = leader[k][state]
            sets, where = np.unique(cells[leading, k], return_inverse=True)
            after = rest[k + 1][leading]
            patterns, which = np.unique(pool.rows(sets), axis=1, return_inverse=True)
            found = np.full(patterns.shape[1], FREE)
            for i, pattern in enumerate(patterns.T):
                chosen = np.unique(after[pattern[where.ravel()]])
                steps.take(len(chosen))
                if not len(chosen):
                    continue
                if k == groups - 1 or done[leader[k + 1][chosen], k + 1].any():
                    found[i] = DEAD
                    continue
                key = chosen.tobytes()
                if key not in names:
                    names[key] = len(following) + 2
                    following.append(chosen)
                found[i] = names[key]
            table[row] = found[which.ravel()]
        moves.append(table)
        states = following
    return Automaton(2, tuple(moves))


def count_avoiding(pool: Pool, groups: int, automata: Sequence[Automaton], steps: Steps) -> int:
    """Count the pairs that lie in no cell of any automaton.

    Raises:
        TooManySteps: It takes more.
    """
    automata = [automaton for automaton in automata if automaton.start != FREE]
    if any(automaton.start == DEAD for automaton in automata):
        return 0
    options = pool.options
    by_carry = [np.flatnonzero(options.carry_in == carry) for carry in (0, 1)]
    states = {(0, *(automaton.start for automaton in automata)): 1}
    for k in range(groups):
        following: dict[tuple[int, ...], int] = {}
        steps.take(VISIT * len(states))
        for (carry, *at), ways in states.items():
            chosen = by_carry[carry]
            step = [options.carry_out[chosen]]
            step += [a.moves[k][state, chosen] for a, state in zip(automata, at, strict=True)]
            moved = np.array(step)
            moved = moved[:, (moved[1:] != DEAD).all(axis=0)]
            ends, counts = np.unique(moved, axis=1, return_counts=True)
            for end, n in zip(ends.T.tolist(), counts.tolist(), strict=True):
                key = tuple(end)
                following[key] = following.get(key, 0) + ways * n
        states = following
    return sum(states.values())
