"""Controls of one sum: minimal edits, inputs of the same context, chains of the same shape."""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from interp.anatomy import (
    context_of,
    context_pairs,
    logit_gap,
    pairs_with_carry,
    set_digit,
    trace_column,
)
from interp.failure_diff.columns import Focus
from model.decode import decode
from model.network import Network
from model.task import (
    N_DIGITS,
    N_PROMPT,
    PROPAGATE,
    Pairs,
    chain_length,
    column_state,
    encode,
    uniform_pairs,
)

Edit = tuple[str, int, int]
"""One digit edit: operand "a" or "b", column, new digit."""


def single_digit_edits(a: int, b: int) -> list[tuple[Edit, ...]]:
    """List all 180 edits of one digit: 2 operands, 10 columns, 9 other digits."""
    return [
        ((operand, column, digit),)
        for operand, value in (("a", a), ("b", b))
        for column in range(N_DIGITS)
        for digit in range(10)
        if digit != value // 10**column % 10
    ]


def neighbourhood(column: int) -> range:
    """The critical columns of answer column `column`: two below it to one above it."""
    return range(max(column - 2, 0), min(column + 2, N_DIGITS))


def two_digit_edits(a: int, b: int, columns: range) -> list[tuple[Edit, ...]]:
    """List all edits of two digits within some columns; each two places have 81."""
    near = [edit for (edit,) in single_digit_edits(a, b) if edit[1] in columns]
    return [
        (first, second)
        for first, second in itertools.combinations(near, 2)
        if first[:2] != second[:2]
    ]


def apply_edits(a: int, b: int, edits: list[tuple[Edit, ...]]) -> Pairs:
    """Apply each group of edits to the pair."""
    pairs = []
    for group in edits:
        values = {"a": a, "b": b}
        for operand, column, digit in group:
            old = values[operand] // 10**column % 10
            values[operand] += (digit - old) * 10**column
        pairs.append((values["a"], values["b"]))
    both = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    return both[:, 0].clone(), both[:, 1].clone()


def judge(
    weights: Network,
    a: Int[Tensor, " batch"],
    b: Int[Tensor, " batch"],
    focus: Focus,
) -> pd.DataFrame:
    """Say of each pair whether the model adds it, and its margin in the focus column.

    Returns:
        a, b; `passes` (all 11 digits right, greedy); `right_here` (the column right on the true
        prefix), true and predicted digit and margin there; `gap`: the focus's rival logit less its
        true logit, comparable only where `true` is the focus's.
    """
    tokens = encode(a, b)
    truth = tokens[:, N_PROMPT + focus.column]
    logits = torch.cat(
        [trace_column(weights, part, focus.column)["logits"] for part in tokens.split(8192)]
    )
    best_other = logits.scatter(1, truth[:, None], float("-inf")).max(dim=1).values
    margin = logits.gather(1, truth[:, None])[:, 0] - best_other
    return pd.DataFrame(
        {
            "a": a.tolist(),
            "b": b.tolist(),
            "passes": decode(weights, a, b).exact.tolist(),
            "right_here": (margin > 0).tolist(),
            "true": truth.tolist(),
            "predicted": logits.argmax(dim=1).tolist(),
            "margin": margin.tolist(),
            "gap": logit_gap(logits, focus.rival, focus.true).tolist(),
        }
    )


def edit_table(
    weights: Network, a: int, b: int, focus: Focus, edits: list[tuple[Edit, ...]]
) -> pd.DataFrame:
    """Judge every edit of the pair; `offset` is the edit's column less the focus column.

    Two edits share a row: operand, column and digit of both are joined by "," in that order.
    """
    table = judge(weights, *apply_edits(a, b, edits), focus)

    def joined(field: int) -> list[str]:
        return [",".join(str(edit[field]) for edit in group) for group in edits]

    table.insert(0, "operand", joined(0))
    table.insert(1, "edit_column", joined(1))
    table.insert(2, "new_digit", joined(2))
    offsets = [",".join(f"{edit[1] - focus.column:+d}" for edit in group) for group in edits]
    table.insert(3, "offset", offsets)
    table["same_true"] = table["true"] == focus.true
    return table


def same_context_table(
    weights: Network,
    a: int,
    b: int,
    focus: Focus,
    n: int,
    generator: torch.Generator,
    *,
    open_above: bool = False,
) -> pd.DataFrame:
    """Judge `n` random pairs that share the local context of the focus column.

    With `open_above` the digits of the column above are free as well, as in the search's contexts.
    """
    context = context_of(a, b, focus.column)
    context = replace(context, above=None) if open_above else context
    return judge(weights, *context_pairs(context, n, generator), focus)


def chain_window(a: int, b: int, column: int) -> range:
    """The columns whose states decide the carry into `column`, the column itself included.

    They reach down through propagating columns to the one that generates or kills the carry.
    """
    state = column_state(torch.tensor([a]), torch.tensor([b]))[0].tolist()
    low = column - 1
    while low > 0 and state[low] == PROPAGATE:
        low -= 1
    return range(max(low, 0), min(column, N_DIGITS - 1) + 1)


def chain_table(
    weights: Network, a: int, b: int, focus: Focus, n: int, generator: torch.Generator
) -> pd.DataFrame:
    """Judge `n` random pairs whose carry chain into the focus column has the same length and state.

    Columns of the chain window keep their generate / propagate / kill states, with digits drawn
    uniformly among those of the state; digits elsewhere are uniform.
    """
    state = column_state(torch.tensor([a]), torch.tensor([b]))[0]
    x, y = uniform_pairs(n, generator)
    grid = torch.cartesian_prod(torch.arange(10), torch.arange(10))
    total = grid.sum(dim=1)
    kinds = (total >= 9).long() + (total > 9).long()
    for column in chain_window(a, b, focus.column):
        choices = grid[kinds == state[column]]
        drawn = choices[torch.randint(0, len(choices), (n,), generator=generator)]
        x, y = set_digit(x, column, drawn[:, 0]), set_digit(y, column, drawn[:, 1])
    length = chain_length(torch.tensor([a]), torch.tensor([b]))[0, focus.column]
    kept = chain_length(x, y)[:, focus.column] == length
    return judge(weights, x[kept], y[kept], focus)


def carry_reference_table(
    weights: Network, a: int, b: int, focus: Focus, n: int, generator: torch.Generator
) -> pd.DataFrame:
    """Judge `n` random pairs with the focus column's own digits, for each carry into it.

    They show where the model's evidence for a carry lies without one and with one. Column 0 has no
    carry to compare.
    """
    tables = []
    for carry in (0, 1) if focus.column else (0,):
        x, y = pairs_with_carry(focus.column, torch.full((n,), carry), generator)
        if focus.column < N_DIGITS:
            x = set_digit(x, focus.column, a // 10**focus.column % 10)
            y = set_digit(y, focus.column, b // 10**focus.column % 10)
        tables.append(judge(weights, x, y, focus).assign(carry_in=carry))
    return pd.concat(tables, ignore_index=True)


@dataclass(frozen=True)
class Control:
    """A pair that the model adds and that has the input's true digit in the focus column."""

    name: str
    a: int
    b: int


def choose_controls(
    a: int, b: int, focus: Focus, edits: pd.DataFrame, others: dict[str, pd.DataFrame], n_edits: int
) -> tuple[Control, ...]:
    """Choose pairs to patch from: they pass and have the same true digit in the focus column.

    The best single-digit edit of each column, at most `n_edits` of them, then the best pair of each
    other table; best is the lowest gap, that is, furthest on the right side.

    Args:
        a: First operand of the input.
        b: Second operand of the input.
        focus: The column.
        edits: Table of single-digit edits.
        others: Further tables of judged pairs by name.
        n_edits: How many edits to keep.

    Returns:
        Controls, edits first and the best of them foremost; empty where nothing passes.
    """

    def usable(table: pd.DataFrame) -> list[dict[str, Any]]:
        rows = [
            {str(key): value for key, value in row.items()}
            for row in table.to_dict("records")
            if row["passes"] and row["right_here"] and row["true"] == focus.true
        ]
        rows = [row for row in rows if row["gap"] < focus.gap and (row["a"], row["b"]) != (a, b)]
        return sorted(rows, key=lambda row: row["gap"])

    best: dict[str, dict[str, Any]] = {}
    for row in usable(edits):
        best.setdefault(row["edit_column"], row)
    controls = [
        Control(
            f"{row['operand']}_{row['edit_column']} set to {row['new_digit']}", row["a"], row["b"]
        )
        for row in list(best.values())[:n_edits]
    ]
    for name, table in others.items():
        controls += [Control(name, row["a"], row["b"]) for row in usable(table)[:1]]
    return tuple(controls)


def commuted_table(weights: Network, a: int, b: int, focus: Focus) -> pd.DataFrame:
    """Judge the pair and its commuted form, first the pair itself."""
    return judge(weights, torch.tensor([a, b]), torch.tensor([b, a]), focus)
