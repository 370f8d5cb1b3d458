"""Where the fused step keeps everything: parameters, tables, groups of sequences, gradients."""

import math
from dataclasses import dataclass

from llvmlite import ir

from model.config import VOCAB_SIZE, ModelConfig, param_shapes, qkv_names
from model.lanes import HALF, LANES, Code, Index, Lane, Memory, Splats
from model.task import N_INPUT, N_TARGET


def padded(n: int) -> int:
    """Round up to whole vectors."""
    return -(-n // LANES) * LANES


@dataclass
class Layout:
    """Hands out places in the kernel's scratch memory."""

    size: int = 0

    def take(self, n: int) -> int:
        """Reserve `n` numbers, whole vectors."""
        start = self.size
        self.size += padded(n)
        return start


class StepMemory:
    """Lays out the memory of one configuration, and names its parts while a kernel is written."""

    code: Code

    def __init__(self, config: ModelConfig) -> None:
        """Lay out parameters and scratch memory of `config`."""
        self.config = config
        self.shapes = param_shapes(config)
        self.offsets: dict[str, int] = {}
        total = 0
        for name, shape in self.shapes.items():
            self.offsets[name] = total
            total += math.prod(shape)
        self.n_params = total
        layout = Layout()
        d, f = config.d_model, config.d_ff
        self.factors = {
            "W_pos": self._names("W_pos"),
            **dict(zip(("W_Q", "W_K", "W_V"), qkv_names(config), strict=True)),
            **{name: self._names(name) for name in ("W_O", "W_in", "W_out")},
        }
        self.matrix_shapes = {
            "W_pos": (config.n_ctx, d),
            **{name: (d, d) for name in ("W_Q", "W_K", "W_V", "W_O")},
            "W_in": (d, f),
            "W_out": (f, d),
        }
        self.weight_at = {n: layout.take(math.prod(s)) for n, s in self.matrix_shapes.items()}
        self.splat_at = {
            name: layout.take(n * HALF) for name, n in self._list_splats(config).items()
        }
        self.embedding_at = layout.take(d * LANES)
        self.table_at = {
            name: layout.take(rows * d * LANES)
            for name, rows in {
                "x": N_INPUT,
                "xhat": N_INPUT,
                "v": N_INPUT,
                "k": N_INPUT,
                "ov": N_INPUT,
                "q": N_TARGET,
            }.items()
        }
        self.rinv_at = layout.take(N_INPUT * LANES)
        self.tokens_at = layout.take(N_INPUT * LANES)
        self.group_width = {
            **dict.fromkeys(("k", "ov", "q", "attn_out", "resid_mid", "xhat", "h"), d),
            **dict.fromkeys(("resid_post", "final", "dresid_post", "dresid"), d),
            **dict.fromkeys(("post", "slope", "dpre"), f),
            **dict.fromkeys(("inverse", "rinv"), 1),
            **dict.fromkeys(("pattern", "dscores"), N_INPUT),
            "dlogits": VOCAB_SIZE,
        }
        self.group_at = {
            name: layout.take((N_INPUT if name in ("k", "ov") else N_TARGET) * width * LANES)
            for name, width in self.group_width.items()
        }
        # A power of two, for `Code.interleave`, and whole halves, for `Code.transpose`.
        self.grad_width = max(HALF, 1 << (2 * d - 1).bit_length())
        self.transpose_at = layout.take(self.grad_width * LANES)
        self.zero_from = layout.size
        self.source_grad_at = layout.take(N_INPUT * LANES * self.grad_width)
        self.query_grad_at = layout.take(N_TARGET * LANES * self.grad_width)
        self.lane_grad_at = {
            name: layout.take(math.prod(shape) * LANES)
            for name, shape in {
                "W_Q": (d, d),
                "W_K": (d, d),
                "W_V": (d, d),
                "W_O": (d, d),
                "W_in": (d, f),
                "W_out": (f, d),
                "W_U": (VOCAB_SIZE, d),
                **{f"{ln}_{part}": (d,) for ln in ("ln1", "ln2", "ln_final") for part in "wb"},
            }.items()
        }
        self.token_grad_at = layout.take(d * LANES)
        self.loss_at = layout.take(LANES)
        self.matrix_grad_at = {n: layout.take(math.prod(s)) for n, s in self.matrix_shapes.items()}
        self.zero_to = layout.size
        self.scratch_size = layout.size

    def _list_splats(self, config: ModelConfig) -> dict[str, int]:
        """Name what every query multiplies by, with its size."""
        norms = [name for name in self.shapes if name.startswith(("ln2", "ln_final"))]
        matrices = {"W_E": VOCAB_SIZE * config.d_model}
        matrices |= {name: math.prod(self.matrix_shapes[name]) for name in ("W_in", "W_out")}
        return {**matrices, **{name: math.prod(self.shapes[name]) for name in norms}}

    def write_splats(self) -> None:
        """Spread what every query multiplies by over vectors, where queries run in halves."""
        if self.code.vectors.part == LANES:  # such processors spread a number as they multiply
            return
        for name, at in self.splat_at.items():
            source = self.weight(name) if name in self.factors else self.param(name)
            with self.code.loop(0, self._list_splats(self.config)[name]) as i:
                vector = self.code.splat(source.scalar(i), HALF)
                self.scratch(at).store(vector, self.code.times(i, HALF))

    def _names(self, matrix: str) -> tuple[str, ...]:
        return (matrix,) if matrix in self.shapes else (f"{matrix}_A", f"{matrix}_B")

    def scratch(self, offset: int) -> Memory:
        """Name scratch memory."""
        return self.code.memory("scratch_ptr").at(offset)

    def param(self, name: str) -> Memory:
        """Name a parameter."""
        if self.code.width == HALF:
            return Splats(self.code, self.code.arguments["scratch_ptr"], self.splat_at[name])
        return self.code.memory("params_ptr").at(self.offsets[name])

    def grad(self, name: str) -> Memory:
        """Name a parameter's gradient."""
        return self.code.memory("grad_ptr").at(self.offsets[name])

    def weight(self, name: str) -> Memory:
        """Name a composed matrix (the parameter itself where it is full)."""
        if self.code.width == HALF:
            return Splats(self.code, self.code.arguments["scratch_ptr"], self.splat_at[name])
        names = self.factors[name]
        return self.param(names[0]) if len(names) == 1 else self.scratch(self.weight_at[name])

    def gain(self, name: str) -> Memory:
        """Name a norm's gain."""
        return self.param(f"{name}_w")

    def bias(self, name: str) -> Memory | None:
        """Name a norm's bias, where it has one."""
        return self.param(f"{name}_b") if self.config.norm == "layer" else None

    def table(self, name: str) -> Memory:
        """Name a table over (position, token)."""
        return self.scratch(self.table_at[name])

    def group(self, name: str) -> Memory:
        """Name memory of the sequences at work."""
        return self.scratch(self.group_at[name])

    def token(self, position: Index, lane: Index = 0) -> Lane:
        """Read the tokens of the sequences from `lane` on at a position."""
        at = self.code.plus(self.code.times(position, LANES), lane)
        return self.scratch(self.tokens_at).load_ints(at)

    def lane_grad(self, name: str) -> Memory:
        """Name the per-lane gradient of a weight."""
        return self.scratch(self.lane_grad_at[name])

    def rows(self, memory: Memory, row: int | ir.Value, n: int) -> list[Lane]:
        """Read `n` consecutive vectors of a table's row."""
        width = self.code.width
        at = memory.at(self.code.times(row, n * width))
        return [at.load(i * width) for i in range(n)]

    def put_rows(self, memory: Memory, row: int | ir.Value, values: list[Lane]) -> None:
        """Write consecutive vectors of a table's row."""
        width = self.code.width
        at = memory.at(self.code.times(row, len(values) * width))
        for i, value in enumerate(values):
            at.store(value, i * width)
