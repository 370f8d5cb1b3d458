"""Train one network on its own extreme pairs until none of its contexts fails.

Between two looks a batch holds the pairs whose contexts have the smallest margins, and carry-heavy
and uniform sums beside them, so that what is right stays right.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from train.search.config import Polish, Recipe
from train.search.contexts import extremes_of, judge, margins
from train.search.group import Group, spell
from train.search.minimax import raise_margin
from train.search.parametrisations import CIRCLE, Parametrisation

FEW = 200
"""Failing contexts up to which raising the least margin is worth its time."""


@dataclass(frozen=True, kw_only=True)
class Polished:
    """What came out."""

    numbers: Float[Tensor, " number"]
    """The best found: fewest failing contexts, then the largest least margin."""
    failing: int
    """Contexts with a wrong digit somewhere."""
    margin: float
    """Least margin over all contexts; see `train.search.contexts.margins`."""
    step: int
    """When it was found."""


def polish(
    parametrisation: Parametrisation,
    numbers: Float[Tensor, " number"],
    config: Polish,
    *,
    stream: int = 0,
    report: Callable[[int, int, float], None] = lambda step, failing, margin: None,
) -> Polished:
    """Train on the extreme pairs, found anew again and again.

    Args:
        parametrisation: What the numbers mean.
        numbers: A network that mostly adds.
        config: How.
        stream: Seed of the sums beside the extreme pairs.
        report: Hears of each look: step, failing contexts, least margin.

    Returns:
        The best network seen.
    """
    recipe = Recipe(
        steps=config.polish_steps,
        lr=config.polish_lr,
        batch=config.beside,
        heavy=0.5,
        heavy_last=0.5,
        stream=stream,
    )
    group = Group(parametrisation, recipe, numbers[:, None])
    best = Polished(numbers=numbers, failing=10**6, margin=-math.inf, step=0)
    for step in range(0, config.polish_steps + 1, config.look_every):
        now = group.numbers[:, 0].clone()
        contexts = extremes_of(parametrisation, now)
        with torch.no_grad():
            least = margins(parametrisation, now, contexts, inside=15).amin(0)[0::2]
        failing, margin = int((least <= 0).sum()), float(least.min())
        report(step, failing, margin)
        if (failing, -margin) < (best.failing, -best.margin):
            best = Polished(numbers=now, failing=failing, margin=margin, step=step)
        if margin >= config.target or step == config.polish_steps:
            break
        tokens = contexts.pick(least.argsort()[: config.hardest]).tokens.numpy().astype(np.int32)
        width = CIRCLE.width
        hard = spell(tokens[:, :width], tokens[:, width + 1 : 2 * width + 1])
        group.advance(config.look_every, hard)
    return best


def finish(
    parametrisation: Parametrisation, numbers: Float[Tensor, " number"], config: Polish
) -> Polished:
    """Polish, then raise the least margin where few contexts still fail."""
    found = polish(parametrisation, numbers, config)
    if found.failing > FEW or found.margin >= config.target:
        return found
    raised, _ = raise_margin(
        parametrisation, found.numbers, steps=config.margin_steps, goal=config.target
    )
    least = judge(parametrisation, raised).amin(0)[0::2]
    failing, margin = int((least <= 0).sum()), float(least.min())
    return Polished(numbers=raised, failing=failing, margin=margin, step=found.step)
