"""Where the residual stream can be after attention, over all pairs of a cell.

With the true prefix, the output of a head is sum w v / sum w over the sources, where w = exp(score
less a constant) and v depend on (position, token) of the source and on the query. Measured from
any vector r, in any directions Q,

    output = r + Q N / D + t,   N = sum w Q^T (v - r),   D = sum w,
    |t| <= max |(1 - Q Q^T) (v - r)|,

and (N, D) is a sum of one table per digit group. A set of options keeps the hull of its rows. Over
a cell N = N0 + n, D = D0 + m, and with o near N0 / D0

    |N / D - o| <= (|n| + |o| m + |N0 - o D0|) / min D.
"""

from dataclasses import dataclass

import numpy as np

from interp.certify_any.balls import UP, Ball, U, join
from interp.certify_any.groups import Options, Pool
from interp.certify_any.tables import Sources
from model.layouts import Layout

RANK = 1e-9
"""Directions in which contributions are smaller than this share of the largest are left to t."""


@dataclass(frozen=True)
class Box:
    """Residual streams centre + Q u, |u| <= width, over some cells.

    Attributes:
        centre: (cell, d); its radius holds what the directions miss.
        width: (cell, direction); infinite or NaN where nothing is bounded.
        output: N0 / D0, about which it is measured, (cell, direction).
        inverse: 1 / D0, (cell, direction).
        loose: What 1 / D can differ from 1 / D0, (cell, direction).
        moved: Bound of |N - o D|, (cell, direction).
        sides: Part of the width that each group brings, (cell, group, direction).
        size: Bound of the sum over groups of |N| + |o| D, (cell, direction).
    """

    centre: Ball
    width: np.ndarray
    output: np.ndarray
    inverse: np.ndarray
    loose: np.ndarray
    moved: np.ndarray
    sides: np.ndarray
    size: np.ndarray


class Hulls:
    """Contributions of digit groups to one query, and their hulls by set.

    A row of a table holds N in the directions of all heads, then D of each head.

    Args:
        sources: The network's tables.
        layout: Its task.
        pool: Sets of options.
        step: Step of the answer that is predicted.
        token: Token at the query position.
    """

    def __init__(  # noqa: D107
        self, sources: Sources, layout: Layout, pool: Pool, step: int, token: int
    ) -> None:
        here = layout.n_prompt - 1 + step
        self.pool = pool
        self.shown = shown_groups(layout, step)
        possible = possible_tokens(layout, here, token)
        q = sources.q[here, token]
        k, v = sources.k[: here + 1], sources.v[: here + 1]
        heads, qk = q.shape
        score = (k.reshape(*k.shape[:3], 1, qk) @ q.reshape(heads, qk, 1))[..., 0, 0]
        where = possible[..., None]
        top = np.where(where, score.middle, -np.inf).max(axis=(0, 1))
        weight = (score - Ball.exact(top)).exponential()
        weight = Ball(np.where(where, weight.middle, 0.0), np.where(where, weight.radius, 0.0))
        parts, axes = [], []
        self.missed = np.zeros(v.shape[-1])
        self.stream = sources.x[here, token]
        for head in range(heads):
            w, value = weight[..., head], v[..., head, :]
            reference, Q = _directions(w.middle, value.middle, possible)
            away = value - Ball.exact(reference)
            along = away @ Ball.exact(Q)
            left = (away - along @ Ball.exact(Q.T)).size
            self.missed += left[possible].max(axis=0)
            self.stream = self.stream + Ball.exact(reference)
            parts.append(along * w.reshape(*w.shape, 1))
            axes.append(Q)
        self.axes = np.concatenate(axes, axis=1)
        self.head = np.repeat(np.arange(heads), [Q.shape[1] for Q in axes])
        table = join([*parts, weight])
        self.tables = _contributions(table, layout, pool.options, here)
        self.rounding = np.array([x.radius.max(axis=0) for x in self.tables]).sum(axis=0)
        self.fixed = _fixed(table, layout)
        self._where = np.full((layout.width, 0), -1)
        self._hulls = [np.zeros((0, 2, table.shape[-1])) for _ in range(layout.width)]

    def boxes(self, cells: np.ndarray) -> Box:
        """Enclose the residual stream over cells, (cell, group)."""
        groups, n = cells.shape[1], len(self.head)
        hulls = np.array([self._hull(k, cells[:, k]) for k in range(groups)])
        middle, radius = hulls[:, :, 0], hulls[:, :, 1]  # (group, cell, row)
        total = middle.sum(axis=0) + self.fixed.middle
        size = np.abs(middle).sum(axis=0) + radius.sum(axis=0) + np.abs(self.fixed.middle)
        lost = (radius.sum(axis=0) + self.fixed.radius + (groups + 2) * U * size) * UP
        N0, D0 = total[:, :n], total[:, n:][:, self.head]
        m = lost[:, n:][:, self.head]
        least = (D0 - m) * (1 - 2.0**-40)
        least = np.where(least > 0, least, np.nan)
        output = N0 / D0
        moved = (lost[:, :n] + np.abs(output) * m + 4 * U * np.abs(N0)) * UP
        sides = radius[..., :n] + np.abs(output) * radius[..., n:][..., self.head]
        centre = Ball.exact(output) @ Ball.exact(self.axes.T) + self.stream
        return Box(
            centre=centre.widen(self.missed),
            width=moved / least * UP,
            output=output,
            inverse=1 / D0,
            loose=m / (least * D0) * UP + 4 * U / D0,
            moved=moved,
            sides=np.moveaxis(sides / least, 0, 1),
            size=(size[:, :n] + np.abs(output) * size[:, n:][:, self.head]) * UP,
        )

    def range(
        self, group: int, numbers: np.ndarray, direction: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the least and largest product of a direction with the rows of a set, by cell."""
        table, n = self.tables[group].middle, len(numbers)
        low, high = np.empty(n), np.empty(n)
        used, where = np.unique(numbers, return_inverse=True)
        where = where.ravel()
        order = np.argsort(where, kind="stable")
        ends = np.cumsum(np.bincount(where, minlength=len(used)))
        for number, end, count in zip(used.tolist(), ends, np.bincount(where), strict=True):
            cells = order[end - count : end]
            product = direction[cells] @ table[self.pool.row(number)].T
            low[cells], high[cells] = product.min(axis=1), product.max(axis=1)
        return low, high

    def _hull(self, group: int, numbers: np.ndarray) -> np.ndarray:
        """Middle and radius of the smallest boxes around the rows of sets, (set, 2, row)."""
        if self._where.shape[1] < len(self.pool):
            more = np.full((len(self._where), 2 * len(self.pool)), -1)
            more[:, : self._where.shape[1]] = self._where
            self._where = more
        known = self._where[group]
        places = known[numbers]
        if (places < 0).any():
            fresh = np.unique(numbers[places < 0])
            table = self.tables[group]
            low, high = table.low, table.high
            rows = [self.pool.row(number) for number in fresh.tolist()]
            bottom = np.array([low[row].min(axis=0) for row in rows])
            top = np.array([high[row].max(axis=0) for row in rows])
            middle = (bottom + top) / 2
            radius = np.maximum(top - middle, middle - bottom) * UP
            old = self._hulls[group]
            known[fresh] = len(old) + np.arange(len(fresh))
            self._hulls[group] = np.concatenate([old, np.stack([middle, radius], axis=1)])
            places = known[numbers]
        return self._hulls[group][places]


def shown_groups(layout: Layout, step: int) -> np.ndarray:
    """Tell of which groups the answer digit, or the carry out of the highest, is visible."""
    here = layout.n_prompt - 1 + step
    shown = [layout.sum_position(k) <= here for k in range(layout.width)]
    shown[-1] |= layout.sum_position(layout.width) <= here
    return np.array(shown)


def possible_tokens(layout: Layout, here: int, token: int) -> np.ndarray:
    """Tell which tokens the positions up to the query can hold, (pos, token)."""
    possible = np.zeros((here + 1, layout.vocab_size), dtype=bool)
    possible[:, layout.first_digit : layout.first_digit + layout.base] = True
    for position, separator in layout.separators.items():
        possible[position] = np.arange(layout.vocab_size) == separator
    top = layout.sum_position(layout.width)
    if top <= here:
        possible[top] = False
        possible[top, layout.first_digit : layout.first_digit + 2] = True
    possible[here] = np.arange(layout.vocab_size) == token
    return possible


def _directions(
    weight: np.ndarray, v: np.ndarray, possible: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the mean output of a head as r, and the principal axes of what sources add as Q."""
    share = possible / possible.sum(axis=1, keepdims=True)
    total = (weight * share).sum()
    reference = np.einsum("pt,ptd->d", weight * share, v) / total
    # Every value, however little it weighs, lies in the span of the axes.
    _, sizes, span = np.linalg.svd((v - reference)[possible], full_matrices=False)
    span = span[: max(1, int((sizes > RANK * sizes[0]).sum()))]
    added = weight[..., None] * (v - reference) / total
    added = added - np.einsum("pt,ptd->pd", share, added)[:, None]
    _, _, turn = np.linalg.svd(added[possible] @ span.T, full_matrices=False)
    return reference, (turn @ span).T


def _contributions(table: Ball, layout: Layout, options: Options, here: int) -> list[Ball]:
    """Sum what the positions of each group add, for each of its options."""
    first, found = layout.first_digit, []
    for k in range(layout.width):
        part = table[layout.a_position(k), first + options.a]
        part = part + table[layout.b_position(k), first + options.b]
        if layout.sum_position(k) <= here:
            part = part + table[layout.sum_position(k), first + options.digit]
        if k == layout.width - 1 and layout.sum_position(k + 1) <= here:
            part = part + table[layout.sum_position(k + 1), first + options.carry_out]
        found.append(part)
    return found


def _fixed(table: Ball, layout: Layout) -> Ball:
    """Sum what the separators add."""
    total = Ball.exact(np.zeros(table.shape[-1]))
    for position, token in layout.separators.items():
        total = total + table[position, token]
    return total
