"""Inputs that a network gets wrong, found by search and grouped by local context.

Every column is judged on the true prefix: greedy decoding is right exactly when all its columns are
right so. For each column all contexts (carry into the column below, digits below, digits here) get
some random completions; the thinnest contexts are then attacked, one other digit at a time and
always the one that lowers the margin most. What stays above zero is not proved right: certify does
that. Rates of failure come from random completions, never from the attack.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.anatomy import pairs_with_carry, set_digit
from interp.failure_diff.contexts import (
    Found,
    column_margins,
    column_row,
    context_table,
    group_contexts,
)
from model.decode import Decodable, tables_of
from model.tables import Tables
from model.task import N_ANSWER, N_DIGITS, digits


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How hard to look."""

    completions: int = 16
    """Random completions of every context."""
    attacked: int = 300
    """Contexts per column, thinnest first, whose other digits are attacked."""
    steps: int = 8
    """Digits that an attack may change."""
    listed: int = 200
    """Failing contexts whose rate of failure is sampled and that are listed, thinnest first."""
    samples: int = 2_000
    """Random inputs per listed context."""
    seed: int = 0
    """Seed of all random draws."""


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        columns: One row a column: contexts tried, contexts failing, thinnest margin with its pair,
            sampled error rate of the column with its interval.
        contexts: One row a listed failing context: its digits, exact share of all pairs, share of
            failing samples with interval, mass (their product), thinnest margin, witness a and b,
            the digit answered, and whether the model fails the witness when it decodes greedily.
        groups: The contexts gathered by column, carry in, previous answer digit, digit sum of the
            column and digit answered.
        evaluations: Number of column evaluations.
    """

    columns: pd.DataFrame
    contexts: pd.DataFrame
    groups: pd.DataFrame
    evaluations: int


def contexts_of(column: int) -> Int[Tensor, "context 5"]:
    """List every context of a column with the column above left open.

    Returns:
        Rows of carry into the column below, digits a and b of the column below, a and b of the
        column; -1 for digits of columns that do not exist.
    """
    digit, none = torch.arange(10), torch.tensor([-1])
    carry = torch.arange(2 if column > 1 else 1)
    below = digit if column else none
    here = digit if column < N_DIGITS else none
    return torch.cartesian_prod(carry, below, below, here, here)


def scan(
    tables: Tables,
    column: int,
    contexts: Int[Tensor, "context 5"],
    completions: int,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "context n"], Int[Tensor, "context n"], Int[Tensor, "context n"]]:
    """Judge random completions of some contexts of a column.

    Returns:
        Margins, and the operands a and b of each completion.
    """
    rows = contexts.repeat_interleave(completions, dim=0)
    a, b = pairs_with_carry(max(column - 1, 0), rows[:, 0], generator)
    for place, j in ((1, column - 1), (3, column)):
        if 0 <= j < N_DIGITS:
            a, b = set_digit(a, j, rows[:, place]), set_digit(b, j, rows[:, place + 1])
    margins, _ = column_margins(tables, a, b, column)
    shape = (len(contexts), completions)
    return margins.reshape(shape), a.reshape(shape), b.reshape(shape)


def attack(
    tables: Tables,
    a: Int[Tensor, " batch"],
    b: Int[Tensor, " batch"],
    column: int,
    steps: int,
) -> tuple[Int[Tensor, " batch"], Int[Tensor, " batch"], Float[Tensor, " batch"], int]:
    """Lower the margins by coordinate descent over the digits outside the context.

    Digits of the column and of the one below stay, and so does the carry into the one below.

    Returns:
        Operands, their margins, and the number of evaluations.
    """
    free = [j for j in range(N_DIGITS) if j not in (column - 1, column)]
    low = 10 ** max(column - 1, 0)
    margin, _ = column_margins(tables, a, b, column)
    carry = (a % low + b % low) >= low
    a, b, live, evaluations = a.clone(), b.clone(), torch.arange(len(a)), len(a)
    for _ in range(steps):
        tried_a, tried_b = _neighbours(a[live], b[live], free)
        kept = ((tried_a % low + tried_b % low) >= low) == carry[live, None]
        found = torch.full(kept.shape, float("inf"), dtype=margin.dtype)
        found[kept], _ = column_margins(tables, tried_a[kept], tried_b[kept], column)
        evaluations += int(kept.sum())
        best = found.min(dim=1)
        better = best.values < margin[live]
        chosen = best.indices[better, None]
        a[live[better]] = tried_a[better].gather(1, chosen)[:, 0]
        b[live[better]] = tried_b[better].gather(1, chosen)[:, 0]
        margin[live[better]] = best.values[better]
        live = live[better]
        if not len(live):
            break
    return a, b, margin, evaluations


def _neighbours(
    a: Int[Tensor, " batch"], b: Int[Tensor, " batch"], free: list[int]
) -> tuple[Int[Tensor, "batch n"], Int[Tensor, "batch n"]]:
    """Change each free digit of either operand to each of its 9 other values."""
    da, db = digits(a), digits(b)
    powers = torch.tensor([10**j for j in free])
    shift = torch.arange(1, 10)

    def changed(d: Tensor) -> Tensor:
        new = (d[:, free, None] + shift) % 10
        return ((new - d[:, free, None]) * powers[:, None]).flatten(1)

    moved_a, moved_b = a[:, None] + changed(da), b[:, None] + changed(db)
    same_a, same_b = a[:, None].expand_as(moved_a), b[:, None].expand_as(moved_b)
    return torch.cat([moved_a, same_a], dim=1), torch.cat([same_b, moved_b], dim=1)


def search(
    network: Decodable,
    config: SearchConfig | None = None,
    columns: range = range(N_ANSWER),
    report: Callable[[int], None] | None = None,
) -> SearchResult:
    """Search the columns for failing contexts.

    Args:
        network: Model, effective weights or tables.
        config: How hard to look.
        columns: Answer columns to search.
        report: Called with each column before it is searched.
    """
    config = config or SearchConfig()
    tables = tables_of(network)
    generator = torch.Generator().manual_seed(config.seed)
    rows: list[dict[str, object]] = []
    found: list[Found] = []
    evaluations = 0
    for column in columns:
        if report is not None:
            report(column)
        contexts = contexts_of(column)
        margins, a, b = scan(tables, column, contexts, config.completions, generator)
        worst = margins.min(dim=1)
        at = worst.indices[:, None]
        a, b, thinnest = a.gather(1, at)[:, 0], b.gather(1, at)[:, 0], worst.values.clone()
        chosen = thinnest.argsort()[: config.attacked]
        a[chosen], b[chosen], thinnest[chosen], spent = attack(
            tables, a[chosen], b[chosen], column, config.steps
        )
        evaluations += margins.numel() + spent
        for i in thinnest.argsort()[: config.listed].tolist():
            if thinnest[i] < 0:
                found.append(Found(float(thinnest[i]), column, int(a[i]), int(b[i])))
        rows.append(column_row(column, contexts, margins, thinnest, a, b))
    found.sort(key=lambda item: item.margin)
    table = context_table(network, tables, found[: config.listed], config.samples, generator)
    evaluations += config.samples * len(table)
    return SearchResult(pd.DataFrame(rows), table, group_contexts(table), evaluations)
