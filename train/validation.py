"""How good a snapshot is: exact match where it is easy, where it is hard, and by what margin."""

from dataclasses import dataclass
from functools import cache

import torch

from model.adder import Adder
from model.decode import decode
from model.task import (
    N_ANSWER,
    Pairs,
    carry_stratified_pairs,
    hard_pairs,
    official_split,
    uniform_pairs,
)

N_HARD = 50_000


@dataclass(frozen=True)
class Score:
    """Result on the validation pairs.

    Attributes:
        exact: Exact match on 5,000 uniform pairs (the published measure, which saturates).
        exact_hard: Exact match on 50,000 carry-stratified pairs and the named hard cases.
        margin: Smallest logit margin over all of them; negative where something is wrong.
    """

    exact: float
    exact_hard: float
    margin: float

    @property
    def key(self) -> tuple[float, float]:
        """What the best checkpoint is chosen by: fewest errors in all, then largest margin."""
        return (self.exact + self.exact_hard, self.margin)


@cache
def validation_pairs(seed: int) -> tuple[Pairs, Pairs]:
    """Give the uniform pairs of a seed (as published) and the hard ones (the same for all)."""
    uniform, _ = official_split(seed)
    stratified = carry_stratified_pairs(N_HARD, torch.Generator().manual_seed(0))
    named = hard_pairs()
    hard = tuple(torch.cat([x, y]) for x, y in zip(stratified, named, strict=True))
    return uniform, (hard[0], hard[1])


def validate(model: Adder, seed: int) -> Score:
    """Score a model on the validation pairs of a seed."""
    uniform, hard = (decode(model, *pairs) for pairs in validation_pairs(seed))
    margin = min(float(x.margin[:, :N_ANSWER].min()) for x in (uniform, hard))
    exact, exact_hard = (float(x.exact.double().mean()) for x in (uniform, hard))
    return Score(exact, exact_hard, margin)


def count_test_errors(model: Adder, n: int, seed: int, *, stratified: bool) -> int:
    """Count wrong sums among `n` fresh pairs, uniform or carry-stratified."""
    generator = torch.Generator().manual_seed(seed)
    draw = carry_stratified_pairs if stratified else uniform_pairs
    errors = 0
    for start in range(0, n, 1 << 17):
        pairs = draw(min(1 << 17, n - start), generator)
        errors += int((~decode(model, *pairs).exact).sum())
    return errors
