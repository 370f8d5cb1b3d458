"""Is a leaf's verdict proved? For the checker of certificates.

A verdict is proved where every comparison that it needs is strict and between finite numbers; what
is only just not proved on the whole box may be proved on its halves.
"""

from dataclasses import replace

import numpy as np

from interp.check_certificate.bounds import Box, Margins
from interp.check_certificate.cells import Sets
from interp.check_certificate.tables import Checker

NAMES = ("right", "wrong", "undecided")
ARITHMETICS = ("real arithmetic", "float32")
RIGHT, WRONG, UNDECIDED = 0, 1, 2
_ROWS, _PIECES, _NUMBERS = 2048, 100_000, 1 << 22
"""Leaves judged at a time, pieces of one leaf, and numbers of a (leaf, unit, d) table at most."""
_OWN = 1 + 1e-9
"""Reaches are sums of positive numbers; this covers their rounding here."""


def check_leaves(
    network: Checker,
    sets: Sets,
    column: int,
    query: int,
    hints: tuple[np.ndarray, np.ndarray],
    cells: np.ndarray,
    truth: np.ndarray,
    codes: np.ndarray,
) -> str | None:
    """Prove the verdicts of one tree's leaves in both arithmetics.

    Args:
        network: The network.
        sets: The sets of options that cells are made of.
        column: Answer column.
        query: Token at the query.
        hints: Reference and axes of the tree.
        cells: (leaf, 10).
        truth: True token of each leaf.
        codes: Code of each leaf, 3 x real + float32.

    Returns:
        None, or which verdict cannot be proved.

    Raises:
        ValueError: Hints that nothing can be measured by.
    """
    hull = network.hull(column, query, *hints)
    at_once = min(_ROWS, _room(network))
    for token in np.unique(truth):
        of_token = np.flatnonzero(truth == token)
        for rows in np.array_split(of_token, 1 + len(of_token) // at_once):
            box = hull.boxes(sets, cells[rows])
            margins = network.head.margins(box, int(token))
            for arithmetic, reach in enumerate((margins.real, margins.float32)):
                claimed = codes[rows] // 3 if arithmetic == 0 else codes[rows] % 3
                found = _verdicts(margins, reach)
                for i in np.flatnonzero((claimed != found) & (claimed != UNDECIDED)):
                    verdict = int(claimed[i])
                    if not cover(
                        network, _part(box, np.array([i])), int(token), arithmetic, verdict
                    ):
                        return (
                            f"column {column}, query {query}: a cell claimed {NAMES[verdict]} in "
                            f"{ARITHMETICS[arithmetic]} cannot be proved so"
                        )
    return None


def _room(network: Checker) -> int:
    """Say how many boxes may be judged at once, so that memory stays bounded."""
    return max(1, _NUMBERS // network.head.inward.size)


def proves(value: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Tell where a value exceeds its reach: strictly, and both are numbers."""
    finite = np.isfinite(value) & np.isfinite(reach)
    return finite & (np.where(finite, value, 0.0) > np.where(finite, reach, 0.0) * _OWN)


def _holds(margins: Margins, reach: np.ndarray, verdict: int) -> np.ndarray:
    if verdict == RIGHT:
        return np.all(proves(margins.value, reach), axis=1)
    return np.any(proves(-margins.value, reach), axis=1)


def _verdicts(margins: Margins, reach: np.ndarray) -> np.ndarray:
    right, wrong = (_holds(margins, reach, verdict) for verdict in (RIGHT, WRONG))
    return np.where(right, RIGHT, np.where(wrong, WRONG, UNDECIDED))


def _part(box: Box, rows: np.ndarray) -> Box:
    names = ("centre", "width", "error", "slack", "usable", "fits")
    return replace(box, **{name: getattr(box, name)[rows] for name in names})


def cover(network: Checker, box: Box, token: int, arithmetic: int, verdict: int) -> bool:
    """Prove the verdict of one box piece by piece, halving what is not proved along its main side.

    Args:
        network: The network.
        box: One box.
        token: Its true token.
        arithmetic: 0 real, 1 float32.
        verdict: Right or wrong.
    """
    pieces = min(_PIECES, _room(network))
    while len(box.centre):
        pieces -= len(box.centre)
        if pieces < 0 or not box.width.max() > 0:
            return False
        margins = network.head.margins(box, token)
        reach = (margins.real, margins.float32)[arithmetic]
        # A piece at whose centre the verdict is already false cannot be saved by halving.
        if not _holds(margins, np.zeros_like(reach), verdict).all():
            return False
        rows = np.flatnonzero(~_holds(margins, reach, verdict))
        box = _part(box, rows)
        tight = rows, np.argmin((margins.value - reach)[rows], axis=1)
        steep = np.abs(margins.slope[tight]) * box.width
        side = np.where(np.isfinite(reach[tight])[:, None], steep, box.width).argmax(axis=1)
        width = box.width.copy()
        width[np.arange(len(rows)), side] /= 2
        step = width[np.arange(len(rows)), side][:, None] * box.axes.T[side]
        twice = _part(box, np.tile(np.arange(len(rows)), 2))
        centre = np.concatenate([box.centre - step, box.centre + step])
        box = replace(twice, centre=centre, width=np.tile(width, (2, 1)))
    return True


def forward_margins(network: Checker, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Run the network in float64 on true prefixes; margin of the true digit, columns 0 to 10."""
    power = 10 ** np.arange(11)
    n, d, tables = len(a), network.d, network.tables
    tokens = np.concatenate(
        [
            a[:, None] // power[9::-1] % 10,
            np.full((n, 1), 10),
            b[:, None] // power[9::-1] % 10,
            np.full((n, 1), 11),
            (a + b)[:, None] // power % 10,
        ],
        axis=1,
    )
    margins = np.zeros((n, 11))
    for column in range(11):
        last = 21 + column
        place = np.arange(last + 1)
        score = np.einsum(
            "njd,nd->nj",
            tables.k.value[place, tokens[:, : last + 1]],
            tables.q.value[last, tokens[:, last]],
        ) / np.sqrt(d)
        weight = np.exp(score - score.max(axis=1, keepdims=True))
        mixed = np.einsum("nj,njd->nd", weight, tables.ov.value[place, tokens[:, : last + 1]])
        y = tables.x.value[last, tokens[:, last]] + mixed / weight.sum(axis=1, keepdims=True)
        for token in range(10):
            rows = np.flatnonzero(tokens[:, last + 1] == token)
            zero, sure = np.zeros((len(rows), d)), np.ones(len(rows), dtype=bool)
            box = Box(y[rows], zero, zero, zero, np.eye(d), sure, sure)
            value = network.head.margins(box, token).value
            margins[rows, column] = value.min(axis=1, initial=np.inf)
    return margins
