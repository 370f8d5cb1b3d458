"""Exact integers: masses of cells, and how many pairs avoid all cells of some columns."""

import numpy as np

from interp.certify_any.groups import Pool


def masses(pool: Pool, cells: np.ndarray) -> list[int]:
    """Count the pairs in each cell, (cell, group), as Python integers."""
    ways = np.zeros((len(cells), 2), dtype=object)
    ways[:, 0] = 1
    for k in range(cells.shape[1]):
        used, where = np.unique(cells[:, k], return_inverse=True)
        table = np.array([transfer(pool, number) for number in used.tolist()], dtype=object)
        chosen = table.reshape(-1, 2, 2)[where.ravel()]
        ways = (ways[:, :, None] * chosen).sum(axis=1)
    return ways.sum(axis=1).tolist()


def transfer(pool: Pool, number: int) -> np.ndarray:
    """Count the options of a set by carry in and carry out, (2, 2)."""
    row, options = pool.row(number), pool.options
    both = 2 * options.carry_in[row] + options.carry_out[row]
    return np.bincount(both, minlength=4).reshape(2, 2)
