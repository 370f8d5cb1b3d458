"""Where the residual stream can be after attention, over all pairs of a cell.

With the true prefix, the output of a head is sum w v / sum w over the sources, where w = exp(score
less a constant) and v depend on (position, token) of the source and on the query. Measured from
any vector r, in any directions Q,

    output = r + Q N / D + t,   N = sum w Q^T (v - r),   D = sum w,   |t| <= max |(1 - Q Q^T) (v - r)|,

and (N, D) is a sum of one table per digit group. A set of options keeps the hull of its rows. Over
a cell N = N0 + n, D = D0 + m, and with o near N0 / D0

    |N / D - o| <= (|n| + |o| m + |N0 - o D0|) / min D.
"""

from dataclasses import dataclass

import numpy as np

from interp.certify_any.balls import UP, Ball, U
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
        sides: Part of the width that each group brings, (cell, group, direction).
    """

    centre: Ball
    width: np.ndarray
    sides: np.ndarray


class Hulls:
    """Contributions of digit groups to one query, and their hulls by set.

    Args:
        sources: The network's tables.
        layout: Its task.
        pool: Sets of options.
        step: Step of the answer that is predicted.
        token: Token at the query position.
    """

    def __init__(  # noqa: D107
        self,
        sources: Sources,
        layout: Layout,
        pool: Pool,
        step: int,
        token: int,
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
        score = score - Ball.exact(top)
        weight = score.exponential()
        weight = Ball(np.where(where, weight.middle, 0.0), np.where(where, weight.radius, 0.0))
        self.reference, self.axes = _directions(weight.middle, v.middle, possible)
        away = v - Ball.exact(self.reference)
        axes = Ball.exact(self.axes)
        along = away @ axes
        left = (away - along @ Ball.exact(self.axes.T)).size
        self.missed = np.where(possible[..., None, None], left, 0.0).max(axis=(0, 1)).sum(axis=0)
        w = weight.reshape(*weight.shape, 1)
        parts = along * w
        table = Ball(
            np.concatenate([parts.middle, w.middle], axis=-1),
            np.concatenate([parts.radius, w.radius], axis=-1),
        )
        self.tables = _contributions(table, layout, pool.options, here)
        self.fixed = _fixed(table, layout)
        self.stream = sources.x[here, token]
        self._where: list[np.ndarray] = [np.zeros(0, dtype=np.int64) for _ in range(layout.width)]
        self._hulls: list[np.ndarray] = [np.zeros((0,)) for _ in range(layout.width)]

    def boxes(self, cells: np.ndarray) -> Box:
        """Enclose the residual stream over cells, (cell, group)."""
        width = cells.shape[1]
        hulls = [self._hull(k, cells[:, k]) for k in range(width)]
        middle = np.array([hull[0] for hull in hulls])  # (group, cell, head, direction + 1)
        radius = np.array([hull[1] for hull in hulls])
        total = middle.sum(axis=0) + self.fixed.middle
        size = np.abs(middle).sum(axis=0) + np.abs(self.fixed.middle)
        lost = radius.sum(axis=0) + self.fixed.radius + (width + 2) * U * size
        n, m = lost[..., :-1] * UP, lost[..., -1:] * UP
        least = (total[..., -1:] - m) * (1 - 2.0**-40)
        least = np.where(least > 0, least, np.nan)
        output = total[..., :-1] / total[..., -1:]
        spread = (n + np.abs(output) * m + 4 * U * np.abs(total[..., :-1])) / least * UP
        sides = (radius[..., :-1] + np.abs(output) * radius[..., -1:]) / least
        centre = Ball.exact(np.zeros_like(output[:, 0]))
        for head in range(output.shape[1]):
            centre = centre + Ball.exact(output[:, head])
        centre = (centre @ Ball.exact(self.axes.T) + self.stream).widen(self.missed)
        for reference in self.reference:
            centre = centre + Ball.exact(reference)
        return Box(centre, spread.sum(axis=1) * UP, np.moveaxis(sides.sum(axis=2), 0, 1))

    def _hull(self, group: int, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Middle and radius of the smallest boxes around the rows of sets."""
        used, where = np.unique(numbers, return_inverse=True)
        known = self._where[group]
        if len(known) < len(self.pool):
            more = np.full(len(self.pool) - len(known), -1)
            known = self._where[group] = np.concatenate([known, more])
        fresh = used[known[used] < 0]
        if len(fresh):
            table = self.tables[group]
            low, high = table.low, table.high
            rows = [self.pool.row(number) for number in fresh.tolist()]
            bottom = np.array([low[row].min(axis=0) for row in rows])
            top = np.array([high[row].max(axis=0) for row in rows])
            middle = (bottom + top) / 2
            radius = np.maximum(top - middle, middle - bottom) * UP
            hull = np.stack([middle, radius], axis=1)
            old = self._hulls[group]
            known[fresh] = len(old) + np.arange(len(fresh))
            self._hulls[group] = hull if not len(old) else np.concatenate([old, hull])
        chosen = self._hulls[group][known[used]][where.ravel()]
        return chosen[:, 0], chosen[:, 1]


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
    """Choose the mean output of each head as r, and the principal axes of what sources add as Q."""
    share = possible / possible.sum(axis=1, keepdims=True)
    expected = weight * share[..., None]
    total = expected.sum(axis=(0, 1))
    reference = np.einsum("pth,pthd->hd", expected, v) / total[:, None]
    # Every value, however little it weighs, lies in the span of the axes.
    _, sizes, span = np.linalg.svd((v - reference)[possible].reshape(-1, v.shape[-1]))
    span = span[: max(1, int((sizes > RANK * sizes[0]).sum()))]
    added = weight[..., None] * (v - reference) / total[:, None]
    added = added - np.einsum("pt,pthd->phd", share, added)[:, None]
    _, _, turn = np.linalg.svd(added[possible].reshape(-1, v.shape[-1]) @ span.T)
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
    total = Ball.exact(np.zeros(table.shape[2:]))
    for position, token in layout.separators.items():
        total = total + table[position, token]
    return total
