"""How many pairs lie in none of some cells, for the checker; shares no code with the certifier."""

import numpy as np

from interp.check_cells import CARRY, TOTAL, Cell, Sets


def count_outside(sets: Sets, cells: list[Cell]) -> int:
    """Count the pairs in none of the cells, from the highest group down.

    The state is the carry that the groups below have to produce and which cells are still possible.
    """
    if not cells:
        return 10**20
    table = np.array(cells)
    rows = np.array(sets.rows)
    full = {sets.start(0), sets.start(1)}
    # From which group down does a cell ask for nothing more than its carries give anyway?
    open_below = np.array([[x in full for x in cell] for cell in cells])
    open_below = np.cumprod(open_below, axis=1).astype(bool)
    memory: dict[tuple[int, int, bytes], int] = {}
    free = _free_counts()

    def below(k: int, carry: int, alive: np.ndarray) -> int:
        """Count completions of groups 0 to k that carry out `carry` and complete no cell."""
        if k < 0:
            return int(carry == 0 and not len(alive))
        if not len(alive):
            return free[k][carry]
        if open_below[alive, k].any():
            return 0
        _, suffix = np.unique(table[alive, : k + 1], axis=0, return_index=True)
        alive = alive[np.sort(suffix)]
        key = (k, carry, alive.tobytes())
        if key not in memory:
            allowed = np.flatnonzero((carry == TOTAL // 10) & rows[sets.start(k)])
            inside = rows[table[alive, k]][:, allowed]
            patterns, which, counts = np.unique(
                np.concatenate([CARRY[allowed][None], inside]),
                axis=1,
                return_inverse=True,
                return_counts=True,
            )
            del which
            memory[key] = sum(
                int(n) * below(k - 1, int(pattern[0]), alive[pattern[1:] > 0])
                for pattern, n in zip(patterns.T, counts, strict=True)
            )
        return memory[key]

    everything = np.arange(len(cells))
    return below(9, 0, everything) + below(9, 1, everything)


def _free_counts() -> list[list[int]]:
    """Count the options of groups 0 to k by the carry that comes out of group k."""
    counts = [[55, 45]]
    for _ in range(9):
        none, one = counts[-1]
        counts.append([55 * none + 45 * one, 45 * none + 55 * one])
    return counts
