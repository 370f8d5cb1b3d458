"""Branch and bound: prove every cell of a column right or wrong, splitting what is neither.

What is undecided is split in the digit group that moves its tightest margin most, the cells with
the most pairs first, until all is decided, nothing is left to split, or the budget is spent.
"""

from dataclasses import dataclass

import numpy as np

from interp.certify_any.balls import UP
from interp.certify_any.boxes import Hulls
from interp.certify_any.cells import Question, part_counts, split
from interp.certify_any.count import masses
from interp.certify_any.groups import Pool
from interp.certify_any.margins import Head, Margins
from model.layouts import Layout

RIGHT, WRONG, UNDECIDED = 0, 1, 2
CHUNK = 4096


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
        judged: How many cells were judged to get here.
    """

    step: int
    column: int
    token: int
    cells: np.ndarray
    target: np.ndarray
    verdict: np.ndarray
    margin: np.ndarray
    judged: int


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
    judged, kept = 0, []
    while len(cells):
        judged += len(cells)
        verdict, margin, group = _judge_all(head, hulls, pool, cells, target)
        rows = np.flatnonzero(group >= 0)
        if len(rows):
            shown = hulls.shown
            counts = np.ones(len(rows), dtype=np.int64)
            for k in range(layout.width):
                here = group[rows] == k
                counts[here] = part_counts(pool, cells[rows[here], k], bool(shown[k]))
            if counts.sum() > budget - judged:
                mass = masses(pool, cells[rows])
                order = np.argsort([-float(x) for x in mass], kind="stable")
                rows = rows[order[np.cumsum(counts[order]) <= budget - judged]]
        final = np.ones(len(cells), dtype=bool)
        final[rows] = False
        kept.append((cells[final], target[final], verdict[final], margin[final]))
        children, parent = split(pool, hulls.shown, cells[rows], group[rows])
        cells, target = children, target[rows][parent]
    parts = [np.concatenate(part) for part in zip(*kept, strict=True)]
    return Leaves(question.step, question.column, question.token, *parts, judged)


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
            verdict[rows] = decide(margins)
            margin[rows] = margins.middle.min(axis=1)
            open_rows = np.flatnonzero(verdict[rows] == UNDECIDED)
            sides = box.sides[open_rows]
            group[rows[open_rows]] = _choose(
                margins, sides, open_rows, cells[rows[open_rows]], hulls, pool
            )
    return verdict, margin, group


def decide(margins: Margins) -> np.ndarray:
    """Decide cells: right if every margin stays positive, wrong if one stays negative."""
    reach = margins.reach * UP
    right = (margins.middle > reach).all(axis=1)
    wrong = (margins.middle < -reach).any(axis=1)
    return np.where(right, RIGHT, np.where(wrong, WRONG, UNDECIDED))


def _choose(
    margins: Margins,
    sides: np.ndarray,
    rows: np.ndarray,
    cells: np.ndarray,
    hulls: Hulls,
    pool: Pool,
) -> np.ndarray:
    """Choose the group that moves the tightest margin most, among those that can be split."""
    if not len(rows):
        return np.zeros(0, dtype=np.int64)
    gap = np.nan_to_num(margins.middle[rows] - margins.reach[rows], nan=-1e300, neginf=-1e300)
    tightest = gap.argmin(axis=1)
    slopes = margins.slopes[rows, :, tightest]
    slopes = np.where(np.isfinite(slopes), slopes, 1.0)
    sides = np.nan_to_num(sides, nan=1e100, posinf=1e100)
    influence = np.einsum("nkd,nd->nk", sides, slopes)
    for k in range(cells.shape[1]):
        single = part_counts(pool, cells[:, k], bool(hulls.shown[k])) == 1
        influence[single, k] = -1.0
    best = influence.argmax(axis=1)
    return np.where(influence.max(axis=1) > 0, best, -1)
