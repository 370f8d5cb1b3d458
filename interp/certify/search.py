"""Branch and bound: prove every cell of a column right or wrong, splitting what is neither.

A cell is judged twice: in real arithmetic, and in float32 under any order of summation. What is
undecided is split in the digit group that moves its tightest margin most, until it is decided,
nothing is left to split, or the budget is spent. The tree is recorded as one code per node in
breadth-first order, so that a checker can rebuild every leaf.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from interp.certify.bounds import Box, Head
from interp.certify.cells import (
    base_cells,
    children_count,
    children_of,
    query_tokens,
    split_cells,
)
from interp.certify.count import cell_masses
from interp.certify.range import LEAST_WEIGHT_SUM, ROOM
from interp.certify.rounding import source_errors
from interp.certify.sources import FLOAT64, Hull, build_hull
from interp.certify.verdicts import (
    FLOAT32,
    OWN_SHARE,
    UNDECIDED,
    cover,
    verdicts,
    whole,
    worth_splitting,
)
from model.adder import Adder
from model.task import N_ANSWER, N_DIGITS, N_TARGET

COVER_LIMIT = 32
SPLIT = 9
"""Node codes: 3 * real verdict + float32 verdict for a leaf, SPLIT + group for a split node."""

_CHUNK = 2048


@dataclass(frozen=True)
class Tree:
    """The cells of one query token of one answer column.

    Attributes:
        column: Answer column, 0 to 11.
        query: Token at the query position.
        codes: One code per node, breadth first, children in the order of `split_cells`.
        leaves: Classes of the leaves, (leaf, 10), in the order of their codes.
        target: True token of each leaf.
        real: Verdict of each leaf in real arithmetic.
        float32: Verdict in float32.
        margin: Least margin at the centre of each leaf, times the last norm's scale.
        reference: The vector r from which attention outputs were measured (see `Hull`).
        axes: Directions of the boxes.
    """

    column: int
    query: int
    codes: np.ndarray
    leaves: np.ndarray
    target: np.ndarray
    real: np.ndarray
    float32: np.ndarray
    margin: np.ndarray
    reference: np.ndarray
    axes: np.ndarray


@dataclass(frozen=True)
class Judgement:
    """Verdicts of some cells, and which group to split next (-1: none)."""

    real: np.ndarray
    float32: np.ndarray
    margin: np.ndarray
    split: np.ndarray


def search_column(
    model: Adder, column: int, *, budget: int, progress: Callable[[int], None] | None = None
) -> list[Tree]:
    """Judge all cells of one answer column.

    Args:
        model: The network.
        column: Answer column, 0 to 11.
        budget: How many cells may be judged in this column.
        progress: Told the number of cells judged.

    Returns:
        One tree per query token.
    """
    queries = query_tokens(column)
    trees = []
    # Underflow is part of the bounds (`Roundoff.tiny`); nothing else may go unnoticed.
    with np.errstate(all="raise", under="ignore"):
        sources = source_errors(model, FLOAT32)
        head = Head(model, FLOAT32, OWN_SHARE)
        for rank, query in enumerate(queries):
            hull = build_hull(sources, column, query, FLOAT32)
            tree, used = _search(head, hull, column, query, budget // (len(queries) - rank))
            budget -= used
            trees.append(tree)
            if progress:
                progress(used)
    return trees


def search(
    model: Adder, *, budget: int, progress: Callable[[int], None] | None = None
) -> list[Tree]:
    """Judge all cells of all 12 columns; see `search_column`."""
    return [
        tree
        for column in range(N_TARGET)
        for tree in search_column(model, column, budget=budget, progress=progress)
    ]


def _search(head: Head, hull: Hull, column: int, query: int, budget: int) -> tuple[Tree, int]:
    cells, target = base_cells(column, query)
    codes, leaves = [], []
    used = 0
    while len(cells):
        used += len(cells)
        judged = _judge_all(head, hull, column, cells, target)
        children = np.where(judged.split >= 0, children_count(cells, judged.split, column), 0)
        splitting = _affordable(cells, children, judged.real == UNDECIDED, budget - used)
        codes.append(np.where(splitting, SPLIT + judged.split, 3 * judged.real + judged.float32))
        kept = ~splitting
        leaves.append(
            (
                cells[kept],
                target[kept],
                judged.real[kept],
                judged.float32[kept],
                judged.margin[kept],
            )
        )
        rows = np.flatnonzero(splitting)
        cells, parent = split_cells(cells[rows], judged.split[rows], column)
        target = target[rows][parent]
    parts = (np.concatenate(part) for part in zip(*leaves, strict=True))
    all_codes = np.concatenate(codes).astype(np.uint8)
    return Tree(column, query, all_codes, *parts, hull.reference, hull.axes), used  # pyright: ignore


def _affordable(
    cells: np.ndarray, children: np.ndarray, urgent: np.ndarray, room: int
) -> np.ndarray:
    """Choose which cells to split: all, or if those are too many, urgent and large ones first."""
    wanted = children > 0
    if children.sum() <= room:
        return wanted
    mass = np.where(wanted, [float(x) for x in cell_masses(cells)], -1.0)
    order = np.lexsort((-mass, ~urgent))
    chosen = np.zeros(len(cells), dtype=bool)
    chosen[order] = np.cumsum(children[order]) <= room
    return chosen & wanted


def _judge_all(
    head: Head, hull: Hull, column: int, cells: np.ndarray, target: np.ndarray
) -> Judgement:
    parts = [
        _judge(head, hull, column, cells[i : i + _CHUNK], target[i : i + _CHUNK])
        for i in range(0, len(cells), _CHUNK)
    ]
    return Judgement(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("real", "float32", "margin", "split")
        )
    )


def residual_box(hull: Hull, cells: np.ndarray) -> Box:
    """Enclose the residual stream after attention over each cell.

    The output is r + N / D. With N = N0 + n and D = D0 + m over the cell's box, and o = N0 / D0,
    N / D - o = (n - o m) / D, so each component moves by at most (|n| + |o| |m|) / min D.

    Cells whose sum of weights can vanish, or whose box is out of all proportion, are not usable.

    Args:
        hull: Boxes of the contributions.
        cells: Classes, (cell, 10).
    """
    groups = np.arange(N_DIGITS)
    middle = hull.centre[groups, cells].sum(axis=1) + hull.fixed
    radius = hull.radius[groups, cells].sum(axis=1)
    error = hull.error[groups, cells].sum(axis=1) + hull.fixed_error
    least, most = middle[:, -1:] - radius[:, -1:], middle[:, -1:] + radius[:, -1:]
    usable = (least[:, 0] > LEAST_WEIGHT_SUM) & hull.bounded
    least, most = np.where(usable[:, None], (least, most), 1.0)
    output = middle[:, :-1] / np.where(usable[:, None], middle[:, -1:], 1.0)
    width = (radius[:, :-1] + np.abs(output) * radius[:, -1:]) / least
    turned = output @ hull.axes.T
    across = width @ np.abs(hull.axes).T
    # The certifier's own rounding: shift, turn, weight, sums, quotient, turning back, r and x.
    own = FLOAT64.gamma(2 * len(hull.reference) + 24)
    ends = np.abs(hull.reference) + np.abs(hull.resid)
    slack = hull.defect + own * (hull.span * (most / least) + ends)
    size = np.abs(turned) + across + slack
    moved = (error[:, :-1] + size * error[:, -1:]) / (least * (1 - hull.weight_error))
    moved = moved + hull.resid_error
    centre = hull.resid + hull.reference + turned
    size = np.abs(centre) + across + slack + moved
    moved = moved + FLOAT32.gamma(2) * size + 2 * FLOAT32.tiny
    usable &= (size + moved < ROOM).all(axis=1)
    keep = usable[:, None]
    return Box(
        centre=np.where(keep, centre, 0.0),
        width=np.where(keep, width, 0.0),
        error=np.where(keep, moved, 0.0),
        slack=np.where(keep, slack, 0.0),
        axes=hull.axes,
        usable=usable,
        fits=usable & hull.fits,
    )


def _judge(head: Head, hull: Hull, column: int, cells: np.ndarray, target: np.ndarray) -> Judgement:
    box = residual_box(hull, cells)
    margins = head.margins(box, target)
    real, float32 = verdicts(margins)
    if column == N_ANSWER:
        rows = np.flatnonzero(float32 == UNDECIDED)
        real[rows], float32[rows] = cover(
            head, whole(box, rows), target[rows], COVER_LIMIT * len(rows)
        )
    split = np.full(len(cells), -1)
    tightest, worth = worth_splitting(margins, real, float32)
    chosen = np.flatnonzero(worth)
    if len(chosen):
        output = np.abs((box.centre - hull.resid - hull.reference)[chosen] @ hull.axes)
        radius = hull.radius[np.arange(N_DIGITS), cells[chosen]]
        sides = radius[:, :, :-1] + output[:, None, :] * radius[:, :, -1:]
        slope = np.abs(margins.gradient[chosen, tightest[chosen]])
        influence = (sides @ slope[:, :, None])[:, :, 0]
        counts = [children_of(column, k).count[cells[chosen, k]] for k in range(N_DIGITS)]
        influence = np.where(np.stack(counts, axis=1) > 0, influence, -1.0)
        split[chosen] = np.where(influence.max(axis=1) > 0, influence.argmax(axis=1), -1)
    return Judgement(real, float32, margins.value.min(axis=1), split)
