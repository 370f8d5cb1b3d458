"""Counts what greedy decoding gets wrong on any number of pairs, in chunks of bounded memory."""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from model.decode import Network, decode, tables_of
from model.decode_kernel import run_decoder, supports
from model.intervals import clopper_pearson
from model.tables import Tables
from model.task import (
    N_ANSWER,
    N_TARGET,
    OFFICIAL_SEEDS,
    Pairs,
    carry_stratified_pairs,
    decode_sum,
    describe_difference,
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
        errors: Pairs with at least one of the 11 digits wrong.
        eos_errors: Pairs whose twelfth token is not <EOS>.
        column_errors: Pairs whose digit of column 0 to 10 is wrong; one error spreads, because the
            model goes on from its own digits.
        first_errors: Pairs whose lowest wrong column is this one.
        smallest_margin: Least of (true logit - best other logit) over columns 0 to 10 of all pairs.
        smallest_at: The pair and column that have it.
        failures: The first failing pairs, at most MAX_KEPT.
    """

    name: str
    sampled: bool
    n: int = 0
    errors: int = 0
    eos_errors: int = 0
    column_errors: tuple[int, ...] = (0,) * N_ANSWER
    first_errors: tuple[int, ...] = (0,) * N_ANSWER
    smallest_margin: float = math.inf
    smallest_at: tuple[int, int, int] | None = None
    failures: tuple[Failure, ...] = ()

    @property
    def exact_match(self) -> float:
        """Share of pairs with all 11 digits right."""
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
    network: Network, chunks: Iterable[Pairs], *, name: str, sampled: bool = True
) -> Evaluation:
    """Decode every pair of `chunks` and count what is wrong.

    Args:
        network: Model, effective weights or tables.
        chunks: Pairs, a chunk at a time; only one is held in memory.
        name: What to call the set.
        sampled: Whether the pairs are a random sample.
    """
    tables = tables_of(network)
    result = Evaluation(name=name, sampled=sampled)
    for a, b in chunks:
        result = _add(result, tables, a, b)
    return result


def _add(result: Evaluation, tables: Tables, a: torch.Tensor, b: torch.Tensor) -> Evaluation:
    if not len(a):
        return result
    margin = _margins(tables, a, b)
    # Only pairs without a clear win everywhere need their tokens: a NaN or a tie is no win.
    suspects = torch.from_numpy((~(margin > 0)).any(axis=0)).nonzero()[:, 0]
    answer = decode(tables, a[suspects], b[suspects])
    wrong = answer.wrong[:, :N_ANSWER]
    failed = wrong.any(dim=1).nonzero()[:, 0]
    first = wrong[failed].long().argmax(dim=1)
    digit_margin = np.nan_to_num(margin[:N_ANSWER], nan=-np.inf)
    column, row = divmod(int(digit_margin.argmin()), len(a))
    least = float(digit_margin[column, row])
    fields: dict[str, Any] = {}
    if least < result.smallest_margin:
        fields["smallest_margin"] = least
        fields["smallest_at"] = (int(a[row]), int(b[row]), column)
    kept = failed[: MAX_KEPT - len(result.failures)]
    sums = decode_sum(answer.tokens[kept, :N_ANSWER]).tolist()
    margins = answer.margin[kept, :N_ANSWER].amin(dim=1).tolist()
    pairs = zip(a[suspects[kept]].tolist(), b[suspects[kept]].tolist(), strict=True)
    failures = tuple(map(_failure, pairs, sums, margins))
    return dataclasses.replace(
        result,
        n=result.n + len(a),
        errors=result.errors + len(failed),
        eos_errors=result.eos_errors + int(answer.wrong[:, N_TARGET - 1].sum()),
        column_errors=_sum(result.column_errors, wrong.sum(dim=0)),
        first_errors=_sum(result.first_errors, torch.bincount(first, minlength=N_ANSWER)),
        failures=result.failures + failures,
        **fields,
    )


def _margins(tables: Tables, a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """Margins (12, n) of the greedy answers, without the cost of spelling the answers out."""
    if supports(tables):
        return run_decoder(tables, a.numpy(), b.numpy())[1]
    return decode(tables, a, b).margin.T.numpy()


def _sum(counts: tuple[int, ...], more: torch.Tensor) -> tuple[int, ...]:
    return tuple(old + new for old, new in zip(counts, more.tolist(), strict=True))


def _failure(pair: tuple[int, int], predicted: int, margin: float) -> Failure:
    a, b = pair
    return Failure(
        a=a,
        b=b,
        predicted=predicted if predicted >= 0 else None,
        true=a + b,
        parts=describe_difference(a + b, predicted),
        margin=margin,
    )


def uniform_chunks(n: int, seed: int) -> Iterator[Pairs]:
    """Draw `n` uniform pairs from one generator, CHUNK at a time."""
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, n, CHUNK):
        yield uniform_pairs(min(CHUNK, n - start), generator)


def stratified_chunks(n: int, seed: int) -> Iterator[Pairs]:
    """Draw `n` pairs with evenly spread carry chains from one generator, CHUNK at a time."""
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, n, CHUNK):
        yield carry_stratified_pairs(min(CHUNK, n - start), generator)


def official_chunks() -> Iterator[Pairs]:
    """Rebuild the ten test sets of 10,000 pairs of the write-ups' protocol, in its order."""
    for seed in OFFICIAL_SEEDS:
        yield official_split(seed)[1]
