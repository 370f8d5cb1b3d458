"""All seeds of a sweep at once on a GPU: one launch, one block of threads a seed, many steps.

The blocks never wait for each other, so that seeds may stand at different steps: those that start
over go on beside the others.
"""

import importlib
import inspect
import math
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import numba
import numpy as np

from model.config import ModelConfig
from model.errors import InputError
from model.task import N_INPUT
from train.batches import seed_key
from train.blocks import one_thread
from train.blocks.layout import BlockLayout, Target
from train.blocks.step import build_block_step
from train.config import TrainConfig
from train.engine import State
from train.schedule import SHARE_UNIT, schedule

MAX_REGISTERS = 168
"""Of a thread, so that three blocks of 128 threads share a processor of 65,536."""
_GIVEN = ("counts", "firsts", "words", "params", "mean", "square")
LAUNCH_STEPS = 20_000
"""Most steps of one launch, so that an interruption is heard."""


def gpu_blocks_available() -> bool:
    """Tell whether Numba finds a GPU and what it needs to compile for it."""
    try:
        return bool(_numba_cuda().is_available())
    except ImportError:
        return False


def _numba_cuda() -> Any:
    """Import on demand: it looks for drivers, and its stubs do not know what it accepts."""
    return importlib.import_module("numba.cuda")


@cache
def _compiled(model: ModelConfig, batch: int, device: str) -> tuple[BlockLayout, Any]:
    if device == "cpu":
        lay = BlockLayout(model, 1, batch)
        return lay, build_block_step(lay, Target(one_thread.jit, one_thread))
    cuda = _numba_cuda()
    # A small sweep cannot fill a GPU; Numba would say so at every launch.
    warnings.filterwarnings("ignore", message=".*Grid size.*under-utilization")
    lay = BlockLayout.fit(model, batch)
    device_jit = cuda.jit(device=True, fastmath=True)
    step = build_block_step(lay, Target(lambda body: device_jit(inspect.unwrap(body)), cuda))
    n_shared, kind = lay.n_shared, numba.float32

    @cuda.jit(fastmath=True, max_registers=MAX_REGISTERS)
    def kernel(
        batch, counts, firsts, keys, share,
        scratch, tokens, params, mean, square, schedule, losses, decay, clip,
    ):  # fmt: skip
        seed = cuda.blockIdx.x
        step(
            cuda.threadIdx.x, cuda.blockDim.x, batch, counts[seed], firsts[seed],
            keys[seed, 0], keys[seed, 1], share, cuda.shared.array(n_shared, kind),
            scratch[seed], tokens[seed], params[seed], mean[seed], square[seed],
            schedule, losses[seed], decay, clip,
        )  # fmt: skip

    return lay, kernel


class BlockEngine:
    """Trains many seeds of one recipe, each in a block of its own; see `train.blocks.step`."""

    name = "block"
    in_step = False
    """Whether all states must stand at the same step."""

    def __init__(self, model: ModelConfig, config: TrainConfig, device: str = "cuda") -> None:
        """Compile the kernel (once a process, shape and batch).

        Args:
            model: The network.
            config: The recipe.
            device: "cuda", or "cpu" for a block of one thread, which tests the same code.

        Raises:
            InputError: A recipe with extra cases, or a network too wide for a block.
        """
        if config.extra_share > 0:
            raise InputError("the batched engine draws no extra cases: leave out extra_share")
        self.model, self.config, self.device = model, config, device
        self.layout, self._kernel = _compiled(model, config.batch, device)
        self._rows = schedule(config, 0, config.steps)
        self._memory: dict[str, Any] = {}

    def run(
        self, states: Sequence[State], seeds: Sequence[int], counts: Sequence[int]
    ) -> list[np.ndarray]:
        """Take `counts` steps of every state; gives each one's losses."""
        n, most = len(states), max(counts)
        held = [
            np.stack([getattr(state, name) for state in states]).astype(np.float32)
            for name in ("params", "mean", "square")
        ]
        losses = np.zeros((n, most), np.float32)
        words = np.array([seed_key(seed) for seed in seeds], np.uint64)
        taken = np.zeros(n, np.int64)
        goal, first = np.array(counts, np.int64), np.array([s.step for s in states], np.int64)
        launch = self._launch_cpu if self.device == "cpu" else self._launch_cuda
        for start in range(0, most, LAUNCH_STEPS):
            due = np.clip(goal - taken, 0, LAUNCH_STEPS)
            part = np.zeros((n, min(LAUNCH_STEPS, most - start)), np.float32)
            launch(due, first + taken, words, held, part)
            losses[:, start : start + part.shape[1]] = part
            taken += due
        for i, state in enumerate(states):
            state.params[:], state.mean[:], state.square[:] = (x[i] for x in held)
            state.step += counts[i]
        return [row[:count] for row, count in zip(losses, counts, strict=True)]

    def _constants(self) -> tuple[np.float32, np.float32]:
        return np.float32(self.config.weight_decay), np.float32(self.config.clip)

    @property
    def _share(self) -> np.uint64:
        return np.uint64(math.floor(self.config.propagate * SHARE_UNIT))

    def _launch_cpu(
        self,
        counts: np.ndarray,
        firsts: np.ndarray,
        words: np.ndarray,
        held: list[np.ndarray],
        losses: np.ndarray,
    ) -> None:
        lay, batch = self.layout, self.config.batch
        shared, scratch = np.zeros(lay.n_shared, np.float32), np.zeros(lay.n_scratch, np.float32)
        tokens = np.zeros((N_INPUT, batch), np.uint8)
        for i, (low, high) in enumerate(words):
            own = [x[i] for x in held]
            self._kernel(
                0, 1, batch, counts[i], firsts[i], low, high, self._share, shared, scratch,
                tokens, *own, self._rows, losses[i], *self._constants(),
            )  # fmt: skip

    def _launch_cuda(
        self,
        counts: np.ndarray,
        firsts: np.ndarray,
        words: np.ndarray,
        held: list[np.ndarray],
        losses: np.ndarray,
    ) -> None:
        n, lay = len(counts), self.layout
        memory = self._reserve(n)
        stream = memory["stream"]
        given = (counts, firsts, words, *held)
        on_device = [memory[name][:n] for name in _GIVEN]
        for there, here in zip(on_device, given, strict=True):
            there.copy_to_device(here, stream)
        drawn = memory["losses"][: losses.size].reshape(losses.shape)
        self._kernel[n, lay.threads, stream](
            self.config.batch, *on_device[:3], self._share, memory["scratch"], memory["tokens"],
            *on_device[3:], memory["rows"], drawn, *self._constants(),
        )  # fmt: skip
        stream.synchronize()
        for there, here in zip((*on_device[3:], drawn), (*held, losses), strict=True):
            there.copy_to_host(here, stream)
        stream.synchronize()

    def _reserve(self, n: int) -> dict[str, Any]:
        """Reserve device memory for `n` seeds, once: doing so would wait for other programs."""
        cuda = _numba_cuda()
        if self._memory.get("seeds", 0) < n:
            width, reserve = (n, self.layout.n_params), cuda.device_array
            self._memory = {
                "seeds": n,
                "stream": cuda.stream(),
                "rows": cuda.to_device(self._rows),
                "scratch": reserve((n, self.layout.n_scratch), np.float32),
                "tokens": reserve((n, N_INPUT, self.config.batch), np.uint8),
                "losses": reserve(n * LAUNCH_STEPS, np.float32),
                "counts": reserve(n, np.int64),
                "firsts": reserve(n, np.int64),
                "words": reserve((n, 2), np.uint64),
                **{k: reserve(width, np.float32) for k in ("params", "mean", "square")},
            }
        return self._memory
