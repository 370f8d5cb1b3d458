"""A portrait as data: what a component reads and writes, measured."""

from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.anatomy import Component
from model.layouts import WRITE_UPS, Layout


@dataclass(frozen=True)
class Result:
    """Portrait of one component.

    Attributes:
        layout: The task.
        matrix: The matrix, with its head where there are several.
        name: Matrix and place.
        weight: Singular value.
        reads: Reading of every (position, token) before attention, or an empty table after it.
        shares: What the reading varies with: shares of variance of position, token and both
            together, and R^2 of a line through the digits; after attention, R^2 of each feature.
        key_reads: W_QK: the same readings on the key side.
        writes: Logits that the writing direction adds, per token, last norm's gain applied; W_Q,
            W_K and W_QK write no logits and have none. Neurons for W_in and W_gate.
        written: What they are.
        roles: W_QK: mean score that the component adds per role of the source, less the mean over
            sources; W_OV, W_KV, W_V: standard deviation of what comes from each role, attention
            applied. Empty for the others.
        by_class: Forced error per (digit sum, carry in) with the component replaced.
        by_column: Digits right per answer column, true digits fed back, with the component
            replaced (`value`, with interval) and without (`value_intact`).
    """

    layout: Layout
    matrix: str
    name: str
    weight: float
    reads: Float[Tensor, "pos_or_none vocab"]
    key_reads: Float[Tensor, "key_pos_or_none vocab"]
    shares: dict[str, float]
    writes: Float[Tensor, " out"]
    written: list[str]
    roles: dict[str, float]
    by_class: Float[Tensor, "sum carry"]
    by_column: pd.DataFrame


def writes_tokens(result: Result) -> bool:
    """Say whether the component writes logits of tokens, and not to neurons."""
    return result.matrix not in ("W_in", "W_gate")


def directions(part: Component) -> tuple[Float[Tensor, " m"], Float[Tensor, " n"]]:
    """Give the leading reading and writing direction of a component; their product leads it."""
    U, S, Vh = torch.linalg.svd(part.term, full_matrices=False)
    sign = 1.0 if float(Vh[0, Vh[0].abs().argmax()]) > 0 else -1.0
    return sign * U[:, 0] * S[0].sqrt(), sign * Vh[0] * S[0].sqrt()


def variance_shares(
    table: Float[Tensor, "pos vocab"], layout: Layout = WRITE_UPS
) -> dict[str, float]:
    """Split the variance of a table over positions and digit tokens.

    Returns:
        Shares of "position", "token" and "interaction" (they sum to 1), and "digit line": R^2 of a
        line through the position-averaged digits.
    """
    x = table[:, digit_tokens(layout)].double()
    x = x - x.mean()
    total = float((x**2).mean())
    if total == 0:
        return {"position": 0.0, "token": 0.0, "interaction": 0.0, "digit line": 0.0}
    position, token = x.mean(dim=1), x.mean(dim=0)
    rest = x - position[:, None] - token
    parts = {"position": position, "token": token, "interaction": rest}
    shares = {name: float((value**2).mean()) / total for name, value in parts.items()}
    return shares | {"digit line": linear_fit(torch.arange(layout.base).double(), token)}


def digit_tokens(layout: Layout) -> slice:
    """Give the tokens that are digits."""
    return slice(layout.first_digit, layout.first_digit + layout.base)


def linear_fit(x: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> float:
    """R^2 of a straight line; 0 where either is constant."""
    x, y = x - x.mean(), y - y.mean()
    if float(x.norm()) == 0 or float(y.norm()) < 1e-12:
        return 0.0
    return float((x @ y) ** 2 / ((x @ x) * (y @ y)))


def class_fit(classes: Int[Tensor, " n"], y: Float[Tensor, " n"]) -> float:
    """Share of the variance of `y` that lies between classes (eta squared)."""
    y = y - y.mean()
    total = float(y @ y)
    if total == 0:
        return 0.0
    size = int(classes.max()) + 1
    sums = torch.zeros(size, dtype=y.dtype).index_add_(0, classes, y)
    return float((sums**2 / torch.bincount(classes, minlength=size).clamp(min=1)).sum()) / total
