"""Many seeds of one parametrisation trained side by side on one stream of sums.

A seed's numbers do not depend on who trains beside it. The kernel gives gradients with respect to
the networks' parts, PyTorch pulls them back to the trained numbers, Adam moves those.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int32, Int64
from torch import Tensor

from model.lanes import LANES
from train.search.config import Recipe
from train.search.kernel import BLOCK, N_POSITIONS, PLACES, SIZES, gradients
from train.search.parametrisations import (
    CIRCLE,
    D_MODEL,
    EPS,
    PERIOD,
    RADIUS,
    Parametrisation,
    arc,
    find_steps,
    shrink,
    step_attention,
)

TILE = 32
"""Seeds that PyTorch's sums take at a time, at most."""


def draw_tokens(recipe: Recipe, step: int) -> Int32[np.ndarray, "group position lane"]:
    """Draw the sums of one step, as tokens."""
    rng = np.random.default_rng([recipe.stream, step])
    n, width = recipe.batch, CIRCLE.width
    at = min(max((step / recipe.steps - 0.25) / 0.5, 0.0), 1.0)
    share = recipe.heavy + (recipe.heavy_last - recipe.heavy) * at
    a, b = rng.integers(0, 10, (2, n, width), dtype=np.int32)
    nine = (rng.random((n, width)) < recipe.propagate) & (rng.random((n, 1)) < share)
    return spell(a, np.where(nine, 9 - a, b))


def spell(
    a: Int32[np.ndarray, "n width"], b: Int32[np.ndarray, "n width"]
) -> Int32[np.ndarray, "group position lane"]:
    """Write digits, units first, and their sums as the kernel reads them."""
    n, width = a.shape
    tokens = np.zeros((n, N_POSITIONS), np.int32)
    tokens[:, :width], tokens[:, width + 1 : 2 * width + 1] = a, b
    carry = np.zeros(n, np.int32)
    start = CIRCLE.n_prompt
    for i in range(width):
        total = a[:, i] + b[:, i] + carry
        carry = (total > 9).astype(np.int32)
        tokens[:, start + i] = total - 10 * carry
    tokens[:, start + width] = carry
    split = tokens.reshape(n // LANES, LANES, N_POSITIONS)
    return np.ascontiguousarray(split.transpose(0, 2, 1))


def to_blocks(
    parametrisation: Parametrisation, numbers: Float[Tensor, "number seed"]
) -> Float[Tensor, "number_2 seed"]:
    """Write the kernel's block of every seed, the pattern by steps (see `spread`)."""
    parts = parametrisation.expand(numbers)
    tokens = arc(parts)
    head = parts["head"]
    pad = torch.zeros(LANES - CIRCLE.vocab_size, numbers.shape[1], dtype=numbers.dtype)
    W_V = parts["W_V"]
    v = shrink(parts) * (tokens[0] * W_V[0] + tokens[1] * W_V[1])
    W_U = [head[i, 0] * tokens[0] + head[i, 1] * tokens[1] for i in range(2)]
    rows = [
        step_attention(parts).flatten(0, 1),
        *(v, pad, tokens[0], pad, tokens[1], pad),
        parts["W_O"],
        parts["W_in"].flatten(0, 1),
        parts["b_in"],
        parts["W_out"].flatten(0, 1),
        *W_U,
    ]
    return torch.cat(rows)


_N_STEPS = CIRCLE.n_answer * PERIOD
_SOURCES = SIZES["pattern"]
_REST = sum(SIZES.values()) - _SOURCES - SIZES["floor"]


def _index() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    steps = find_steps().numpy()
    place = np.where(steps >= 0, steps + PERIOD * np.arange(len(steps))[:, None], -1).ravel()
    seen = np.flatnonzero(place >= 0)
    order = seen[np.argsort(place[seen], kind="stable")]
    kinds, starts = np.unique(place[order], return_index=True)
    return place, order, kinds, starts


_PLACE, _ORDER, _KINDS, _STARTS = _index()


def spread(blocks: Float[Tensor, "number_2 seed"]) -> Float32[np.ndarray, "seed block"]:
    """Lay out what `to_blocks` gives for the kernel, each source with its own attention."""
    rows = blocks.numpy().T.astype(np.float32)
    full = np.zeros((len(rows), BLOCK), np.float32)
    full[:, :_SOURCES] = rows[:, _PLACE] * (_PLACE >= 0)
    full[:, _SOURCES : _SOURCES + _REST] = rows[:, _N_STEPS:]
    full[:, PLACES["floor"]] = RADIUS**2 / D_MODEL + EPS
    return full


def gather(grads: Float32[np.ndarray, "seed block"]) -> Float[Tensor, "number_2 seed"]:
    """Pull a gradient back through `spread`."""
    steps = np.zeros((len(grads), _N_STEPS))
    steps[:, _KINDS] = np.add.reduceat(grads[:, _ORDER], _STARTS, axis=1)
    rest = grads[:, _SOURCES : _SOURCES + _REST]
    return torch.from_numpy(np.ascontiguousarray(np.concatenate([steps, rest], 1).T))


class Group:
    """Seeds in training: numbers, Adam's moments and the step."""

    def __init__(
        self,
        parametrisation: Parametrisation,
        recipe: Recipe,
        numbers: Float[Tensor, "number seed"],
    ) -> None:
        """Begin at the given numbers."""
        self.parametrisation, self.recipe = parametrisation, recipe
        self.n = numbers.shape[1]
        # A sum over rows rounds by where a seed's column falls among the registers': full ones
        # keep a seed's bits free of its company.
        self.numbers = self.fill(numbers)
        self.mean, self.square = torch.zeros_like(self.numbers), torch.zeros_like(self.numbers)
        self.step = 0
        self.loss = np.full(self.n, math.log(10.0))

    def fill(self, numbers: Float[Tensor, "number seed"]) -> Float[Tensor, "number room"]:
        """Repeat seeds until the room is full."""
        room = -(-self.n // TILE) * TILE
        return numbers.to(torch.float64)[:, torch.arange(room) % self.n].contiguous()

    def pick(self, seeds: Int64[np.ndarray, " kept"]) -> "Group":
        """Go on with some of the seeds."""
        group = Group(self.parametrisation, self.recipe, self.numbers[:, seeds])
        group.mean, group.square = (
            group.fill(self.mean[:, seeds]),
            group.fill(self.square[:, seeds]),
        )
        group.step, group.loss = self.step, self.loss[seeds]
        return group

    def gradient(
        self, tokens: Int32[np.ndarray, "group position lane"]
    ) -> tuple[Float64[np.ndarray, " seed"], Float[Tensor, "number room"]]:
        """Compute every seed's loss on a batch and the gradient of its numbers."""
        numbers = self.numbers.detach().requires_grad_()
        blocks = to_blocks(self.parametrisation, numbers)
        loss, grads = gradients(spread(blocks.detach()[:, : self.n]), tokens)
        upstream = torch.zeros_like(blocks)
        upstream[:, : self.n] = gather(grads)
        (grad,) = torch.autograd.grad(blocks, numbers, upstream)
        return loss.astype(np.float64), grad

    def advance(
        self, steps: int, beside: Int32[np.ndarray, "group_2 position lane"] | None = None
    ) -> None:
        """Train on, with the same sums beside those of the stream in every step if they are given.

        A gradient that is not finite counts as zero.
        """
        recipe = self.recipe
        for _ in range(steps):
            tokens = draw_tokens(recipe, self.step)
            if beside is not None:
                tokens = np.concatenate([tokens, beside])
            loss, grad = self.gradient(tokens)
            grad = torch.nan_to_num(grad, 0.0, 0.0, 0.0)
            norm = grad.square().sum(0).sqrt()
            grad = grad * (recipe.clip / norm.clamp(min=recipe.clip))
            self.step += 1
            self.mean.mul_(0.9).add_(grad, alpha=0.1)
            self.square.mul_(0.99).addcmul_(grad, grad, value=0.01)
            done = min(self.step / recipe.steps, 1.0)
            low = recipe.final
            lr = recipe.lr * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * done)))
            mean = self.mean / (1 - 0.9**self.step)
            root = (self.square / (1 - 0.99**self.step)).sqrt() + 1e-8
            self.numbers -= lr * mean / root
            self.loss = self.loss + 0.01 * (loss - self.loss)
