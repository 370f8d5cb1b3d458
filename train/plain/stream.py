"""The pairs of a step: a pure function of seed and step, in the digits of any layout."""

import numpy as np
import torch

from model.layouts import Layout
from model.task import Pairs
from train.plain.config import Recipe
from train.schedule import HEAVY, SHARE_UNIT


def draw_pairs(layout: Layout, seed: int, step: int, row: np.ndarray, recipe: Recipe) -> Pairs:
    """Draw one step's pairs.

    Every digit is uniform. In a carry-heavy example each column becomes a propagating one,
    b_i = base - 1 - a_i, with probability `propagate`. In a short one the digits above a uniform
    length, the same for both operands, are zero.

    Args:
        layout: The task.
        seed: The run's seed.
        step: Counted from 0.
        row: The step's row of `train.schedule.schedule`.
        recipe: Size and mixture of the batch.

    Returns:
        Operands a and b.
    """
    # A step has a word of Philox' counter for itself, so that streams never overlap.
    random = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, step, 0]))
    width, base, batch = layout.width, layout.base, recipe.batch
    a, b = random.integers(0, base, (2, batch, width))
    is_heavy = random.random((batch, 1)) < row[HEAVY] / SHARE_UNIT
    b = np.where(is_heavy & (random.random((batch, width)) < recipe.propagate), base - 1 - a, b)
    is_short = random.random((batch, 1)) < recipe.short
    length = np.where(is_short, random.integers(1, width + 1, (batch, 1)), width)
    inside = np.arange(width) < length
    powers = base ** np.arange(width, dtype=np.int64)
    values = [torch.from_numpy(np.where(inside, x, 0) @ powers) for x in (a, b)]
    return values[0], values[1]
