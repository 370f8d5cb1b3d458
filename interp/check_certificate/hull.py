"""Boxes of the residual stream after attention, for the checker.

The reference r and the axes Q of a certificate are hints: with any finite r and Q,

    v - r = Q Q^T (v - r) + (1 - Q Q^T) (v - r),

and what the second term can move is part of the box, as is the rounding of this program.
"""

from dataclasses import dataclass

import numpy as np

from interp.check_certificate.bounds import Box
from interp.check_certificate.cells import LEFT, RIGHT, TOTAL, Sets
from interp.check_certificate.rounding import LIBRARY, OWN, PEAK, TINY, U32, Approx, gamma, lost

FAR = 2.0**400
"""A reference beyond this is refused."""
LEAST = 2.0**-64
"""Smallest sum of weights, relative to the largest weight that any source can have."""
_ROOM = 2.0**200
"""A box that reaches farther proves nothing; below, float64 cannot overflow in what follows."""


@dataclass(frozen=True)
class Tables:
    """Tables over (position, token): residual stream, queries, keys, values times W_O.

    Attributes:
        x: Residual stream before attention.
        q: Queries; k: keys; ov: values times W_O, with the error that a unit of attention brings.
        sound: Where the tables are bounded at all.
        fits: Whether every intermediate of a possible token stays below 2^127.
    """

    x: Approx
    q: Approx
    k: Approx
    ov: Approx
    sound: np.ndarray
    fits: bool


@dataclass(frozen=True)
class Hull:
    """The options of every group for one query.

    Attributes:
        options: Per group, rows of (numerator, denominator, error, weighted relative error).
        fixed: The same, summed, for the sources that no group holds.
        stream: Residual stream at the query before attention.
        reference: The vector r.
        axes: The matrix Q.
        defect: Bound of (1 - Q Q^T) (v - r).
        span: Bound of |Q| |Q^T (v - r)|.
        worst: Largest relative error of a weight, below 1/2.
        usable: Whether anything is bounded here.
        fits: Whether float32 stays below 2^127 up to the residual stream.
    """

    options: list[np.ndarray]
    fixed: np.ndarray
    stream: Approx
    reference: np.ndarray
    axes: np.ndarray
    defect: np.ndarray
    span: np.ndarray
    worst: float
    usable: bool
    fits: bool

    def boxes(self, sets: Sets, cells: np.ndarray) -> Box:
        """Enclose the residual stream over cells."""
        d = len(self.reference)
        low = np.tile(self.fixed, (len(cells), 1))
        high = low.copy()
        for group in range(10):
            used, where = np.unique(cells[:, group], return_inverse=True)
            chosen = [self.options[group][sets.rows[number]] for number in used]
            low += np.array([x.min(axis=0) for x in chosen])[where.ravel()]
            high += np.array([x.max(axis=0) for x in chosen])[where.ravel()]
        usable = (low[:, d] > LEAST) & self.usable
        low[~usable, d] = high[~usable, d] = 1.0
        middle, radius = (low + high)[:, : d + 1] / 2, (high - low)[:, : d + 1] / 2
        output = middle[:, :d] / middle[:, d:]
        least = low[:, d : d + 1]
        width = (radius[:, :d] + np.abs(output) * radius[:, d:]) / least
        turned = output @ self.axes.T
        across = width @ np.abs(self.axes).T
        # What this program rounds: shift, turn, weight, sums, quotient, turning back, r and x.
        own = gamma(2 * d + 24) * OWN / 8
        ends = np.abs(self.reference) + np.abs(self.stream.value)
        slack = self.defect + own * (self.span * (high[:, d : d + 1] / least) + ends)
        error = high[:, d + 1 : -1] + (np.abs(turned) + across + slack) * high[:, -1:]
        error = error / (least * (1 - self.worst)) + self.stream.error
        centre = self.stream.value + self.reference + turned
        error = error + gamma(2) * (np.abs(centre) + across + slack + error) + 2 * TINY
        farthest = np.abs(centre) + across + slack + error
        usable &= (farthest < _ROOM).all(axis=1)
        tame = usable[:, None]
        return Box(
            np.where(tame, centre, 0.0),
            np.where(tame, width, 0.0),
            np.where(tame, error, 0.0),
            np.where(tame, slack, 0.0),
            self.axes,
            usable,
            usable & self.fits,
        )


def build_hull(
    tables: Tables, possible: np.ndarray, query: int, reference: np.ndarray, axes: np.ndarray
) -> Hull:
    """Tabulate what every option of every group brings to one query.

    Args:
        tables: The network before attention.
        possible: Which tokens the positions up to the query can hold.
        query: Token at the query.
        reference: Any vector r.
        axes: Any matrix Q.

    Raises:
        ValueError: The hints are not finite, or out of all proportion.
    """
    here, d = len(possible) - 1, tables.x.value.shape[-1]
    shapes = np.shape(reference) == (d,) and np.shape(axes) == (d, d)
    if not (shapes and (np.abs(reference) <= FAR).all() and (np.abs(axes) <= 2).all()):
        raise ValueError("a reference or axes that no box can be measured by")
    q = Approx(tables.q.value[here, query], tables.q.error[here, query])
    k = Approx(tables.k.value[: here + 1], tables.k.error[: here + 1])
    root = np.sqrt(d)
    score = k.value @ q.value / root
    size = k.size @ q.size
    wrong = np.abs(k.value) @ q.error + k.error @ q.size + gamma(d + 3) * size + lost(d)
    wrong = wrong / root + 2 * TINY
    gap = np.where(possible, score[possible].max() - score, 0.0)
    weight = np.where(possible, np.exp(-gap), 0.0)
    spread = wrong + U32 * (gap + 2 * wrong[possible].max())
    narrow = bool(spread[possible].max() < 0.4)
    relative = np.expm1(np.minimum(spread, 0.4))
    relative = relative + (1 + relative) * gamma(LIBRARY)
    value = tables.ov.value[: here + 1] - reference
    moved = relative[..., None] * np.abs(value)
    moved += (1 + relative[..., None]) * tables.ov.error[: here + 1]
    w = weight[..., None]
    table = np.concatenate([w * (value @ axes), w, w * moved, w * relative[..., None]], axis=-1)
    largest = np.abs(value[possible]).max(axis=0)
    span = np.abs(axes) @ (np.abs(axes).T @ largest)
    # 34 exponentials may be flushed; each moves the output by v - r and by the output less r.
    flushed = np.concatenate([np.zeros(d + 1), 2 * 34 * TINY * largest, [0.0]])
    fixed = table[10, 10] + table[21, 11] + flushed
    if here == 32:
        fixed = fixed + table[here, query]
    options = []
    for group in range(10):
        rows = table[9 - group, LEFT] + table[20 - group, RIGHT]
        options.append(rows + table[22 + group, TOTAL % 10] if here > 21 + group else rows)
    identity = np.eye(d)
    product_rounding = gamma(d + 2) * OWN / 8 * (np.abs(axes) @ np.abs(axes).T + identity)
    defect = (np.abs(axes @ axes.T - identity) + product_rounding) @ largest
    return Hull(
        options,
        fixed,
        Approx(tables.x.value[here, query], tables.x.error[here, query]),
        np.asarray(reference, dtype=float),
        np.asarray(axes, dtype=float),
        defect,
        span,
        float(relative[possible].max()),
        narrow and bool(tables.sound[: here + 1][possible].all()),
        tables.fits and float(size[possible].max()) < PEAK / 2,
    )
