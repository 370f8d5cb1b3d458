"""What was proved of a network about all its operand pairs.

found = certify_network(read_network("checkpoint_57p.pt").network)
found.digits.lower, found.digits.upper     # right pairs in real arithmetic, Python integers
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal

import numpy as np

from interp.certify_any.boxes import Hulls
from interp.certify_any.cells import questions
from interp.certify_any.count import Steps, TooManySteps, build_automaton, count_avoiding, masses
from interp.certify_any.groups import Pool
from interp.certify_any.margins import Head
from interp.certify_any.search import UNDECIDED, WRONG, Leaves, search
from interp.certify_any.tables import tabulate
from model.network import Network

Counting = Literal["joint", "columns"]


@dataclass(frozen=True)
class Count:
    """How many pairs are answered rightly: from `lower` to `upper`, inclusive, out of `total`.

    `counting` says how overlaps of wrong cells of different columns are taken: "joint" counts pairs
    outside all of them; "columns", where that takes too many steps, adds the columns up for `lower`
    and takes the worst for `upper`. Undecided cells are subtracted from `lower`.
    """

    lower: int
    upper: int
    total: int
    counting: Counting = "joint"

    @property
    def exact(self) -> bool:
        """Whether nothing is left open."""
        return self.lower == self.upper

    @property
    def error_rates(self) -> tuple[float, float]:
        """The smallest and the largest share of wrong pairs."""
        return (self.total - self.upper) / self.total, (self.total - self.lower) / self.total


@dataclass(frozen=True)
class Proof:
    """Verdicts on all pairs, in real arithmetic.

    Attributes:
        network: The network.
        digits: Count of the pairs whose digits are all right.
        with_end: The same with the end token; None where the layout has none.
        leaves: Cells with their verdicts, by step and query token.
        pool: The sets that cells are made of.
        seconds: Run time.
    """

    network: Network
    digits: Count
    with_end: Count | None
    leaves: tuple[Leaves, ...] = field(repr=False)
    pool: Pool = field(repr=False)
    seconds: float

    def column(self, column: int, verdict: int) -> np.ndarray:
        """Collect the cells of a column with a verdict, (cell, group)."""
        return collect(self.leaves, column, verdict, self.network.layout.width)


def certify_network(
    network: Network,
    *,
    budget: int = 100_000,
    end_budget: int = 20_000,
    progress: Callable[[int], None] | None = None,
) -> Proof:
    """Count the pairs that a network adds rightly, in real arithmetic, out of all of them.

    Args:
        network: The network; its weights are taken as exact numbers.
        budget: How many cells may be judged in each step of the answer.
        end_budget: How many for the end token.
        progress: Told every step that is done.
    """
    started = perf_counter()
    layout = network.layout
    with np.errstate(all="ignore"):  # what leaves the range proves nothing (see `balls`)
        sources, pool, head = tabulate(network), Pool(layout.base), Head(network)
        found: list[Leaves] = []
        for step in range(layout.n_target):
            asked = questions(layout, pool, step)
            left = budget if step < layout.n_answer else end_budget
            for rank, question in enumerate(asked):
                hulls = Hulls(sources, layout, pool, step, question.token)
                share = left // (len(asked) - rank)
                found.append(search(head, hulls, pool, layout, question, share))
                left -= len(found[-1].codes)
            if progress:
                progress(step)
    leaves, total = tuple(found), layout.capacity**2
    digits = count_right(leaves, pool, layout.width, total, layout.n_answer)
    with_end = None
    if layout.end is not None:
        with_end = count_right(leaves, pool, layout.width, total, layout.n_target)
    return Proof(network, digits, with_end, leaves, pool, perf_counter() - started)


def count_right(
    leaves: tuple[Leaves, ...], pool: Pool, width: int, total: int, columns: int
) -> Count:
    """Bound the number of pairs that are right in the first `columns` columns."""
    wrong = [collect(leaves, column, WRONG, width) for column in range(columns)]
    open_mass = sum(
        sum(masses(pool, collect(leaves, column, UNDECIDED, width))) for column in range(columns)
    )
    wrong_mass = [sum(masses(pool, cells)) for cells in wrong]
    steps = Steps()
    try:
        automata = [build_automaton(pool, cells, steps) for cells in wrong if len(cells)]
        right = count_avoiding(pool, width, automata, steps)
        return Count(max(0, right - open_mass), right, total)
    except TooManySteps:
        lower = max(0, total - sum(wrong_mass) - open_mass)
        return Count(lower, total - max(wrong_mass), total, "columns")


def collect(leaves: tuple[Leaves, ...], column: int, verdict: int, width: int) -> np.ndarray:
    """Collect the cells of a column with a verdict, (cell, group)."""
    parts = [x.cells[x.verdict == verdict] for x in leaves if x.column == column]
    return np.concatenate(parts) if parts else np.zeros((0, width), dtype=np.int64)
