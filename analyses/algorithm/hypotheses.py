"""Rival accounts of how a column is answered, each one executable.

With S = a_i + b_i, T = a_{i-1} + b_{i-1} and the fed token s = s_{i-1}:

    place value   floor(S + (T - s + o) / 10), o per column: base-10 place value, no carry bit
    carry bit     S + [T - s >= h], h per column
    look-ahead    S + the carry computed from the operands below, whatever s says
    lookup        a table of (S, s)

all modulo 10. Each also says which contexts are the same to it, its *state*: at resid_mid of the
column, and at attn_out, where the query's own token has not been added yet. Two baselines (`no
carry`, `query only`) and two ceilings (any function of 10 S + T - s; any function of S, T and s)
stand beside them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analyses.algorithm.local_answers import Contexts

Fit = dict[int, np.ndarray]
"""What was fitted, per column."""

_KEYS = 4096


@dataclass(frozen=True)
class Hypothesis:
    """One account.

    Attributes:
        name: Its name.
        kind: "rival", "baseline" or "ceiling".
        statement: What it claims.
        fit: Fits its numbers to answers, by column.
        predict: Digits that it predicts under a fit.
        mid: Its state at resid_mid under a fit, as integers.
        attn: Its state at attn_out.
    """

    name: str
    kind: str
    statement: str
    fit: Callable[[Contexts], Fit]
    predict: Callable[[Contexts, Fit], np.ndarray]
    mid: Callable[[Contexts, Fit], np.ndarray]
    attn: Callable[[Contexts], np.ndarray]


def cell(contexts: Contexts) -> np.ndarray:
    """Number the cell (S, T, s)."""
    return (contexts.S.astype(int) * 19 + contexts.T) * 10 + contexts.s


def _per_column(contexts: Contexts, one: Callable[[Contexts], np.ndarray]) -> Fit:
    return {
        int(column): one(contexts.take(np.flatnonzero(contexts.column == column)))
        for column in np.unique(contexts.column)
    }


def _shifts(contexts: Contexts) -> np.ndarray:
    """Answer less S modulo 10; -1 where the answer is no digit."""
    return np.where(contexts.answer < 10, (contexts.answer - contexts.S) % 10, -1)


def _best(
    contexts: Contexts, candidates: range, shift: Callable[[np.ndarray, int], np.ndarray]
) -> np.ndarray:
    """Choose the number that predicts most shifts; of equally good ones the middle."""
    x, observed = contexts.x, _shifts(contexts)
    hits = np.array([int((shift(x, c) % 10 == observed).sum()) for c in candidates])
    best = np.flatnonzero(hits == hits.max())
    return np.array([candidates[int(best[len(best) // 2])]])


def _own(contexts: Contexts, fit: Fit) -> np.ndarray:
    """Give every context the fitted number of its column."""
    numbers = np.zeros(16, dtype=int)
    for column, value in fit.items():
        numbers[column] = value[0]
    return numbers[contexts.column]


def _place_shift(x: np.ndarray, offset: np.ndarray | int) -> np.ndarray:
    return (x + offset) // 10


def _step_shift(x: np.ndarray, threshold: np.ndarray | int) -> np.ndarray:
    return (x >= threshold).astype(int)


def _table(key: Callable[[Contexts], np.ndarray]) -> Callable[[Contexts], Fit]:
    """Fit the most frequent answer of each key; unseen keys get the nearest seen one below."""

    def fit_one(contexts: Contexts) -> np.ndarray:
        counts = np.zeros((_KEYS, 14), dtype=int)
        np.add.at(counts, (key(contexts), contexts.answer), 1)
        table = counts.argmax(axis=1)
        seen = counts.any(axis=1)
        below = np.maximum.accumulate(np.where(seen, np.arange(_KEYS), -1))
        return table[np.where(below < 0, np.flatnonzero(seen)[0], below)]

    return lambda contexts: _per_column(contexts, fit_one)


def _look_up(key: Callable[[Contexts], np.ndarray]) -> Callable[[Contexts, Fit], np.ndarray]:
    def predicted(contexts: Contexts, fit: Fit) -> np.ndarray:
        tables = np.zeros((16, _KEYS), dtype=int)
        for column, table in fit.items():
            tables[column] = table
        return tables[contexts.column, key(contexts)]

    return predicted


def _u_key(contexts: Contexts) -> np.ndarray:
    return contexts.u10.astype(int) + 9


def _fit_u(contexts: Contexts) -> Fit:
    """Fit a table of u; values of u that were not seen follow the place value."""

    def fit_one(one: Contexts) -> np.ndarray:
        offset = _best(one, range(10), _place_shift)[0]
        table = (np.arange(_KEYS) - 9 + offset) // 10 % 10
        seen = np.unique(_u_key(one))
        table[seen] = _table(_u_key)(one)[int(one.column[0])][seen]
        return table

    return _per_column(contexts, fit_one)


def _sum_token(contexts: Contexts) -> np.ndarray:
    return contexts.S.astype(int) * 10 + contexts.s


def _sum_carry(contexts: Contexts) -> np.ndarray:
    return contexts.S.astype(int) * 2 + contexts.carry


def _sums(contexts: Contexts) -> np.ndarray:
    return contexts.S.astype(int) * 19 + contexts.T


HYPOTHESES: dict[str, Hypothesis] = {
    h.name: h
    for h in (
        Hypothesis(
            "no carry",
            "baseline",
            "S mod 10",
            lambda c: {},
            lambda c, fit: c.S % 10,
            lambda c, fit: c.S.astype(int),
            lambda c: c.S.astype(int),
        ),
        Hypothesis(
            "query only",
            "baseline",
            "a table of s",
            _table(lambda c: c.s.astype(int)),
            _look_up(lambda c: c.s.astype(int)),
            lambda c, fit: c.s.astype(int),
            lambda c: np.zeros(len(c), dtype=int),
        ),
        Hypothesis(
            "look-ahead",
            "rival",
            "S + carry of the operands, mod 10",
            lambda c: {},
            lambda c, fit: (c.S + c.carry) % 10,
            lambda c, fit: _sum_carry(c),
            _sum_carry,
        ),
        Hypothesis(
            "carry bit",
            "rival",
            "S + [T - s >= h], mod 10",
            lambda c: _per_column(c, lambda one: _best(one, range(-8, 19), _step_shift)),
            lambda c, fit: (c.S + _step_shift(c.x, _own(c, fit))) % 10,
            lambda c, fit: c.S.astype(int) * 2 + _step_shift(c.x, _own(c, fit)),
            _sums,
        ),
        Hypothesis(
            "place value",
            "rival",
            "floor(S + (T - s + o) / 10), mod 10",
            lambda c: _per_column(c, lambda one: _best(one, range(10), _place_shift)),
            lambda c, fit: (c.S + _place_shift(c.x, _own(c, fit))) % 10,
            lambda c, fit: _u_key(c),
            lambda c: 10 * c.S.astype(int) + c.T,
        ),
        Hypothesis(
            "lookup",
            "rival",
            "a table of (S, s)",
            _table(_sum_token),
            _look_up(_sum_token),
            lambda c, fit: _sum_token(c),
            lambda c: c.S.astype(int),
        ),
        Hypothesis(
            "any f(u)",
            "ceiling",
            "a table of 10 S + T - s",
            _fit_u,
            _look_up(_u_key),
            lambda c, fit: _u_key(c),
            lambda c: 10 * c.S.astype(int) + c.T,
        ),
        Hypothesis(
            "any f(S, T, s)",
            "ceiling",
            "a table of (S, T, s)",
            _table(cell),
            _look_up(cell),
            lambda c, fit: cell(c),
            _sums,
        ),
    )
}
"""Every account by name: baselines, rivals, ceilings."""

RIVALS = tuple(name for name, h in HYPOTHESES.items() if h.kind == "rival")
