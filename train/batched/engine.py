"""All seeds of a sweep in one program: parameters stacked over seeds, data drawn on the device.

The same steps as the reference engine, vectorised over seeds with torch.func; on a GPU one step is
captured in a CUDA graph and replayed, so that no kernel waits for Python.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.adder import forward
from model.config import ModelConfig, param_shapes
from model.errors import InputError
from model.factored import Params
from model.task import N_DIGITS, N_INPUT, N_PROMPT, lay_out
from train.batches import MULTIPLIERS, ROUNDS, WEYL, seed_key
from train.config import ADAM_EPS, BETA_1, BETA_2, TrainConfig
from train.engine import State
from train.schedule import (
    HEAVY,
    INV_BIAS_1,
    INV_ROOT_BIAS_2,
    LR,
    MAX_DIGITS,
    SHARE_UNIT,
    SHIFT,
    schedule,
)

_LOW = 0xFFFFFFFF


def multiply_wide(x: Int[Tensor, "*n"], factor: int) -> tuple[Int[Tensor, "*n"], Int[Tensor, "*n"]]:
    """Multiply 32-bit words by a 32-bit constant; gives high and low word, all held in int64."""
    low, high = x * (factor & 0xFFFF), x * (factor >> 16)
    return ((low >> 16) + high) >> 16, (low + (high << 16)) & _LOW


def philox(
    counter: Sequence[Int[Tensor, "*n"]], key: Sequence[Int[Tensor, "*m"]]
) -> list[Int[Tensor, "..."]]:
    """Compute Philox-4x32-7 as `train.batches.philox` does, with keys that may differ by row."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        high_0, low_0 = multiply_wide(c0, MULTIPLIERS[0])
        high_1, low_1 = multiply_wide(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
        k0, k1 = (k0 + WEYL[0]) & _LOW, (k1 + WEYL[1]) & _LOW
    return [c0, c1, c2, c3]


def draw_tokens(
    key: tuple[Int[Tensor, "seed 1"], Int[Tensor, "seed 1"]],
    step: Int[Tensor, ""],
    batch: int,
    row: Float[Tensor, " column"],
    propagate: float,
) -> Int[Tensor, "seed batch 34"]:
    """Draw the batch of one step for every seed; see `train.batches.draw_batch`."""
    example = torch.arange(batch, device=step.device).expand(key[0].shape[0], batch)
    zero = torch.zeros_like(example)
    blocks = [philox((example, zero + i, zero + step, zero), key) for i in range(6)]
    kind, length_word, _, start_word = blocks[0]
    is_heavy = (kind >> 8) < row[HEAVY].long()
    length = 1 + ((length_word >> 8) * row[MAX_DIGITS].long() >> 24)
    scaled = (torch.stack([word for block in blocks[1:] for word in block], dim=-1) >> 8) * 10
    digit, coin = scaled >> 24, scaled & (SHARE_UNIT - 1)
    a, b = digit[..., :N_DIGITS], digit[..., N_DIGITS:]
    turned = is_heavy[..., None] & (coin[..., N_DIGITS:] < int(propagate * SHARE_UNIT))
    b = torch.where(turned, 9 - a, b)
    column = torch.arange(N_DIGITS, device=step.device)
    places = row[SHIFT].long() * (N_DIGITS + 1 - length)
    start = ((start_word >> 8) * places >> 24)[..., None]
    inside = (column >= start) & (column < start + length[..., None])
    weight = torch.where(inside, 10**column, 0)
    pairs = ((x * weight).sum(-1).flatten() for x in (a, b))
    return lay_out(*pairs).view(*example.shape, -1)


class BatchedEngine:
    """Trains many seeds of one recipe together."""

    name = "batched"
    in_step = True
    """Whether all states must stand at the same step."""

    def __init__(self, model: ModelConfig, config: TrainConfig, device: str = "cpu") -> None:
        """Keep what a step needs.

        Raises:
            InputError: The recipe asks for extra cases, which this engine does not draw.
        """
        if config.extra_share > 0:
            raise InputError("the batched engine draws no extra cases: leave out extra_share")
        self.model, self.config, self.device = model, config, torch.device(device)
        self.shapes = param_shapes(model)

    def key(self, seeds: Sequence[int]) -> tuple[Int[Tensor, "seed 1"], Int[Tensor, "seed 1"]]:
        """Give the two words of every seed's Philox key."""
        keys = torch.tensor([seed_key(seed) for seed in seeds], device=self.device)
        return keys[:, :1], keys[:, 1:]

    def run(
        self, states: Sequence[State], seeds: Sequence[int], counts: Sequence[int]
    ) -> list[np.ndarray]:
        """Take as many steps of every state, all at the same step; gives each one's losses."""
        start, (n_steps,), key = states[0].step, set(counts), self.key(seeds)
        params, mean, square = flats = [
            torch.tensor(np.stack([getattr(state, name) for state in states]), device=self.device)
            for name in ("params", "mean", "square")
        ]
        rows = torch.from_numpy(schedule(self.config, start, n_steps)).to(self.device)
        losses = torch.zeros(n_steps, len(states), device=self.device)
        index = torch.zeros((), dtype=torch.int64, device=self.device)

        def step() -> None:
            row = rows.index_select(0, index[None])[0]
            loss = self._step(key, params, mean, square, start + index, row)
            losses.index_copy_(0, index[None], loss[None])
            index.add_(1)

        replay = (
            self._capture(step, [*flats, losses, index]) if self.device.type == "cuda" else step
        )
        for _ in range(n_steps):
            replay()
        for name, flat in zip(("params", "mean", "square"), flats, strict=True):
            for state, values in zip(states, flat.cpu().numpy(), strict=True):
                getattr(state, name)[:] = values
        for state in states:
            state.step += n_steps
        return list(losses.T.cpu().numpy())

    def _step(
        self,
        key: tuple[Int[Tensor, "seed 1"], Int[Tensor, "seed 1"]],
        params: Float[Tensor, "seed n"],
        mean: Float[Tensor, "seed n"],
        square: Float[Tensor, "seed n"],
        step: Int[Tensor, ""],
        row: Float[Tensor, " column"],
    ) -> Float[Tensor, " seed"]:
        """Take one step of all seeds in place."""
        config = self.config
        tokens = draw_tokens(key, step, config.batch, row, config.propagate)
        grad, loss = torch.func.vmap(torch.func.grad_and_value(self._loss))(params, tokens)
        norm = grad.norm(dim=1, keepdim=True)
        grad = grad * (config.clip / (norm + 1e-6)).clamp(max=1.0)
        mean.mul_(BETA_1).add_(grad, alpha=1 - BETA_1)
        square.mul_(BETA_2).addcmul_(grad, grad, value=1 - BETA_2)
        root = square.sqrt() * row[INV_ROOT_BIAS_2] + ADAM_EPS
        params.mul_(1 - row[LR] * config.weight_decay)
        params.sub_(row[LR] * row[INV_BIAS_1] * mean / root)
        return loss

    def _loss(self, flat: Float[Tensor, " n"], tokens: Int[Tensor, "batch 34"]) -> Tensor:
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        parts = zip(self.shapes.items(), flat.split(sizes), strict=True)
        params: Params = {name: part.view(shape) for (name, shape), part in parts}
        logits = forward(params, self.model, tokens[:, :N_INPUT])[:, N_PROMPT - 1 :]
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), tokens[:, N_PROMPT:].flatten()
        )

    def _capture(self, step: Callable[[], None], touched: Sequence[Tensor]) -> Callable[[], None]:
        """Record one step in a CUDA graph, leaving the tensors that it touches as they were."""
        kept = [tensor.clone() for tensor in touched]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        for tensor, value in zip(touched, kept, strict=True):
            tensor.copy_(value)
        return graph.replay
