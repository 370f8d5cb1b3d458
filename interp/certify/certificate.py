"""The certificate: what was proved of a checkpoint about all 10^20 pairs.

    certificate = certify(load("262p"))
    certificate.real.lower, certificate.real.upper     # correct pairs out of 10^20, Python integers

The import is light (no plotting, no TransformerLens), so that training scripts can choose
checkpoints by their certified count. The command is python -m interp.certify.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal

import numpy as np

from interp.certify.config import CertifyConfig
from interp.certify.count import (
    TOTAL,
    Automaton,
    Steps,
    TooManySteps,
    build_automaton,
    cell_masses,
    count_avoiding,
)
from interp.certify.range import check_range
from interp.certify.search import Tree, search_column
from interp.certify.verdicts import UNDECIDED, WRONG
from model.adder import Adder
from model.checkpoint import weights_sha256
from model.task import N_ANSWER, N_TARGET

Arithmetic = Literal["real", "float32"]
Counting = Literal["joint", "columns"]
ARITHMETICS: tuple[Arithmetic, ...] = ("real", "float32")


@dataclass(frozen=True)
class Count:
    """How many of the 10^20 pairs are answered correctly: from `lower` to `upper`, inclusive.

    `counting` says how the bounds follow from the cells: "joint" counts the pairs that avoid all of
    them; "columns", where that takes too many steps, subtracts the cells of every column from
    `lower`, and those of the worst column from `upper`.
    """

    lower: int
    upper: int
    counting: Counting = "joint"

    @property
    def error_rates(self) -> tuple[float, float]:
        """The smallest and the largest error rate that the counts allow."""
        return (TOTAL - self.upper) / TOTAL, (TOTAL - self.lower) / TOTAL

    @property
    def gap(self) -> int:
        """Number of pairs that are undecided."""
        return self.upper - self.lower


@dataclass(frozen=True)
class Certificate:
    """Verdicts on all 10^20 pairs.

    Attributes:
        sha256: Hash of the weights (see `model.checkpoint.weights_sha256`).
        config: The network's configuration.
        real: Count of pairs whose 11 digits are right in real arithmetic.
        float32: The same for a float32 forward pass, any order of summation.
        real_with_end: Count of pairs whose 11 digits and end token are right, in real arithmetic.
        float32_with_end: The same in float32.
        trees: The cells with their verdicts.
        seconds: Run time.
    """

    sha256: str
    config: dict[str, Any]
    real: Count
    float32: Count
    real_with_end: Count
    float32_with_end: Count
    trees: tuple[Tree, ...] = field(repr=False)
    seconds: float

    def cells(
        self, arithmetic: Arithmetic, verdicts: Sequence[int], columns: Sequence[int]
    ) -> list[np.ndarray]:
        """Collect the leaves with the given verdicts, one array of classes per column."""
        return [_leaves(self.trees, column, arithmetic, verdicts) for column in columns]


def certify(
    model: Adder,
    config: CertifyConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Certificate:
    """Count the pairs that a model adds correctly, out of all 10^20.

    Args:
        model: The network; its float32 parameters are taken as exact numbers.
        config: Budgets.
        progress: Told the answer column and the number of cells judged so far in it.

    Returns:
        Lower and upper counts in real arithmetic and in float32, with the cells that prove them.

    Raises:
        InputError: A weight is outside the range for which anything is proved.
    """
    config = config or CertifyConfig()
    check_range(model.params)
    started = perf_counter()
    trees: list[Tree] = []
    for column in range(N_TARGET):
        budget = config.eos_budget if column == N_ANSWER else config.budget
        report = None if progress is None else lambda done, c=column: progress(c, done)
        trees += search_column(model, column, budget=budget, progress=report)
    counts = {name: count_cells(trees, name) for name in ARITHMETICS}
    return Certificate(
        sha256=weights_sha256(model.params),
        config=model.config.to_dict(),
        real=counts["real"][0],
        float32=counts["float32"][0],
        real_with_end=counts["real"][1],
        float32_with_end=counts["float32"][1],
        trees=tuple(trees),
        seconds=perf_counter() - started,
    )


def count_cells(trees: Sequence[Tree], arithmetic: Arithmetic) -> tuple[Count, Count]:
    """Count pairs that avoid every wrong cell (upper) and every undecided one too (lower).

    Returns:
        The count of the 11 digits, and that of digits and end token.
    """
    ends = [
        [_leaves(trees, column, arithmetic, verdicts) for column in range(N_TARGET)]
        for verdicts in ((WRONG, UNDECIDED), (WRONG,))
    ]
    steps = Steps()
    automata: tuple[list[Automaton], list[Automaton]] = ([], [])
    found: dict[bool, Count] = {}

    def bound(columns: int) -> Count:
        try:
            for built, cells in zip(automata, ends, strict=True):
                built += [build_automaton(x, steps) for x in cells[len(built) : columns]]
            # Where the end token never fails, the count with it is the count without.
            asks = columns == N_TARGET and any(len(cells[-1]) for cells in ends)
            if asks not in found:
                lower, upper = (count_avoiding(built, steps=steps) for built in automata)
                found[asks] = Count(lower, upper)
            return found[asks]
        except TooManySteps:
            each, worst = ([sum(cell_masses(x)) for x in cells[:columns]] for cells in ends)
            return Count(max(TOTAL - sum(each), 0), TOTAL - max(worst), "columns")

    return bound(N_ANSWER), bound(N_TARGET)


def _leaves(
    trees: Sequence[Tree], column: int, arithmetic: Arithmetic, verdicts: Sequence[int]
) -> np.ndarray:
    return np.concatenate(
        [
            tree.leaves[np.isin(getattr(tree, arithmetic), verdicts)]
            for tree in trees
            if tree.column == column
        ]
    )
