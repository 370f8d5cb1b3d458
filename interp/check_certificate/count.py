"""How many pairs lie in none of some cells, for the checker; shares no code with the certifier.

Each column's cells become a diagram that reads the groups from the highest down: a node is the set
of cells' lower parts that are still possible, equal nodes are one. The diagrams are then walked
side by side, with the carry that the groups below have to produce. Steps are counted, because cells
can be such that this does not end; a certificate may then claim the weaker bounds that add up the
columns one by one, which takes time in proportion to the cells.
"""

from dataclasses import dataclass

import numpy as np

from interp.check_certificate.cells import CARRY, TOTAL, Cell, Sets

ALL_PAIRS = 10**20
_FREE, _DEAD = 0, 1
_VISIT = 200
"""Steps of visiting a node or a combination of nodes, beside its cells."""


class Unending(ValueError):
    """Counting takes more steps than are allowed."""


class Steps:
    """How many steps all counts of one certificate may still take."""

    def __init__(self, left: int = 150_000_000) -> None:
        """Start with all of them."""
        self.left = left

    def take(self, steps: int) -> None:
        """Take some.

        Raises:
            Unending: None are left.
        """
        self.left -= steps
        if self.left < 0:
            raise Unending("its cells overlap in too many ways to be counted jointly")


@dataclass(frozen=True)
class Diagram:
    """Node after reading an option of group k in a node; 0: no cell is possible, 1: one is certain.

    Attributes:
        top: The node before group 9 is read.
        moves: For each group, the next node by (node, option).
    """

    top: int
    moves: list[np.ndarray]


def build_diagram(sets: Sets, cells: list[Cell], steps: Steps) -> Diagram:
    """Build the diagram of some cells, which need not be disjoint.

    Raises:
        Unending: It needs too much work.
    """
    moves = [np.zeros((2, 200), dtype=np.int32) for _ in range(10)]
    if not cells:
        return Diagram(_FREE, moves)
    table, rows = np.array(cells), np.array(sets.rows)
    full = np.isin(table, [sets.start(0), sets.start(1)])
    # part[k] numbers the distinct lower parts, groups 0 to k - 1; sure[k]: one that asks nothing.
    part = [np.zeros(len(table), dtype=np.int64)]
    sure, first = [np.ones(1, dtype=bool)], [np.zeros(1, dtype=np.int64)]
    asks = np.zeros(len(table), dtype=bool)
    for k in range(10):
        _, leader, number = np.unique(
            part[-1] * len(rows) + table[:, k], return_index=True, return_inverse=True
        )
        asks |= ~full[:, k]
        part.append(number.ravel())
        first.append(leader)
        sure.append(~asks[leader])
    level = [np.unique(part[10])]
    top = _DEAD if sure[10].any() else 2
    for k in reversed(range(10)):
        names: dict[bytes, int] = {}
        below: list[np.ndarray] = []
        table_k = np.full((len(level) + 2, 200), _FREE, dtype=np.int32)
        table_k[_DEAD] = _DEAD
        for node, alive in enumerate(level if top != _DEAD else [], start=2):
            steps.take(_VISIT + len(alive))
            leader = first[k + 1][alive]
            labels, where = np.unique(table[leader, k], return_inverse=True)
            lower = part[k][leader]
            patterns, which = np.unique(rows[labels], axis=1, return_inverse=True)
            following = np.zeros(patterns.shape[1], dtype=np.int32)
            for i, pattern in enumerate(patterns.T):
                chosen = np.unique(lower[pattern[where.ravel()]])
                steps.take(len(chosen))
                if not len(chosen):
                    following[i] = _FREE
                elif sure[k][chosen].any():
                    following[i] = _DEAD
                else:
                    key = chosen.tobytes()
                    if key not in names:
                        names[key] = len(below) + 2
                        below.append(chosen)
                    following[i] = names[key]
            table_k[node] = following[which.ravel()]
        moves[k] = table_k
        level = below
    return Diagram(top, moves)


def count_outside(diagrams: list[Diagram], steps: Steps) -> int:
    """Count the pairs in none of the cells of some diagrams.

    Raises:
        Unending: It needs too much work.
    """
    diagrams = [diagram for diagram in diagrams if diagram.top != _FREE]
    if any(diagram.top == _DEAD for diagram in diagrams):
        return 0
    free = _free_counts()
    # Counts of ways down to a state: the carry that the groups below must produce, and the nodes.
    states = {(carry, *(diagram.top for diagram in diagrams)): 1 for carry in (0, 1)}
    total = 0
    for k in reversed(range(10)):
        following: dict[tuple[int, ...], int] = {}
        steps.take(_VISIT * len(states))
        for (carry, *nodes), ways in states.items():
            options = np.flatnonzero((carry == TOTAL // 10) & ((CARRY == 0) | (k > 0)))
            step = [CARRY[options]]
            step += [
                diagram.moves[k][node, options]
                for diagram, node in zip(diagrams, nodes, strict=True)
            ]
            step = np.array(step)
            step = step[:, (step[1:] != _DEAD).all(axis=0)]
            found, counts = np.unique(step, axis=1, return_counts=True)
            for state, n in zip(found.T.tolist(), counts.tolist(), strict=True):
                if not any(state[1:]):
                    total += ways * n * (free[k - 1][state[0]] if k else int(state[0] == 0))
                else:
                    key = tuple(state)
                    following[key] = following.get(key, 0) + ways * n
        states = following
    return total


def mass(sets: Sets, cells: list[Cell]) -> int:
    """Count the pairs in disjoint cells."""
    if not cells:
        return 0
    transfer = np.zeros((len(sets.rows), 2, 2), dtype=np.int64)
    for number, row in enumerate(sets.rows):
        for option in np.flatnonzero(row):
            transfer[number, CARRY[option], TOTAL[option] // 10] += 1
    table = np.array(cells)
    ways = np.zeros((len(table), 2), dtype=object)
    ways[:, 0] = 1
    for k in range(10):
        ways = (ways[:, :, None] * transfer[table[:, k]].astype(object)).sum(axis=1)
    return int(ways.sum())


def count(
    sets: Sets, bad: dict[tuple[int, int, int], list[Cell]], counting: dict[str, str]
) -> dict[str, tuple[int, int]]:
    """Bound the right pairs: lower avoids wrong and undecided cells, upper the wrong ones.

    Args:
        sets: The sets of options that cells are made of.
        bad: Cells by arithmetic (0 real, 1 float32), column and verdict (1 wrong, 2 undecided).
        counting: For each count, "joint" or "columns".

    Returns:
        Lower and upper bound of each count.

    Raises:
        ValueError: No such way of counting.
        Unending: Counting jointly takes too many steps.
    """
    steps, counts = Steps(), {}
    for arithmetic, stem in enumerate(("real", "float32")):
        ends = [
            [
                [
                    cell
                    for verdict in verdicts
                    for cell in bad.get((arithmetic, column, verdict), [])
                ]
                for column in range(12)
            ]
            for verdicts in ((1, 2), (1,))
        ]
        diagrams: list[list[Diagram]] = [[], []]
        walked: dict[tuple[int, ...], tuple[int, ...]] = {}
        for columns, name in ((11, stem), (12, f"{stem}_with_end")):
            if counting[name] == "joint":
                for built, cells in zip(diagrams, ends, strict=True):
                    built += [build_diagram(sets, x, steps) for x in cells[len(built) : columns]]
                # Where the end token never fails, the count with it is the count without.
                asking = tuple(sum(x.top != _FREE for x in built) for built in diagrams)
                if asking not in walked:
                    walked[asking] = tuple(count_outside(built, steps) for built in diagrams)
                lower, upper = walked[asking]
            elif counting[name] == "columns":
                lower = ALL_PAIRS - sum(mass(sets, cells) for cells in ends[0][:columns])
                upper = ALL_PAIRS - max(mass(sets, cells) for cells in ends[1][:columns])
            else:
                raise ValueError(f"{name} is counted in no known way")
            counts[name] = max(lower, 0), upper
    return counts


def _free_counts() -> list[list[int]]:
    """Count the options of groups 0 to k by the carry that comes out of group k."""
    counts = [[55, 45]]
    for _ in range(9):
        none, one = counts[-1]
        counts.append([55 * none + 45 * one, 45 * none + 55 * one])
    return counts
