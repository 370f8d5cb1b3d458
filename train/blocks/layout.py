"""Where a block of threads keeps everything: weights, sums and tables in shared memory."""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from model.config import VOCAB_SIZE, ModelConfig, param_shapes, qkv_names
from model.errors import InputError
from model.task import N_DIGITS, N_INPUT, N_TARGET

MATRICES = ("W_pos", "W_Q", "W_K", "W_V", "W_O", "W_in", "W_out")
N_ROWS = N_INPUT * N_DIGITS
"""Rows of the tables over (position, digit); `+` and `=` take the row of digit 0."""
SHARED_BYTES = 48 * 1024
"""What every GPU gives a block without being asked."""


class Target(NamedTuple):
    """What differs between a CPU and a GPU."""

    jit: Callable[..., Any]
    cuda: ModuleType
    """numba.cuda, or what stands in for it."""


def fits_block(config: ModelConfig, batch: int) -> bool:
    """Tell whether a network's step fits into the memory of one block."""
    try:
        BlockLayout.fit(config, batch)
    except InputError:
        return False
    return True


class BlockLayout:
    """Offsets into shared and scratch memory for one configuration and number of threads."""

    def __init__(self, config: ModelConfig, threads: int, batch: int) -> None:
        """Lay everything out.

        Args:
            config: The network.
            threads: Threads of the block.
            batch: Pairs a step.
        """
        d, f = config.d_model, config.d_ff
        self.config, self.threads, self.batch = config, threads, batch
        self.d_model, self.d_ff, self.eps = d, f, config.eps
        self.n_bias = 1 if config.norm == "layer" else 0
        self._size = 0
        self._lay_out_parameters()
        self.W_E = self._take(VOCAB_SIZE * d)
        self.gain = self._take(self.n_gains)
        shapes = {
            "W_pos": (config.n_ctx, d),
            **dict.fromkeys(("W_Q", "W_K", "W_V", "W_O"), (d, d)),
            "W_in": (d, f),
            "W_out": (f, d),
        }
        at = {name: self._take(math.prod(shapes[name])) for name in MATRICES}
        self.W_pos, self.W_Q, self.W_K, self.W_V, self.W_O, self.W_in, self.W_out = at.values()
        grads = {name: self._take(math.prod(shapes[name])) for name in MATRICES}
        (
            self.G_pos, self.G_Q, self.G_K, self.G_V, self.G_O, self.G_in, self.G_out
        ) = grads.values()  # fmt: skip
        self.plan = self._plan(shapes, at, grads)
        self._lay_out_sums()
        self.moments = self._take(3 * (d + 1) * d)
        """Sums of xhat (and of 1) times the gradients at queries, keys and values."""
        self.grad = self._take(self.n_params)
        self.table_width = 2 * d + 1
        """Odd, so that rows of different digits lie in different banks."""
        self.table = self._take(N_ROWS * self.table_width)
        self.stage = self._take(self.n_stage * (threads + 1))
        self.n_shared = self._size
        self._lay_out_scratch()

    @classmethod
    def fit(cls, config: ModelConfig, batch: int) -> "BlockLayout":
        """Choose the most threads whose memory fits into a block's.

        Raises:
            InputError: Not even one warp fits.
        """
        for threads in (256, 128, 64, 32):
            lay = cls(config, threads, batch)
            if lay.n_shared * 4 <= SHARED_BYTES and threads <= max(32, batch):
                return lay
        raise InputError(f"a network with d_model {config.d_model} does not fit into a GPU block")

    def _take(self, n: int) -> int:
        start = self._size
        self._size += n
        return start

    def _lay_out_parameters(self) -> None:
        shapes = param_shapes(self.config)
        self.offsets, self.shapes, total = {}, shapes, 0
        for name, shape in shapes.items():
            self.offsets[name] = total
            total += math.prod(shape)
        self.n_params = total
        kinds = ("w", "b") if self.n_bias else ("w",)
        names = [f"{norm}_{kind}" for kind in kinds for norm in ("ln1", "ln2", "ln_final")]
        self.gains_at = np.concatenate(
            [self.offsets[name] + np.arange(self.d_model) for name in names]
        ).astype(np.int32)
        self.n_gains = len(self.gains_at)

    def _plan(
        self, shapes: dict[str, tuple[int, int]], at: dict[str, int], grads: dict[str, int]
    ) -> np.ndarray:
        """Tabulate for each matrix: rows, columns, rank, its factors, its place, its gradient's."""
        factors: dict[str, tuple[str, ...]] = dict(
            zip(("W_Q", "W_K", "W_V"), qkv_names(self.config), strict=True)
        )
        plan = []
        for name in MATRICES:
            names = factors.get(name) or (
                (name,) if name in self.shapes else (f"{name}_A", f"{name}_B")
            )
            rank = self.shapes[names[1]][0] if len(names) == 2 else 0
            first, last = self.offsets[names[0]], self.offsets[names[-1]]
            plan.append((*shapes[name], rank, first, last, at[name], grads[name]))
        return np.array(plan, np.int32)

    def _lay_out_sums(self) -> None:
        """Place the rows that a thread stages for its query, and name the products to be summed."""
        d, f, n_stage = self.d_model, self.d_ff, 0

        def rows(n: int) -> int:
            nonlocal n_stage
            n_stage += n
            return n_stage - n

        self.xhat_final, self.dlogits, self.loss_row = rows(d), rows(VOCAB_SIZE), rows(1)
        self.xhat_2, self.dpre, self.post, self.dwritten = rows(d), rows(f), rows(f), rows(d)
        self.dquery, self.slot_row, self.ones = rows(2 * d), rows(1), rows(1)
        self.n_stage = n_stage
        final = [*range(self.xhat_final, self.xhat_final + d), self.ones]
        second = [*range(self.xhat_2, self.xhat_2 + d), self.ones]
        pairs = [(self.dlogits + v, x) for v in range(VOCAB_SIZE) for x in final]
        pairs += [(x, self.dpre + u) for x in second for u in range(f)]
        pairs += [(self.post + u, self.dwritten + i) for u in range(f) for i in range(d)]
        pairs += [(self.loss_row, self.ones)]
        self.pairs, self.n_sums = np.array(pairs, np.int32), len(pairs)
        self.sums = self._take(self.n_sums)
        self.sum_U = self.sums
        self.sum_in = self.sum_U + VOCAB_SIZE * (d + 1)
        self.sum_out = self.sum_in + (d + 1) * f
        self.loss = self.sum_out + f * d

    def _lay_out_scratch(self) -> None:
        """Place what is too large for shared memory; every block has its own."""
        d = self.d_model
        self.per_query = 2 * d + 2
        """Numbers kept of a query: q, the gradient at its output, log-sum-exp, centre."""
        sizes = (
            N_TARGET * self.per_query * self.batch,
            N_TARGET * N_DIGITS * 2 * d,
            N_ROWS * 2 * d,
            N_ROWS * 4 * d,
        )
        ends = np.cumsum(sizes).tolist()
        self.kept, self.query_grad, self.source_grad, self.rows = 0, *ends[:-1]
        self.n_scratch = ends[-1]
