"""Verdicts on boxes of residual streams, and their proof by cutting a box into smaller ones."""

import dataclasses

import numpy as np

from interp.certify.bounds import HUGE, Box, Head, Margins
from interp.certify.rounding import Roundoff
from interp.certify.sources import OWN_FACTOR

FLOAT32 = Roundoff(2.0**-24)
REAL = Roundoff(OWN_FACTOR * 2.0**-53)
"""Unit roundoff that stands for the certifier's own float64: 8 times, because each of its results
passes at most 8 times as many roundings as the model's (counted in docs/certification.md)."""
OWN_SHARE = REAL.u / FLOAT32.u
"""Rounding bounds are convex in u and zero at zero, so this share of the float32 bound holds."""

RIGHT, WRONG, UNDECIDED = 0, 1, 2


def verdict(value: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Decide each cell: right if every margin stays positive, wrong if one stays negative.

    A little more than the bound is asked for, so that a checker that rounds differently agrees.
    """
    reach = reach * (1 + 1e-9)
    right = (value > reach).all(axis=1)
    wrong = (value < -reach).any(axis=1)
    return np.where(right, RIGHT, np.where(wrong, WRONG, UNDECIDED))


def verdicts(margins: Margins) -> tuple[np.ndarray, np.ndarray]:
    """Decide each cell in real arithmetic and in float32."""
    return verdict(margins.value, margins.real), verdict(margins.value, margins.float32)


def worth_splitting(
    margins: Margins, real: np.ndarray, float32: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find each cell's tightest competitor, and which undecided cells a smaller box can decide.

    Splitting shrinks the box but not the rounding: where rounding is most of the reach, stop.
    """
    tightest = np.argmin(margins.value - margins.real, axis=1)
    pair = np.arange(len(real)), tightest
    rounding = np.where(np.isfinite(margins.rounding[pair]), margins.rounding[pair], 0.0)
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
        pieces = Box(centre, width, box.error[owner], box.axes)
        margins = head.margins(pieces, target[owner])
        real, float32 = verdicts(margins)
        tightest, worth = worth_splitting(margins, real, float32)
        final = ~worth | (judged + 2 * worth.sum() > limit)
        for arithmetic, found in enumerate((real, float32)):
            seen[arithmetic, owner[final], found[final]] = True
        pair = np.arange(len(owner)), tightest
        reach = margins.real[pair]
        slope = np.abs(margins.gradient[pair])
        side = np.where((reach < HUGE)[:, None], slope * width, width).argmax(axis=1)
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
    return dataclasses.replace(
        box, centre=box.centre[rows], width=box.width[rows], error=box.error[rows]
    )
