"""Verdicts on boxes of residual streams, and their proof by cutting a box into smaller ones."""

import dataclasses

import numpy as np

from interp.certify.bounds import Box, Head, Margins
from interp.certify.rounding import Roundoff

FLOAT32 = Roundoff(2.0**-24, 2.0**-100)
REAL = Roundoff(8 * 2.0**-53, 2.0**-1000)
"""Stands for the certifier's own float64: 8 times its unit, because each of its results passes at
most 8 times as many roundings as the model's (counted in docs/certification.md)."""
OWN_SHARE = REAL.u / FLOAT32.u
"""Rounding bounds are convex in u and zero at zero, so this share of the float32 bound holds."""

RIGHT, WRONG, UNDECIDED = 0, 1, 2


def verdict(margins: Margins, reach: np.ndarray) -> np.ndarray:
    """Decide each cell: right if every margin stays positive, wrong if one stays negative.

    A comparison proves only if it is strict and both sides are finite. A little more than the bound
    is asked for, so that a checker that rounds differently agrees.
    """
    others = ~np.isposinf(margins.value)
    finite = others & np.isfinite(margins.value) & np.isfinite(reach)
    value, reach = np.where(finite, margins.value, 0.0), np.where(finite, reach, 0.0) * (1 + 3e-9)
    right = (value > reach) | ~others
    wrong = value < -reach
    return np.where(right.all(axis=1), RIGHT, np.where(wrong.any(axis=1), WRONG, UNDECIDED))


def verdicts(margins: Margins) -> tuple[np.ndarray, np.ndarray]:
    """Decide each cell in real arithmetic and in float32."""
    return verdict(margins, margins.real), verdict(margins, margins.float32)


def worth_splitting(
    margins: Margins, real: np.ndarray, float32: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find each cell's tightest competitor, and which undecided cells a smaller box can decide.

    Splitting shrinks the box but not the rounding: where rounding is most of the reach, stop.
    """
    tightest = np.argmin(margins.value - margins.real, axis=1)
    pair = np.arange(len(real)), tightest
    rounding = margins.rounding[pair]
    box = margins.real[pair] - OWN_SHARE * rounding
    worth = (real == UNDECIDED) & (box > 0.25 * OWN_SHARE * rounding)
    return tightest, worth | ((float32 == UNDECIDED) & (box > 0.25 * rounding))


def cover(head: Head, box: Box, target: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Decide cells by bisecting their boxes: right (wrong) if every piece is right (wrong).

    No digit is fixed, so this helps where attention is diffuse and yet the answer does not depend
    on it, as for the end token.

    Args:
        head: The network after attention.
        box: One box per cell.
        target: True tokens.
        limit: How many pieces may be judged.

    Returns:
        Verdicts in real arithmetic and in float32.
    """
    n = len(target)
    seen = np.zeros((2, n, 3), dtype=bool)  # arithmetic, cell, verdict of some final piece
    owner, centre, width = np.arange(n), box.centre, box.width
    judged = 0
    while len(owner):
        judged += len(owner)
        pieces = dataclasses.replace(whole(box, owner), centre=centre, width=width)
        margins = head.margins(pieces, target[owner])
        real, float32 = verdicts(margins)
        tightest, worth = worth_splitting(margins, real, float32)
        final = ~worth | (judged + 2 * worth.sum() > limit)
        for arithmetic, found in enumerate((real, float32)):
            seen[arithmetic, owner[final], found[final]] = True
        pair = np.arange(len(owner)), tightest
        reach = margins.real[pair]
        slope = np.abs(margins.gradient[pair])
        side = np.where(np.isfinite(reach)[:, None], slope * width, width).argmax(axis=1)
        rows = np.flatnonzero(~final)
        half = width[rows]
        half[np.arange(len(rows)), side[rows]] /= 2
        step = half[np.arange(len(rows)), side[rows], None] * box.axes.T[side[rows]]
        centre = np.concatenate([centre[rows] - step, centre[rows] + step])
        width, owner = np.tile(half, (2, 1)), np.tile(owner[rows], 2)
    alone = [
        np.where(
            s.sum(axis=1) == 1, np.where(s[:, RIGHT], RIGHT, np.where(s[:, WRONG], WRONG, 2)), 2
        )
        for s in seen
    ]
    return alone[0], alone[1]


def whole(box: Box, rows: np.ndarray) -> Box:
    """Select the boxes of some cells."""
    names = ("centre", "width", "error", "slack", "usable", "fits")
    return dataclasses.replace(box, **{name: getattr(box, name)[rows] for name in names})
