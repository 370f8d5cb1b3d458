"""Inputs of the carry probe: features of every column, contexts to split by, and minimal pairs."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from model.task import (
    N_ANSWER,
    N_INPUT,
    N_PROMPT,
    Pairs,
    carries,
    column_state,
    digits,
    encode,
    uniform_pairs,
)

Labels = np.ndarray

FEATURES: dict[str, str] = {
    "carry_in": "carry that enters the column",
    "carry_out": "carry that leaves the column",
    "state": "kill, propagate or generate",
    "digit_sum": "(a_i + b_i) mod 10",
    "answer": "answer digit s_i",
    "previous_carry": "carry that enters column i - 1",
}
"""What a probe may be asked for, per answer column."""

OF_THE_COLUMN_BELOW = frozenset({"carry_in", "previous_carry"})
"""Features that the digits of column i - 1 say something about; the others turn on column i's."""


@dataclass(frozen=True)
class ProbeInputs:
    """Teacher-forced sequences with every feature of every answer column.

    Attributes:
        tokens: Inputs with the true prefix.
        a: Digits of a, units first, with a leading zero for column 10.
        b: Digits of b likewise.
        features: By name, one label per column 0 to 10.
    """

    tokens: Int[Tensor, "batch 33"]
    a: Int[Tensor, "batch 11"]
    b: Int[Tensor, "batch 11"]
    features: dict[str, Int[Tensor, "batch 11"]]

    def take(self, n: int) -> "ProbeInputs":
        """Keep the first `n` inputs."""
        features = {name: value[:n] for name, value in self.features.items()}
        return ProbeInputs(self.tokens[:n], self.a[:n], self.b[:n], features)

    def labels(self, feature: str, column: int) -> Labels:
        """Return the feature of one column."""
        return self.features[feature][:, column].numpy()

    def sums(self, column: int) -> Labels:
        """Return a_i + b_i, 0 to 18, which conditional probes hold fixed."""
        return (self.a + self.b)[:, column].numpy()

    def query(self, column: int) -> Labels:
        """Return the token at the query position: s_{i-1}, or `=` for column 0."""
        return self.tokens[:, N_PROMPT - 1 + column].numpy()

    def pair(self, column: int) -> Labels:
        """Number the digit pair (a_j, b_j) of a column, 0 to 99; 0 below column 0."""
        if column < 0:
            return np.zeros(len(self.tokens), dtype=np.int64)
        return (10 * self.a + self.b)[:, column].numpy()

    def context(self, feature: str, column: int) -> Labels:
        """Number the digit pair that a split must not share between its halves.

        A probe tested on unseen pairs (a_{i-1}, b_{i-1}) cannot have memorised which of them carry.
        """
        return self.pair(column - 1 if feature in OF_THE_COLUMN_BELOW else column)

    def stratum(self, feature: str, column: int) -> Labels:
        """Return the digit sum of the pair that `context` numbers."""
        pair = self.context(feature, column)
        return pair // 10 + pair % 10

    def cell(self, column: int) -> Labels:
        """Number the type that fixes carry_in: (a_{i-1}, b_{i-1}, s_{i-1})."""
        return self.pair(column - 1) * 14 + self.query(column)

    def raw_digits(self, column: int) -> np.ndarray:
        """Return a_i, b_i, a_{i-1}, b_{i-1}, s_{i-1} as numbers and one-hot, for the ceiling."""
        parts = [self.a[:, column], self.b[:, column]]
        if column:
            parts += [
                self.a[:, column - 1],
                self.b[:, column - 1],
                torch.tensor(self.query(column)),
            ]
        one_hot = [torch.nn.functional.one_hot(x, 10) for x in parts]
        return torch.cat([torch.stack(parts, dim=1), *one_hot], dim=1).double().numpy()


def probe_inputs(pairs: Pairs) -> ProbeInputs:
    """Compute the features of given pairs."""
    a, b = pairs
    carry_in, carry_out = carries(a, b)
    da, db = digits(a, N_ANSWER), digits(b, N_ANSWER)
    state = torch.zeros_like(carry_in)
    state[:, :-1] = column_state(a, b)
    features = {
        "carry_in": carry_in,
        "carry_out": carry_out,
        "state": state,
        "digit_sum": (da + db) % 10,
        "answer": digits(a + b, N_ANSWER),
        "previous_carry": torch.cat([torch.zeros_like(carry_in[:, :1]), carry_in[:, :-1]], dim=1),
    }
    return ProbeInputs(encode(a, b)[:, :N_INPUT], da, db, features)


def split_by_context(context: Labels, stratum: Labels, rng: np.random.Generator) -> np.ndarray:
    """Choose half of the contexts for training, evenly within each stratum.

    Args:
        context: Context of each row.
        stratum: A function of the context (the digit sum of its pair) that both halves should
            have alike, so that their class frequencies agree.
        rng: Generator of the choice.

    Returns:
        Whether each row is for training; where there is only one context, half of the rows are.
    """
    contexts, first = np.unique(context, return_index=True)
    if len(contexts) < 2:
        return rng.permutation(len(context)) < len(context) // 2
    order = rng.permutation(len(contexts))
    order = order[np.argsort(stratum[first][order], kind="stable")]
    return np.isin(context, contexts[order[rng.integers(2) :: 2]])


@dataclass(frozen=True)
class CarryPairs:
    """Pairs of inputs that differ in nothing but the carry into one column.

    Both have the same digits everywhere except (a_{i-1}, b_{i-1}), whose sums are t and t + 10: the
    same s_{i-1} at the query, the same carry into column i - 1, the same a_i and b_i, and carry_in
    0 against 1. (t = 9 has no partner, for a digit sum is at most 18.)

    Attributes:
        column: The column i, 1 to 10.
        without: Inputs with carry_in 0 and the true prefix.
        with_carry: Inputs with carry_in 1 and the true prefix.
        total: a_i + b_i.
        without_again: `without` with its t split into two digits anew: another input, same carry.
        with_again: `with_carry` likewise.
    """

    column: int
    without: Int[Tensor, "batch 33"]
    with_carry: Int[Tensor, "batch 33"]
    total: Int[Tensor, " batch"]
    without_again: Int[Tensor, "batch 33"]
    with_again: Int[Tensor, "batch 33"]

    @property
    def digit(self) -> Int[Tensor, " batch"]:
        """The answer digit of column i without the carry; with it, one more (mod 10)."""
        return self.total % 10


def carry_pairs(column: int, n: int, generator: torch.Generator) -> CarryPairs:
    """Draw `n` minimal pairs for a column, digits uniform subject to the definition."""
    a, b = uniform_pairs(n, generator)
    da, db = digits(a), digits(b)
    total = torch.randint(0, 9, (n,), generator=generator)
    place = 10 ** (column - 1)

    def with_sum(sums: Int[Tensor, " batch"]) -> Pairs:
        low, high = (sums - 9).clamp(min=0), sums.clamp(max=9)
        x = (
            low
            + (torch.rand(n, generator=generator, dtype=torch.float64) * (high - low + 1)).long()
        )
        return (
            a + (x - da[:, column - 1]) * place,
            b + (sums - x - db[:, column - 1]) * place,
        )

    sums = (total, total + 10, total, total + 10)
    here = (da + db)[:, column] if column < da.shape[1] else torch.zeros_like(a)
    low, high, low_again, high_again = (encode(*with_sum(t))[:, :N_INPUT] for t in sums)
    return CarryPairs(column, low, high, here, low_again, high_again)
