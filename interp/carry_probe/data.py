"""Inputs of the carry probe: features of every column, contexts to split by, and minimal pairs."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.columns import carries, column_state, digits
from model.layouts import Layout
from model.task import Pairs, uniform_pairs

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


MAX_LEVELS = 16
"""Most one-hot levels of a digit."""


@dataclass(frozen=True)
class ProbeInputs:
    """Teacher-forced sequences with every feature of every answer column.

    Attributes:
        layout: The task.
        tokens: Inputs with the true prefix.
        a: Digits of a, units first, with a leading zero for the last column.
        b: Digits of b likewise.
        features: By name, one label per answer column.
    """

    layout: Layout
    tokens: Int[Tensor, "batch pos"]
    a: Int[Tensor, "batch column"]
    b: Int[Tensor, "batch column"]
    features: dict[str, Int[Tensor, "batch column"]]

    def take(self, n: int) -> "ProbeInputs":
        """Keep the first `n` inputs."""
        features = {name: value[:n] for name, value in self.features.items()}
        return ProbeInputs(self.layout, self.tokens[:n], self.a[:n], self.b[:n], features)

    def labels(self, feature: str, column: int) -> Labels:
        """Return the feature of one column."""
        return self.features[feature][:, column].numpy()

    def sums(self, column: int) -> Labels:
        """Return a_i + b_i, which conditional probes hold fixed."""
        return (self.a + self.b)[:, column].numpy()

    def query(self, column: int) -> Labels:
        """Return the token at the query position: s_{i-1}, or the prompt's last token."""
        return self.tokens[:, self.layout.query_position(column)].numpy()

    def answer(self, column: int) -> Int[Tensor, " batch"]:
        """Return the token of the answer digit s_i."""
        return self.features["answer"][:, column] + self.layout.first_digit

    def pair(self, column: int) -> Labels:
        """Number the digit pair (a_j, b_j) of a column, 0 to base^2 - 1; 0 below column 0."""
        if column < 0:
            return np.zeros(len(self.tokens), dtype=np.int64)
        return (self.layout.base * self.a + self.b)[:, column].numpy()

    def context(self, feature: str, column: int) -> Labels:
        """Number the digit pair that a split must not share between its halves.

        A probe tested on unseen pairs (a_{i-1}, b_{i-1}) cannot have memorised which of them carry.
        """
        return self.pair(column - 1 if feature in OF_THE_COLUMN_BELOW else column)

    def stratum(self, feature: str, column: int) -> Labels:
        """Return the digit sum of the pair that `context` numbers."""
        pair = self.context(feature, column)
        return pair // self.layout.base + pair % self.layout.base

    def cell(self, column: int) -> Labels:
        """Number the type (a_{i-1}, b_{i-1}, token at the query), which fixes carry_in.

        (It does where the token is s_{i-1}; with the units last, nothing that was fed tells.)
        """
        return self.pair(column - 1) * self.layout.vocab_size + self.query(column)

    def raw_digits(self, column: int) -> Float[np.ndarray, "batch _"]:
        """Return a_i, b_i, a_{i-1}, b_{i-1}, s_{i-1} as numbers and one-hot, for the ceiling.

        In a larger base than `MAX_LEVELS`, neighbouring digits share a one-hot level.
        """
        base = self.layout.base
        levels = min(base, MAX_LEVELS)
        parts = [self.a[:, column], self.b[:, column]]
        if column:
            parts += [self.a[:, column - 1], self.b[:, column - 1]]
            if self.layout.answer == "units first":
                parts.append(torch.tensor(self.query(column)) - self.layout.first_digit)
        one_hot = [torch.nn.functional.one_hot(x * levels // base, levels) for x in parts]
        return torch.cat([torch.stack(parts, dim=1), *one_hot], dim=1).double().numpy()


def probe_inputs(pairs: Pairs, layout: Layout) -> ProbeInputs:
    """Compute the features of given pairs."""
    a, b = pairs
    width, base, n = layout.width, layout.base, layout.n_answer
    carry_in, carry_out = carries(a, b, width, base)
    da, db = digits(a, n, base), digits(b, n, base)
    state = torch.zeros_like(carry_in)
    state[:, :-1] = column_state(a, b, width, base)
    features = {
        "carry_in": carry_in,
        "carry_out": carry_out,
        "state": state,
        "digit_sum": (da + db) % base,
        "answer": digits(a + b, n, base),
        "previous_carry": torch.cat([torch.zeros_like(carry_in[:, :1]), carry_in[:, :-1]], dim=1),
    }
    return ProbeInputs(layout, layout.encode(a, b)[:, : layout.n_input], da, db, features)


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

    Both have the same digits everywhere except (a_{i-1}, b_{i-1}), whose sums are t and t + base:
    the same s_{i-1}, the same carry into column i - 1, the same a_i and b_i, and carry_in 0 against
    1. (t = base - 1 has no partner, for a digit sum is at most 2 base - 2.) Where the answer is
    written units last, its higher digits are fed before: they too are the same in both, for
    a_i + b_i is not base - 1 there.

    Attributes:
        layout: The task.
        column: The column i, 1 to the layout's width.
        without: Inputs with carry_in 0 and the true prefix.
        with_carry: Inputs with carry_in 1 and the true prefix.
        total: a_i + b_i.
        without_again: `without` with its t split into two digits anew: another input, same carry.
        with_again: `with_carry` likewise.
    """

    layout: Layout
    column: int
    without: Int[Tensor, "batch pos"]
    with_carry: Int[Tensor, "batch pos"]
    total: Int[Tensor, " batch"]
    without_again: Int[Tensor, "batch pos"]
    with_again: Int[Tensor, "batch pos"]

    @property
    def digit(self) -> Int[Tensor, " batch"]:
        """The answer digit of column i without the carry; with it, one more (mod base)."""
        return self.total % self.layout.base


def carry_pairs(layout: Layout, column: int, n: int, generator: torch.Generator) -> CarryPairs:
    """Draw `n` minimal pairs for a column, digits uniform subject to the definition."""
    width, base = layout.width, layout.base
    a, b = uniform_pairs(n, generator, layout)
    da, db = digits(a, width, base), digits(b, width, base)
    total = torch.randint(0, base - 1, (n,), generator=generator)
    place = base ** (column - 1)
    if layout.answer == "units last" and column < width:
        # The sum must not turn on the carry above: one more in b_i, or one less, mends that.
        turning = (da + db)[:, column] == base - 1
        step = torch.where(db[:, column] < base - 1, 1, -1) * turning
        b = b + step * place * base
        db = digits(b, width, base)

    def with_sum(sums: Int[Tensor, " batch"]) -> Pairs:
        low, high = (sums - (base - 1)).clamp(min=0), sums.clamp(max=base - 1)
        x = (
            low
            + (torch.rand(n, generator=generator, dtype=torch.float64) * (high - low + 1)).long()
        )
        return (
            a + (x - da[:, column - 1]) * place,
            b + (sums - x - db[:, column - 1]) * place,
        )

    sums = (total, total + base, total, total + base)
    here = (da + db)[:, column] if column < width else torch.zeros_like(a)
    tokens = (layout.encode(*with_sum(t))[:, : layout.n_input] for t in sums)
    low, high, low_again, high_again = tokens
    return CarryPairs(layout, column, low, high, here, low_again, high_again)
