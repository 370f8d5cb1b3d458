"""Raise the least margin over all contexts: a sequence of linear programs in float64.

Each step linearises the smallest margins in the trained numbers, moves within a box to where the
least of them is largest, and keeps the move where the true least margin (over all contexts, at
their extremes found anew) has grown; otherwise the box shrinks.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linprog
from torch import Tensor

from train.search.contexts import Contexts, extremes_of, judge, margins
from train.search.parametrisations import Parametrisation

INSIDE = 5
"""Points between the ends of a context that are linearised."""


def raise_margin(
    parametrisation: Parametrisation,
    numbers: Float[Tensor, " number"],
    *,
    steps: int = 60,
    box: float = 1e-3,
    hardest: int = 500,
    goal: float = float("inf"),
    report: Callable[[int, float, float], None] = lambda step, margin, box: None,
) -> tuple[Float[Tensor, " number"], float]:
    """Move the numbers to where the least margin is larger.

    Args:
        parametrisation: What the numbers mean.
        numbers: A network that mostly adds.
        steps: Linear programs at most.
        box: First bound of a move, relative to each number.
        hardest: How many contexts a program holds, those of smallest margin.
        goal: Least margin at which to stop.
        report: Hears of each step: its number, the least margin, the box.

    Returns:
        The numbers and their least margin.
    """
    current, least = numbers.clone(), float(judge(parametrisation, numbers).min())
    for step in range(steps):
        if least >= goal or box < 1e-7:
            break
        moved = current + _solve(parametrisation, current, hardest, box)
        found = float(judge(parametrisation, moved).min())
        if found > least:
            current, least, box = moved, found, min(box * 1.5, 0.2)
        else:
            box *= 0.4
        report(step, least, box)
    return current, least


def _solve(
    parametrisation: Parametrisation,
    numbers: Float[Tensor, " number"],
    hardest: int,
    box: float,
) -> Float[Tensor, " number"]:
    contexts = extremes_of(parametrisation, numbers)
    with torch.no_grad():
        points = margins(parametrisation, numbers, contexts, inside=INSIDE)
    order = points.amin(0)[0::2].argsort()[:hardest]
    kept = contexts.pick(order)
    value, slope = _linearise(parametrisation, numbers, kept)
    n = len(numbers)
    # Unknowns: the move in units of `bound`, and the least margin t; t - slope move <= value.
    bound = box * (numbers.abs().numpy() + 0.1)
    solved = linprog(
        np.r_[np.zeros(n), -1.0],
        A_ub=np.c_[-slope * bound, np.ones(len(value))],
        b_ub=value,
        bounds=[(-1.0, 1.0)] * n + [(None, None)],
    )
    return torch.from_numpy(solved.x[:n] * bound) if solved.success else torch.zeros_like(numbers)


def _linearise(
    parametrisation: Parametrisation, numbers: Float[Tensor, " number"], contexts: Contexts
) -> tuple[np.ndarray, np.ndarray]:
    def at(x: Tensor) -> Tensor:
        return margins(parametrisation, x, contexts, inside=INSIDE)[:, 0::2].flatten()

    slopes = [
        torch.func.jvp(at, (numbers,), (unit,))[1]
        for unit in torch.eye(len(numbers), dtype=numbers.dtype)
    ]
    return at(numbers).numpy(), torch.stack(slopes, 1).numpy()
