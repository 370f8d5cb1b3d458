"""The second proof, before and in attention: tables by balls, and the numbers that a cell can give.

With r the reference and T the inverse of the transposed axes, whatever the file holds for both,
the residual stream after attention is x + r + T N / D, N = sum w axes^T (v - r), D = sum w. Over a
cell, N and D lie in sums of hulls, one per digit group. That box is what is proved on.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb, arb_mat

from interp.check_certificate.cells import LEFT, RIGHT, TOTAL, Sets
from interp.check_certificate.files import qkv_names
from interp.check_certificate.float32 import (
    LARGEST,
    LIBRARY,
    TINY,
    UNIT,
    Computed,
    add,
    dot,
    gamma,
    normalised,
    quotient,
    stored,
    through,
)

Rows = list[list[Computed]]
SOURCES = 33


@dataclass(frozen=True)
class Box:
    """What a cell can give: N and D, and how far float32 moves the residual stream.

    Attributes:
        base: x + r, (1, d).
        turn: T transposed, so that the stream is base + (N / D) turn.
        ratio: Balls of N and, last, of D.
        error: Bound of what float32 adds to each component of the stream.
    """

    base: arb_mat
    turn: arb_mat
    ratio: list[arb]
    error: list[arb]


class Network:
    """A network's stored numbers, and its tables over (position, token)."""

    def __init__(self, tensors: dict[str, np.ndarray], config: dict[str, Any]) -> None:
        """Read the weights, each an exact number."""
        self.config, self.d = config, config["d_model"]
        self.layer = config["norm"] == "layer"
        self.eps = 1e-5 if self.layer else 1e-8
        self.tensors = {
            name: [[stored(float(x)) for x in row] for row in np.atleast_2d(value)]
            for name, value in tensors.items()
        }
        factors = [self.factors(names) for names in qkv_names(config)]
        out = self.factors(self.names("W_O"))
        first, *rest = self.factors(self.names("W_pos"))
        self.x: list[Rows] = []
        self.q: list[Rows] = []
        self.k: list[Rows] = []
        self.v: list[Rows] = []
        for place in first[:SOURCES]:
            where = through(place, rest)
            xs = [[add(e, p) for e, p in zip(row, where, strict=True)] for row in self.rows("W_E")]
            hs = [self.norm(x, "ln1") for x in xs]
            q, k, v = ([through(h, w) for h in hs] for w in factors)
            # A source's share of the output: normaliser, division, product and sum round too.
            v = [[_mixed(x) for x in row] for row in v]
            self.x.append(xs)
            self.q.append(q)
            self.k.append(k)
            self.v.append([through(row, out) for row in v])

    def rows(self, name: str) -> Rows:
        """Give a stored tensor, as rows."""
        return self.tensors[name]

    def names(self, name: str) -> tuple[str, ...]:
        """Name the stored factors of a matrix."""
        return (name,) if name in self.tensors else (f"{name}_A", f"{name}_B")

    def factors(self, names: tuple[str, ...]) -> list[Rows]:
        """Give the factors of a matrix."""
        return [self.rows(name) for name in names]

    def norm(self, x: list[Computed], name: str) -> list[Computed]:
        """Normalise."""
        bias = self.rows(f"{name}_b")[0] if self.layer else None
        return normalised(x, self.rows(f"{name}_w")[0], bias, self.eps)


def _mixed(x: Computed) -> Computed:
    own = gamma(2 * SOURCES + 4) * x.size + 4 * SOURCES * TINY * (1 + x.size)
    whole = x.error + own
    return Computed(x.value, whole.upper() if x.size + whole < LARGEST else arb.pos_inf())


class Query:
    """What every source brings to one query of one column, and the boxes of cells."""

    def __init__(
        self, network: Network, column: int, query: int, reference: np.ndarray, axes: np.ndarray
    ) -> None:
        """Tabulate.

        Args:
            network: The network.
            column: Answer column.
            query: Token at the query position.
            reference: Any vector.
            axes: Any matrix that can be inverted.

        Raises:
            ZeroDivisionError: The axes cannot be inverted.
        """
        here, d = 21 + column, network.d
        self.column, self.network = column, network
        shift = [arb(x) for x in reference.tolist()]
        matrix = arb_mat([[arb(x) for x in row] for row in axes.tolist()])
        self.turn = matrix.inv()  # rows: (N / D) axes^-1
        self.matrix = matrix
        x = network.x[here][query]
        self.base = arb_mat([[a.value + b for a, b in zip(x, shift, strict=True)]])
        self.stream = x
        tokens = {p: range(10) for p in range(here)} | {10: (10,), 21: (11,), here: (query,)}
        root = Computed(arb(d).sqrt(), arb(d).sqrt() * UNIT)
        scores = {
            (p, t): quotient(dot(network.q[here][query], network.k[p][t]), root, 2)
            for p, allowed in tokens.items()
            for t in allowed
        }
        top = _largest([s.value.upper() for s in scores.values()])
        wrong = _largest([s.error for s in scores.values()])
        self.worst = arb(0)
        self.largest = [arb(0)] * d
        self.table: dict[tuple[int, int], list[arb]] = {}
        for (p, t), s in scores.items():
            weight = (s.value - top).exp()
            gap = (top - s.value).abs_upper() + 2 * wrong
            relative = (s.error + UNIT * gap + TINY).expm1()
            relative = (relative + (1 + relative) * gamma(LIBRARY)).upper()
            self.worst = _largest([self.worst, relative])
            v = network.v[p][t]
            apart = [a.value - b for a, b in zip(v, shift, strict=True)]
            self.largest = [
                _largest([x, y.abs_upper()]) for x, y in zip(self.largest, apart, strict=True)
            ]
            along = (arb_mat([apart]) * matrix).entries()
            moved = [
                relative * a.abs_upper() + (1 + relative) * b.error
                for a, b in zip(apart, v, strict=True)
            ]
            self.table[p, t] = [weight * y for y in (*along, arb(1), *moved, relative)]
        self.known: dict[tuple[int, bytes], list[arb]] = {}

    def box(self, sets: Sets, cell: tuple[int, ...]) -> Box:
        """Enclose what a cell can give."""
        d = self.network.d
        parts = [self._group(group, sets.rows[number]) for group, number in enumerate(cell)]
        parts += [self.table[10, 10], self.table[21, 11]]
        if self.column == 11:
            parts.append(next(row for (p, _), row in self.table.items() if p == 32))
        total = [sum(column, arb(0)) for column in zip(*parts, strict=True)]
        ratio, wrong = total[: d + 1], total[d + 1 :]
        least = ratio[d].lower()
        share = least * (1 - self.worst) - SOURCES * TINY
        if not (share > 0 and self.worst < 1):
            return Box(self.base, self.turn, ratio, [arb.pos_inf()] * d)
        output = (arb_mat([[n / ratio[d] for n in ratio[:d]]]) * self.turn).entries()
        flushed = 2 * SOURCES * TINY
        error = []
        for j, out in enumerate(output):
            moved = wrong[j].upper() + out.abs_upper() * wrong[d].upper()
            moved += flushed * (self.largest[j] + out.abs_upper())
            before = (moved / share).upper()
            size = (self.base[0, j] + out).abs_upper() + before
            whole = before + self.stream[j].error + gamma(2) * size + 4 * TINY
            error.append(whole.upper() if size + whole < LARGEST else arb.pos_inf())
        return Box(self.base, self.turn, ratio, error)

    def _group(self, group: int, row: np.ndarray) -> list[arb]:
        key = group, row.tobytes()
        if key not in self.known:
            hull: list[arb] | None = None
            seen = group < self.column
            for x in np.flatnonzero(row):
                parts = [self.table[9 - group, int(LEFT[x])], self.table[20 - group, int(RIGHT[x])]]
                if seen:
                    parts.append(self.table[22 + group, int(TOTAL[x] % 10)])
                option = [sum(column, arb(0)) for column in zip(*parts, strict=True)]
                hull = (
                    option
                    if hull is None
                    else [a.union(b) for a, b in zip(hull, option, strict=True)]
                )
            assert hull is not None
            self.known[key] = hull
        return self.known[key]


def _largest(values: list[arb]) -> arb:
    result = values[0]
    for value in values[1:]:
        result = result.max(value)
    return result.upper()
