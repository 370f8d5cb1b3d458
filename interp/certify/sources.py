"""What each class of each digit group can bring into attention: a box around a centre.

For answer column i and query token t, source j with token x has weight w = exp(score - top) and
value ov[j, x]; the attention output is sum w ov / sum w. Shifting every value by one reference
vector r shifts the output by r, so a group contributes sum w (ov - r) to a numerator and sum w to a
denominator: two finite tables over its 200 options, of which every class keeps the smallest box.
Boxes lie along the principal axes of the contributions, because digits move the output along few
directions.
"""

from dataclasses import dataclass

import numpy as np

from interp.certify.cells import (
    ANSWER,
    DIGIT_A,
    DIGIT_B,
    N_CLASSES,
    members,
)
from interp.certify.rounding import Roundoff, SourceErrors, score_errors
from model.task import (
    EQUALS,
    N_DIGITS,
    N_PROMPT,
    PLUS,
    a_position,
    b_position,
    query_position,
)

OWN_FACTOR = 8
"""How many roundings of the certifier count as one of the model's, see `certify_verdicts.REAL`."""
UNDERFLOW = 34 * 2.0**-100
"""Weight that can be lost to underflow: 34 sources, none above 2^-100."""


@dataclass(frozen=True)
class Hull:
    """Boxes of the contributions to one query of one answer column.

    A group's contribution is the vector (numerator, denominator) of length d + 1, the numerator in
    the coordinates of `axes`. The error table bounds how far rounding can move the numerator in the
    coordinates of the residual stream (see `certify_rounding`): its last entry is the weighted
    relative error of the weights, which multiplies |output - r|.

    Attributes:
        reference: The vector r, shape (d,).
        axes: Orthonormal directions of the boxes, in columns, shape (d, d).
        fixed: Contribution of `+`, `=` and the query's own s_10, shape (d + 1,).
        fixed_error: Its error.
        centre: Centre of each class's box, shape (10, class, d + 1).
        radius: Half widths, same shape.
        error: Largest error in the class, same shape.
        weight_error: Largest relative error of a weight, below 1/2, or infinite.
        resid: Residual stream at the query before attention; resid_error its error.
    """

    reference: np.ndarray
    axes: np.ndarray
    fixed: np.ndarray
    fixed_error: np.ndarray
    centre: np.ndarray
    radius: np.ndarray
    error: np.ndarray
    weight_error: float
    resid: np.ndarray
    resid_error: np.ndarray


def build_hull(sources: SourceErrors, column: int, query: int, unit: Roundoff) -> Hull:
    """Tabulate the boxes of every class of every group for one query.

    Args:
        sources: The tables with their errors.
        column: Answer column, 0 to 11.
        query: Token at the query position.
        unit: The arithmetic whose rounding the error tables bound.
    """
    here = query_position(column)
    top, length = _scores(sources, column, query, unit)
    score, score_error = top
    d = sources.ov.shape[-1]

    highest = score[_allowed(column, query)].max()
    weight = np.exp(score - highest)
    relative = np.expm1(score_error + unit.u * (highest - score + 2 * score_error.max()))
    relative = relative + (1 + relative) * unit.gamma(4)
    worst = float(relative[_allowed(column, query)].max())
    weight_error = worst if worst < 0.5 else np.inf
    relative = np.minimum(relative, 0.5)

    value = sources.ov[:length]
    contribution = np.concatenate([weight[..., None] * value, weight[..., None]], axis=-1)
    reference = _reference(contribution, column, query)
    shifted = value - reference
    contribution[..., :d] = weight[..., None] * shifted
    moved = (
        relative[..., None] * np.abs(shifted)
        + (1 + relative[..., None]) * (sources.ov_error[:length])
    )
    error = weight[..., None] * np.concatenate([moved, relative[..., None]], axis=-1)

    axes = _principal_axes(contribution, column)
    contribution[..., :d] = contribution[..., :d] @ axes
    farthest = np.abs(shifted[_allowed(column, query)]).max(axis=0)
    # The certifier's own sums: 2 d + 20 roundings, of which OWN_FACTOR count as one of `unit`.
    roundings = -(-(2 * d + 20) // OWN_FACTOR)
    own = unit.gamma(roundings) * (np.abs(axes) @ (np.abs(axes).T @ farthest))

    boxes = [
        _class_boxes(_options(contribution, column, k), _options(error, column, k), k)
        for k in range(N_DIGITS)
    ]
    centre, radius, largest = (np.stack(part) for part in zip(*boxes, strict=True))
    return Hull(
        reference=reference,
        axes=axes,
        fixed=_fixed(contribution, column, query),
        fixed_error=_fixed(error, column, query) + np.append(UNDERFLOW * farthest, 0.0),
        centre=centre,
        radius=radius,
        error=largest,
        weight_error=weight_error,
        resid=sources.resid[here, query],
        resid_error=sources.resid_error[here, query] + own,
    )


def _scores(
    sources: SourceErrors, column: int, query: int, unit: Roundoff
) -> tuple[tuple[np.ndarray, np.ndarray], int]:
    here = query_position(column)
    length = here + 1
    scores = score_errors(
        sources.q[here, query],
        sources.q_error[here, query],
        sources.k[:length],
        sources.k_error[:length],
        unit,
    )
    return scores, length


def _allowed(column: int, query: int) -> np.ndarray:
    """Mark the (position, token) pairs that can occur before and at the query."""
    here = query_position(column)
    allowed = np.zeros((here + 1, 14), dtype=bool)
    allowed[:, :10] = True
    for position, token in ((N_DIGITS, PLUS), (N_PROMPT - 1, EQUALS), (here, query)):
        allowed[position] = False
        allowed[position, token] = True
    return allowed


def _fixed(table: np.ndarray, column: int, query: int) -> np.ndarray:
    total = table[N_DIGITS, PLUS] + table[N_PROMPT - 1, EQUALS]
    return total + table[query_position(column), query] if column == N_DIGITS + 1 else total


def _options(table: np.ndarray, column: int, group: int) -> np.ndarray:
    """Sum what the digits of a group contribute, per option; s_k counts where it is visible."""
    total = table[a_position(group), DIGIT_A] + table[b_position(group), DIGIT_B]
    return total + table[N_PROMPT + group, ANSWER] if group < column else total


def _reference(contribution: np.ndarray, column: int, query: int) -> np.ndarray:
    """Choose r: the output when every group contributes its mean."""
    total = _fixed(contribution, column, query)
    for k in range(N_DIGITS):
        total = total + _options(contribution, column, k).mean(axis=0)
    return total[:-1] / total[-1]


def _principal_axes(contribution: np.ndarray, column: int) -> np.ndarray:
    """Diagonalise the covariance of the numerator under independent uniform digits."""
    d = contribution.shape[-1] - 1
    covariance = np.zeros((d, d))
    for k in range(N_DIGITS):
        options = _options(contribution, column, k)[:, :d]
        covariance += np.cov(options, rowvar=False).reshape(d, d)
    return np.linalg.eigh(covariance)[1]


def _class_rows(group: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List the options of every class in a row, and where each class that has any starts."""
    table = members(group)
    filled = np.flatnonzero(table.any(axis=1))
    count = table[filled].sum(axis=1)
    return filled, np.cumsum(count) - count, np.nonzero(table[filled])[1]


_ROWS = [_class_rows(group) for group in (0, 1)]


def _class_boxes(
    options: np.ndarray, error: np.ndarray, group: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    filled, start, rows = _ROWS[min(group, 1)]
    low = np.minimum.reduceat(options[rows], start, axis=0)
    high = np.maximum.reduceat(options[rows], start, axis=0)
    boxes = np.zeros((3, N_CLASSES, options.shape[1]))
    boxes[0, filled] = (high + low) / 2
    boxes[1, filled] = (high - low) / 2
    boxes[2, filled] = np.maximum.reduceat(error[rows], start, axis=0)
    return boxes[0], boxes[1], boxes[2]
