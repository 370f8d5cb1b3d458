"""Branch and bound: prove every cell of a column right or wrong, splitting what is neither.

What is undecided is split in the digit group that moves its tightest margin most, the cells with
the most pairs first, until all is decided, nothing is left to split, or the budget is spent.
"""

from dataclasses import dataclass

import numpy as np

from interp.certify_any.balls import UP, U
from interp.certify_any.boxes import Box, Hulls
from interp.certify_any.cells import Question, split
from interp.certify_any.count import masses
from interp.certify_any.groups import Pool
from interp.certify_any.margins import Head, Margins
from model.layouts import Layout

RIGHT, WRONG, UNDECIDED, SPLIT = 0, 1, 2, 3
CHUNK = 4096
TOKENS = 4
"""Competitors of a cell that are looked at closely."""
ROUNDING = 1024 * U
"""Of sums of products over directions, heads and groups: at most 500 terms."""


@dataclass(frozen=True)
class Leaves:
    """Cells that are not split further.

    Attributes:
        step: Step of the answer.
        column: Answer column; n_answer for the end token.
        token: Token at the query.
        cells: (cell, group).
        target: True tokens.
        verdict: RIGHT, WRONG or UNDECIDED.
        margin: Least margin at the centre, times the scale of the last norm.
        codes: The tree of splits, breadth first: the verdict of a leaf, SPLIT + group of a node
            that is split. Leaves are in that order.
    """

    step: int
    column: int
    token: int
    cells: np.ndarray
    target: np.ndarray
    verdict: np.ndarray
    margin: np.ndarray
    codes: np.ndarray


def search(
    head: Head, hulls: Hulls, pool: Pool, layout: Layout, question: Question, budget: int
) -> Leaves:
    """Judge all pairs that lead to one query token of one step.

    Args:
        head: The network after attention.
        hulls: The network before it, for this query.
        pool: Sets of options.
        layout: The task.
        question: Its coarsest cells.
        budget: How many cells may be judged.
    """
    cells, target = question.cells, question.target
    judged, kept, codes = 0, [], []
    while len(cells):
        judged += len(cells)
        verdict, margin, group = _judge_all(head, hulls, pool, cells, target)
        rows = np.flatnonzero(group >= 0)
        if len(rows):
            shown = hulls.shown
            counts = np.ones(len(rows), dtype=np.int64)
            for k in range(layout.width):
                here = group[rows] == k
                counts[here] = pool.part_counts(cells[rows[here], k], bool(shown[k]))
            if counts.sum() > budget - judged:
                mass = masses(pool, cells[rows])
                order = np.argsort([-float(x) for x in mass], kind="stable")
                rows = rows[order[np.cumsum(counts[order]) <= budget - judged]]
        final = np.ones(len(cells), dtype=bool)
        final[rows] = False
        codes.append(np.where(final, verdict, SPLIT + group).astype(np.uint8))
        kept.append((cells[final], target[final], verdict[final], margin[final]))
        children, parent = split(pool, hulls.shown, cells[rows], group[rows])
        cells, target = children, target[rows][parent]
    found, true, verdicts, margins = (np.concatenate(part) for part in zip(*kept, strict=True))
    return Leaves(
        step=question.step,
        column=question.column,
        token=question.token,
        cells=found,
        target=true,
        verdict=verdicts,
        margin=margins,
        codes=np.concatenate(codes),
    )


def _judge_all(
    head: Head, hulls: Hulls, pool: Pool, cells: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give verdicts, margins at the centres, and the group to split (-1: none)."""
    verdict = np.full(len(cells), UNDECIDED)
    margin, group = np.zeros(len(cells)), np.full(len(cells), -1)
    for token in np.unique(target):
        every = np.flatnonzero(target == token)
        for start in range(0, len(every), CHUNK):
            rows = every[start : start + CHUNK]
            box = hulls.boxes(cells[rows])
            margins = head.margins(box, hulls.axes, int(token))
            verdict[rows], gap = decide(margins)
            margin[rows] = margins.middle.min(axis=1)
            open_rows = np.flatnonzero(verdict[rows] == UNDECIDED)
            if len(open_rows):
                mine = rows[open_rows]
                verdict[mine], group[mine] = _look_closer(
                    hulls, pool, box, margins, gap, open_rows, cells[mine]
                )
    return verdict, margin, group


def decide(margins: Margins) -> tuple[np.ndarray, np.ndarray]:
    """Decide cells: right if every margin stays positive, wrong if one stays negative.

    Returns:
        Verdicts, and how far each margin is from being decided, (cell, token): the reach less its
        size; negative where it is decided.
    """
    reach = margins.reach * UP
    right = margins.middle > reach
    wrong = margins.middle < -reach
    verdict = np.where(right.all(axis=1), RIGHT, np.where(wrong.any(axis=1), WRONG, UNDECIDED))
    gap = np.where(right, -1.0, reach - margins.middle)
    return verdict, np.nan_to_num(gap, nan=1e300, posinf=1e300)


def _look_closer(
    hulls: Hulls,
    pool: Pool,
    box: Box,
    margins: Margins,
    gap: np.ndarray,
    rows: np.ndarray,
    cells: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Decide cells by the hull of what each group adds to a margin; choose the group to split.

    With J the middle of a slope and R its radius, S = N - o D,

        m - m(y0) = sum over directions of slope S / D
                  in J S / D0  +-  |J| |S| |1 / D - 1 / D0|  +-  R width,

    and J S / D0 is a sum of one number per group, whose range over a set is known.

    Returns:
        Verdicts, and the group that moves the tightest margin most (-1: none can be split).
    """
    n = len(hulls.head)
    verdict = np.full(len(rows), UNDECIDED)
    group = np.full(len(rows), -1)
    remaining = gap[rows]
    good = (remaining < 0).copy()
    count = np.arange(len(rows))
    todo = count
    spans = np.zeros((len(rows), cells.shape[1]))
    for attempt in range(TOKENS):
        token = remaining[todo].argmax(axis=1)
        at = rows[todo]
        slope = margins.slopes[at, :, token]
        J, R = slope.middle, slope.radius
        aim = J * box.inverse[at]
        back = np.zeros((len(at), hulls.fixed.shape[-1] - n))
        for head in range(back.shape[1]):
            chosen = hulls.head == head
            back[:, head] = -(aim * box.output[at])[:, chosen].sum(axis=1)
        direction = np.concatenate([aim, back], axis=1)
        low = direction @ hulls.fixed.middle
        high = low.copy()
        span = np.zeros((len(at), cells.shape[1]))
        for k in range(cells.shape[1]):
            bottom, top = hulls.range(k, cells[todo, k], direction)
            low, high, span[:, k] = low + bottom, high + top, top - bottom
        off = (np.abs(J) * box.moved[at] * box.loose[at] + R * box.width[at]).sum(axis=1)
        off = off + np.abs(direction) @ hulls.rounding
        off = off + (np.abs(aim) * box.size[at]).sum(axis=1) * ROUNDING
        off = (off + margins.rounding[at, token]) * UP
        middle = margins.middle[at, token]
        low, high = middle + low, middle + high
        right = low > off * UP
        wrong = high < -off * UP
        if attempt == 0:
            spans = span
        good[todo, token] |= right
        verdict[todo[wrong]] = WRONG
        verdict[todo[good[todo].all(axis=1)]] = RIGHT
        remaining[todo, token] = -1.0
        todo = todo[right & (verdict[todo] == UNDECIDED)]
        if not len(todo):
            break
    left = np.flatnonzero(verdict == UNDECIDED)
    influence = np.nan_to_num(spans[left], nan=1e100)
    bad = ~np.isfinite(spans[left]).all(axis=1)
    influence[bad] = np.nan_to_num(box.sides[rows[left[bad]]].sum(axis=2), nan=1e100, posinf=1e100)
    for k in range(cells.shape[1]):
        single = pool.part_counts(cells[left, k], bool(hulls.shown[k])) == 1
        influence[single, k] = -1.0
    group[left] = np.where(influence.max(axis=1) > 0, influence.argmax(axis=1), -1)
    return verdict, group
