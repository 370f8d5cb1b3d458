"""What can each class of digits bring into attention? A centre and a box around it.

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
from interp.certify.range import LARGEST_SIZE
from interp.certify.rounding import Roundoff, SourceErrors, score_errors, tokens_at
from model.task import (
    EQUALS,
    N_DIGITS,
    N_PROMPT,
    PLUS,
    a_position,
    b_position,
    query_position,
)

FLOAT64 = Roundoff(2.0**-53, 0.0)
"""The certifier's own arithmetic; what it loses to underflow is far below what the bounds allow."""
_WIDEST = 0.4
"""A score that may be off by more leaves its weight without a useful bound."""


@dataclass(frozen=True)
class Hull:
    """Boxes of the contributions to one query of one answer column.

    A group's contribution is the vector (numerator, denominator) of length d + 1, the numerator in
    the coordinates of `axes`. The error table bounds how far rounding can move the numerator in the
    coordinates of the residual stream (see `rounding`): its last entry is the weighted
    relative error of the weights, which multiplies |output - r|.

    Attributes:
        reference: The vector r, shape (d,).
        axes: Orthonormal directions of the boxes, in columns, shape (d, d).
        fixed: Contribution of `+`, `=` and the query's own s_10, shape (d + 1,).
        fixed_error: Its error.
        centre: Centre of each class's box, shape (10, class, d + 1).
        radius: Half widths, same shape.
        error: Largest error in the class, same shape.
        weight_error: Largest relative error of a weight, below 1/2.
        resid: Residual stream at the query before attention; resid_error its error.
        defect: How far (1 - Q Q^T)(v - r) reaches, Q the axes, per component of the stream.
        span: Bound of |Q| |Q^T (v - r)|.
        bounded: Whether the tables of every source that can occur are bounded at all.
        fits: Whether float32 stays below 2^127 until the residual stream is complete.
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
    defect: np.ndarray
    span: np.ndarray
    bounded: bool
    fits: bool


def build_hull(sources: SourceErrors, column: int, query: int, unit: Roundoff) -> Hull:
    """Tabulate the boxes of every class of every group for one query.

    Args:
        sources: The tables with their errors.
        column: Answer column, 0 to 11.
        query: Token at the query position.
        unit: The arithmetic whose rounding the error tables bound.
    """
    here = query_position(column)
    length = here + 1
    allowed = _allowed(column, query)
    q, q_error = sources.q[here, query], sources.q_error[here, query]
    k, k_error = sources.k[:length], sources.k_error[:length]
    score, score_error = score_errors(q, q_error, k, k_error, unit)
    size = (np.abs(k) + k_error) @ (np.abs(q) + q_error)
    d = sources.ov.shape[-1]

    # Sources that cannot occur weigh nothing.
    below = np.where(allowed, score[allowed].max() - score, 0.0)
    weight = np.where(allowed, np.exp(-below), 0.0)
    spread = score_error + unit.u * (below + 2 * score_error[allowed].max())
    close = bool(spread[allowed].max() < _WIDEST)
    relative = np.expm1(np.minimum(spread, _WIDEST))
    relative = relative + (1 + relative) * unit.gamma(4)

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
    farthest = np.abs(shifted[allowed]).max(axis=0)
    identity = np.eye(d)
    turns = np.abs(axes) @ np.abs(axes).T
    missed = np.abs(axes @ axes.T - identity) + FLOAT64.gamma(d + 2) * (turns + identity)

    boxes = [
        _class_boxes(_options(contribution, column, k), _options(error, column, k), k)
        for k in range(N_DIGITS)
    ]
    centre, radius, largest = (np.stack(part) for part in zip(*boxes, strict=True))
    return Hull(
        reference=reference,
        axes=axes,
        fixed=_fixed(contribution, column, query),
        # 34 exponentials may be flushed; each moves the output by v - r and by the output less r.
        fixed_error=_fixed(error, column, query) + np.append(68 * unit.tiny * farthest, 0.0),
        centre=centre,
        radius=radius,
        error=largest,
        weight_error=float(relative[allowed].max()),
        resid=sources.resid[here, query],
        resid_error=sources.resid_error[here, query],
        defect=missed @ farthest,
        span=turns @ farthest,
        bounded=close and bool(sources.bounded[:length][allowed].all()),
        fits=sources.fits and float(size[allowed].max()) < LARGEST_SIZE / 2,
    )


def _allowed(column: int, query: int) -> np.ndarray:
    """Mark the (position, token) pairs that can occur before and at the query."""
    here = query_position(column)
    allowed = np.array([tokens_at(position) for position in range(here + 1)])
    allowed[here] = np.arange(allowed.shape[1]) == query
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
