"""What did the model take for a carry? An input's place between no carry and a carry.

Reference inputs share the column's own digits; those without a carry into it and those with one
mark the two ends of the model's evidence. The Shapley values of the other columns' digits, each
column a player that replaces the reference's digits by the input's, say which moved it there.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.anatomy import logit_gap, trace_column
from interp.failure_diff.columns import Focus
from model.network import Network
from model.task import (
    N_DIGITS,
    N_INPUT,
    N_PROMPT,
    a_position,
    b_position,
    encode,
    query_position,
)

PLAYERS = ("column below", "two below", "column above", "all others")
"""Columns i-1, i-2, i+1 and the rest; a player holds a column's operand digits and answer digit."""


@dataclass(frozen=True)
class CarryScale:
    """Where an input stands on the model's own scale from no carry (0) to carry (1).

    Attributes:
        without: Mean gap of reference inputs without a carry into the column.
        with_carry: Mean gap of those with one.
        without_range: 2.5 and 97.5 % quantiles of the reference gaps without a carry.
        with_range: The same with a carry.
        position: Where the input's gap lies, 0 at `without`, 1 at `with_carry`.
        boundary: Where a gap of 0, that is, the change of answer, lies.
        n: Reference inputs on each side.
    """

    without: float
    with_carry: float
    without_range: tuple[float, float]
    with_range: tuple[float, float]
    position: float
    boundary: float
    n: tuple[int, int]


def carry_scale(references: pd.DataFrame, gap: float) -> CarryScale | None:
    """Place a gap on the scale that the references span; None where a carry makes no difference.

    Args:
        references: Rows of carry_in and gap (`controls.carry_reference_table`).
        gap: Rival less true logit of the input.
    """
    gaps, carry = references["gap"].to_numpy(), references["carry_in"].to_numpy()
    off, on = gaps[carry == 0], gaps[carry == 1]
    if not len(off) or not len(on):
        return None
    span = float(on.mean() - off.mean())
    if abs(span) < 1e-12:
        return None

    def middle(values: np.ndarray) -> tuple[float, float]:
        low, high = np.quantile(values, (0.025, 0.975))
        return float(low), float(high)

    return CarryScale(
        without=float(off.mean()),
        with_carry=float(on.mean()),
        without_range=middle(off),
        with_range=middle(on),
        position=float((gap - off.mean()) / span),
        boundary=float(-off.mean() / span),
        n=(len(off), len(on)),
    )


def player_masks(column: int) -> Bool[Tensor, "player pos"]:
    """Mark the positions of each player's tokens; the focus column's own belong to none."""
    masks = torch.zeros(len(PLAYERS), N_INPUT, dtype=torch.bool)
    for j in range(N_DIGITS):
        if j == column:
            continue
        player = {-1: 0, -2: 1, 1: 2}.get(j - column, 3)
        positions = [a_position(j), b_position(j), N_PROMPT + j]
        for position in positions:
            if position <= query_position(column):
                masks[player, position] = True
    return masks


def column_shapley(
    weights: Network, a: int, b: int, focus: Focus, references: pd.DataFrame
) -> pd.DataFrame:
    """Split the gap between the input and the mean reference over the other columns' digits.

    The value of a set of players is the mean gap when their tokens are the input's and all others
    the reference's. Only references with the input's own carry are used, so that the true digit
    stays the same.

    Args:
        weights: The network.
        a: First operand of the input.
        b: Second operand of the input.
        focus: The column.
        references: Rows of a, b and true (`controls.carry_reference_table`).

    Returns:
        Rows of player, contribution and its standard error over references; the contributions sum
        to `gap` - `baseline`, which are repeated in every row.
    """
    own = encode(torch.tensor([a]), torch.tensor([b]))
    fit = references[references["true"] == focus.true]
    if not len(fit):
        return pd.DataFrame(columns=["player", "contribution", "error", "gap", "baseline"])
    other = encode(torch.tensor(fit["a"].tolist()), torch.tensor(fit["b"].tolist()))
    masks = player_masks(focus.column)
    n = len(PLAYERS)
    values: dict[tuple[int, ...], Float[Tensor, " batch"]] = {}
    for size in range(n + 1):
        for team in itertools.combinations(range(n), size):
            taken = masks[list(team)].any(dim=0) if team else torch.zeros(N_INPUT).bool()
            values[team] = _gaps(weights, _mix(own, other, taken), focus)
    rows = []
    for player in range(n):
        share = torch.zeros_like(values[()])
        for team, value in values.items():
            if player in team:
                continue
            weight = math.factorial(len(team)) * math.factorial(n - len(team) - 1)
            joined = tuple(sorted((*team, player)))
            share = share + weight / math.factorial(n) * (values[joined] - value)
        error = float(share.std() / math.sqrt(len(share))) if len(share) > 1 else math.nan
        rows.append((PLAYERS[player], float(share.mean()), error))
    table = pd.DataFrame(rows, columns=["player", "contribution", "error"])
    everyone = values[tuple(range(n))]
    return table.assign(gap=float(everyone.mean()), baseline=float(values[()].mean()))


def _mix(
    own: Int[Tensor, "1 pos"], other: Int[Tensor, "batch pos"], taken: Bool[Tensor, " n"]
) -> Int[Tensor, "batch pos"]:
    mixed = other.clone()
    positions = torch.nonzero(taken)[:, 0]
    mixed[:, positions] = own[:, positions]
    return mixed


def _gaps(
    weights: Network, tokens: Int[Tensor, "batch pos"], focus: Focus
) -> Float[Tensor, " batch"]:
    logits = trace_column(weights, tokens, focus.column)["logits"]
    return logit_gap(logits, focus.rival, focus.true)
