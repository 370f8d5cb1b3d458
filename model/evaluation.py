"""Counts what greedy decoding gets wrong on any number of pairs, in chunks of bounded memory."""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from model.columns import describe_difference
from model.decode import Decodable, decode, tables_of
from model.decode_kernel import run_decoder
from model.errors import InputError
from model.intervals import clopper_pearson
from model.layouts import WRITE_UPS, Layout
from model.packing import supports
from model.tables import Tables
from model.task import (
    MAX_OPERAND,
    OFFICIAL_SEEDS,
    Pairs,
    carry_stratified_pairs,
    official_split,
    uniform_pairs,
)

CHUNK = 1 << 17
"""Pairs that are drawn and decoded at a time; part of what a seed means for larger sets."""

MAX_KEPT = 1_000
"""Failing pairs that are kept for each set."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A pair whose answer has a wrong digit; `predicted` is None where the answer is no number."""

    a: int
    b: int
    predicted: int | None
    true: int
    parts: str
    margin: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What decoding one set of pairs gave.

    Attributes:
        name: What the set is.
        sampled: Whether it is a random sample, so that an interval means something.
        n: Number of pairs.
        errors: Pairs with at least one digit of the answer wrong.
        eos_errors: Pairs whose last token is not the end token; 0 where the layout has none.
        column_errors: Pairs whose digit of this column (0 = units) is wrong; one error spreads,
            because the model goes on from its own digits.
        first_errors: Pairs whose first wrong digit, in the order of decoding, is this column's.
        smallest_margin: Least of (true logit - best other logit) over all digits of all pairs.
        smallest_at: The pair and column that have it.
        failures: The first failing pairs, at most MAX_KEPT.
    """

    name: str
    sampled: bool
    n: int = 0
    errors: int = 0
    eos_errors: int = 0
    column_errors: tuple[int, ...]
    first_errors: tuple[int, ...]
    smallest_margin: float = math.inf
    smallest_at: tuple[int, int, int] | None = None
    failures: tuple[Failure, ...] = ()

    @property
    def exact_match(self) -> float:
        """Share of pairs with all digits right."""
        return 1.0 - self.errors / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float] | None:
        """Clopper-Pearson 95 % interval of the exact-match rate of the distribution drawn from."""
        return clopper_pearson(self.n - self.errors, self.n) if self.sampled else None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        fields = dataclasses.asdict(self)
        return {**fields, "exact_match": self.exact_match, "interval": self.interval}


def evaluate(
    network: Decodable, chunks: Iterable[Pairs], *, name: str, sampled: bool = True
) -> Evaluation:
    """Decode every pair of `chunks` and count what is wrong.

    Args:
        network: Model, effective weights or tables.
        chunks: Pairs, a chunk at a time; only one is held in memory.
        name: What to call the set.
        sampled: Whether the pairs are a random sample.
    """
    tables = tables_of(network)
    none = (0,) * tables.layout.n_answer
    result = Evaluation(name=name, sampled=sampled, column_errors=none, first_errors=none)
    for a, b in chunks:
        result = _add(result, tables, a, b)
    return result


def _add(result: Evaluation, tables: Tables, a: torch.Tensor, b: torch.Tensor) -> Evaluation:
    if not len(a):
        return result
    layout, margin = tables.layout, _margins(tables, a, b)
    n_answer = layout.n_answer
    # Only pairs without a clear win everywhere need their tokens: a NaN or a tie is no win.
    suspects = torch.from_numpy((~(margin > 0)).any(axis=0)).nonzero()[:, 0]
    answer = decode(tables, a[suspects], b[suspects])
    wrong = answer.wrong[:, :n_answer]
    failed = wrong.any(dim=1).nonzero()[:, 0]
    first = wrong[failed].long().argmax(dim=1)
    digit_margin = np.nan_to_num(margin[:n_answer], nan=-np.inf)
    step, row = divmod(int(digit_margin.argmin()), len(a))
    least = float(digit_margin[step, row])
    fields: dict[str, Any] = {}
    if least < result.smallest_margin:
        fields["smallest_margin"] = least
        fields["smallest_at"] = (int(a[row]), int(b[row]), layout.step(step))
    kept = failed[: MAX_KEPT - len(result.failures)]
    sums = layout.decode(answer.tokens[kept]).tolist()
    margins = answer.margin[kept, :n_answer].amin(dim=1).tolist()
    pairs = zip(a[suspects[kept]].tolist(), b[suspects[kept]].tolist(), strict=True)
    failures = tuple(_failure(layout, *found) for found in zip(pairs, sums, margins, strict=True))
    columns = [layout.step(column) for column in range(n_answer)]
    first_errors = torch.bincount(first, minlength=n_answer)[columns]
    return dataclasses.replace(
        result,
        n=result.n + len(a),
        errors=result.errors + len(failed),
        eos_errors=result.eos_errors + int(answer.wrong[:, n_answer:].sum()),
        column_errors=_sum(result.column_errors, wrong.sum(dim=0)[columns]),
        first_errors=_sum(result.first_errors, first_errors),
        failures=result.failures + failures,
        **fields,
    )


def _margins(tables: Tables, a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """Margins (steps, n) of the greedy answers, without the cost of spelling the answers out."""
    if supports(tables):
        return run_decoder(tables, a.numpy(), b.numpy())[1]
    return decode(tables, a, b).margin.T.numpy()


def _sum(counts: tuple[int, ...], more: torch.Tensor) -> tuple[int, ...]:
    return tuple(old + new for old, new in zip(counts, more.tolist(), strict=True))


def _failure(layout: Layout, pair: tuple[int, int], predicted: int, margin: float) -> Failure:
    a, b = pair
    return Failure(
        a=a,
        b=b,
        predicted=predicted if predicted >= 0 else None,
        true=a + b,
        parts=describe_difference(a + b, predicted, layout.n_answer, layout.base),
        margin=margin,
    )


def uniform_chunks(n: int, seed: int, layout: Layout = WRITE_UPS) -> Iterator[Pairs]:
    """Draw `n` uniform pairs from one generator, CHUNK at a time."""
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, n, CHUNK):
        yield uniform_pairs(min(CHUNK, n - start), generator, layout)


def stratified_chunks(n: int, seed: int, layout: Layout = WRITE_UPS) -> Iterator[Pairs]:
    """Draw `n` pairs with evenly spread carry chains from one generator, CHUNK at a time."""
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, n, CHUNK):
        yield carry_stratified_pairs(min(CHUNK, n - start), generator, layout)


def official_chunks(layout: Layout = WRITE_UPS) -> Iterator[Pairs]:
    """Rebuild the ten test sets of 10,000 pairs of the write-ups' protocol, in its order.

    Raises:
        InputError: The layout's operands are too short for the protocol's ten digits.
    """
    if layout.max_operand < MAX_OPERAND:
        raise InputError(
            f"the official protocol adds ten-digit numbers, and layout {layout.name} ends at "
            f"{layout.max_operand}: use --pairs, --stratified or --hard"
        )
    return (official_split(seed)[1] for seed in OFFICIAL_SEEDS)
