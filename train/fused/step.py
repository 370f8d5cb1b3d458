"""The fused training step: forward, exact gradient and AdamW of a whole batch, in one kernel.

One layer makes keys and values functions of (position, token), so each step tabulates them once
(lanes = tokens), runs the twelve scored queries of 16 sequences at a time (lanes = sequences), adds
their gradients into tables, and pulls those back through norms, embeddings and factors (lanes =
tokens again). Stages, in the order of `write_step`: compose, tabulate, sequences, table gradient,
reduce, factor gradient, AdamW.
"""

import math

from llvmlite import ir

from model.config import VOCAB_SIZE
from model.lanes import (
    F32,
    I32,
    I64,
    LANES,
    LOG2_E,
    Code,
    Kernel,
    Lane,
    Memory,
    VectorSet,
    compile_kernel,
)
from model.task import N_INPUT, N_PROMPT, N_TARGET
from train.config import ADAM_EPS, BETA_1, BETA_2
from train.fused.algebra import StepAlgebra
from train.fused.memory import padded
from train.fused.queries import QueryStages
from train.fused.sampler import write_sampler
from train.schedule import (
    EXTRA,
    HEAVY,
    INV_BIAS_1,
    INV_ROOT_BIAS_2,
    LR,
    MAX_DIGITS,
    SHIFT,
    WIDTH,
)

ARGUMENTS = (
    "params_ptr",  # parameters in stored order, padded to a multiple of 16
    "mean_ptr",  # Adam's first moment
    "square_ptr",  # Adam's second moment
    "grad_ptr",  # gradient of the last step, before clipping
    "schedule_ptr",  # rows of train.schedule for these steps
    "constants_ptr",  # lr-free constants: weight decay, clip, propagate share
    "cases_ptr",  # extra cases
    "loss_ptr",  # mean loss of each step
    "scratch_ptr",
    "n_cases",
    "n_steps",
    "first_step",
    "seed",
    "batch",
    "update",  # 1: apply AdamW; 0: leave parameters alone
)
WEIGHT_DECAY, CLIP, PROPAGATE = range(3)
N_CONSTANTS = 16


class StepWriter(StepAlgebra):
    """Writes the fused step of one configuration."""

    def compile(self, *, vectors: VectorSet | None = None) -> Kernel:
        """Compile the kernel for the processor at hand."""
        return compile_kernel("train_steps", ARGUMENTS, self.write, vectors=vectors)

    def write(self, code: Code) -> None:
        """Write all steps."""
        self.code = code
        with code.loop(0, code.arguments["n_steps"]) as step:
            self.write_step(step)

    def write_step(self, step: ir.Value) -> None:
        """Write one step."""
        code = self.code
        row = code.memory("schedule_ptr").at(code.times(step, WIDTH))
        with code.loop(self.zero_from // LANES, self.zero_to // LANES) as i:
            self.scratch(0).store(code.floats(0.0), code.times(i, LANES))
        with code.loop(0, padded(self.n_params) // LANES) as i:
            code.memory("grad_ptr").store(code.floats(0.0), code.times(i, LANES))
        self.compose()
        self.write_splats()
        self.tabulate()
        self.sequences(step, row)
        self.table_gradient()
        self.reduce()
        self.factor_gradient()
        examples = code.build.uitofp(code.arguments["batch"], F32)
        scored = code.build.fmul(examples, ir.Constant(F32, N_TARGET))
        total = code.total(self.scratch(self.loss_at).load())
        code.memory("loss_ptr").put(code.build.fdiv(total, scored), step)
        applied = code.build.icmp_signed("==", code.arguments["update"], ir.Constant(I64, 1))
        with code.build.if_then(applied):
            self.adamw(row)

    def compose(self) -> None:
        """Multiply the factors out."""
        for name, names in self.factors.items():
            if len(names) == 1:
                continue
            m, n = self.matrix_shapes[name]
            rank = self.shapes[names[1]][0]
            left, right = self.param(names[0]), self.param(names[1])
            with self.code.loop(0, m) as i:
                row = left.at(self.code.times(i, rank))
                target = self.scratch(self.weight_at[name]).at(self.code.times(i, n))
                for j in range(n):
                    terms = [row.load(k, F32) * right.load(k * n + j, F32) for k in range(rank)]
                    target.put(sum(terms[1:], terms[0]).value, j)

    def tabulate(self) -> None:
        """Write keys, OV values and queries of every (position, token)."""
        code, d = self.code, self.config.d_model
        embedding = self.scratch(self.embedding_at)
        for i in range(d):
            for token in range(VOCAB_SIZE):
                embedding.put(self.param("W_E").scalar(token * d + i), i * LANES + token)
        with code.loop(0, N_INPUT) as p:
            position = self.weight("W_pos").at(code.times(p, d))
            x = [embedding.load(i * LANES) + position.splat(i) for i in range(d)]
            xhat, rinv = self.normalise(x)
            h = self.scale(xhat, "ln1")
            v = self.times(h, self.weight("W_V"), d)
            self.put_rows(self.table("x"), p, x)
            self.put_rows(self.table("xhat"), p, xhat)
            self.put_rows(self.scratch(self.rinv_at), p, [rinv])
            self.put_rows(self.table("v"), p, v)
            self.put_rows(self.table("k"), p, self.times(h, self.weight("W_K"), d))
            self.put_rows(self.table("ov"), p, self.times(v, self.weight("W_O"), d))
        with code.loop(0, N_TARGET) as column:
            p = code.plus(column, N_PROMPT - 1)
            h = self.scale(self.rows(self.table("xhat"), p, d), "ln1")
            q = self.times(h, self.weight("W_Q"), d)
            self.put_rows(self.table("q"), column, [x * (LOG2_E / math.sqrt(d)) for x in q])

    def sequences(self, step: ir.Value, row: Memory) -> None:
        """Write the loop over groups of 16 sequences."""
        code = self.code
        build = code.build

        def share(memory: Memory, index: int) -> Lane:
            return code.splat(build.fptoui(memory.scalar(index), I32))

        seed = code.arguments["seed"]
        low = build.trunc(seed, I32)
        high = build.trunc(build.lshr(seed, ir.Constant(I64, 32)), I32)
        key = [code.splat(low), code.splat(high)]
        step_lane = code.splat(build.trunc(build.add(step, code.arguments["first_step"]), I32))
        lane_numbers = Lane(code, ir.Constant(ir.VectorType(I32, LANES), list(range(LANES))))
        groups = build.udiv(code.arguments["batch"], ir.Constant(I64, LANES))
        tokens = self.scratch(self.tokens_at)
        with code.loop(0, groups) as group:
            write_sampler(
                code,
                tokens,
                example=lane_numbers + code.splat(build.trunc(code.times(group, LANES), I32)),
                step=step_lane,
                key=key,
                max_digits=share(row, MAX_DIGITS),
                heavy=share(row, HEAVY),
                extra=share(row, EXTRA),
                shift=share(row, SHIFT),
                propagate=share(code.memory("constants_ptr"), PROPAGATE),
                cases=code.memory("cases_ptr"),
                n_cases=code.arguments["n_cases"],
            )
            with code.in_parts() as lane:
                QueryStages(self, lane).write()

    def table_gradient(self) -> None:
        """Pull the tables' gradients back to weights, norm, embedding and positions."""
        code, d = self.code, self.config.d_model

        def pull(p: ir.Value, dh: list[Lane], dx_direct: list[Lane]) -> None:
            xhat = self.rows(self.table("xhat"), p, d)
            rinv = self.rows(self.scratch(self.rinv_at), p, 1)[0]
            dx = self.norm_gradient(dh, xhat, rinv, "ln1")
            for i in range(d):
                total = dx[i] + dx_direct[i] if dx_direct else dx[i]
                self.scratch(self.token_grad_at).accumulate(total, i * LANES)
                where = code.plus(code.times(p, d), i)
                target = self.scratch(self.matrix_grad_at["W_pos"])
                before = target.scalar(where)
                target.put(code.build.fadd(before, code.total(total)), where)

        with code.loop(0, N_INPUT) as p:
            grads = self.gradient_rows(p, self.scratch(self.source_grad_at))
            dk, dov = grads[:d], grads[d : 2 * d]
            h = self.scale(self.rows(self.table("xhat"), p, d), "ln1")
            dv = self.times_transposed(dov, self.weight("W_O"), d)
            self.outer("W_O", self.rows(self.table("v"), p, d), dov)
            self.outer("W_V", h, dv)
            self.outer("W_K", h, dk)
            from_k = self.times_transposed(dk, self.weight("W_K"), d)
            from_v = self.times_transposed(dv, self.weight("W_V"), d)
            pull(p, [x + y for x, y in zip(from_k, from_v, strict=True)], [])
        with code.loop(0, N_TARGET) as column:
            p = code.plus(column, N_PROMPT - 1)
            grads = self.gradient_rows(column, self.scratch(self.query_grad_at))
            dq = [x * (1 / math.sqrt(d)) for x in grads[:d]]
            h = self.scale(self.rows(self.table("xhat"), p, d), "ln1")
            self.outer("W_Q", h, dq)
            pull(p, self.times_transposed(dq, self.weight("W_Q"), d), grads[d : 2 * d])

    def reduce(self) -> None:
        """Sum the per-lane gradients to numbers."""
        code, d = self.code, self.config.d_model
        embedding = self.grad("W_E")
        for i in range(d):
            for token in range(VOCAB_SIZE):
                value = self.scratch(self.token_grad_at).scalar(i * LANES + token)
                embedding.put(value, token * d + i)
        for name, source in self.lane_grad_at.items():
            n = self._size(name)
            if name.endswith("_b") and self.config.norm == "rms":
                continue
            if name == "W_U":
                target = embedding
            elif name.startswith("ln"):
                target = self.grad(name)
            else:
                target = self.scratch(self.matrix_grad_at[name])
            with code.loop(0, n) as i:
                summed = code.total(self.scratch(source).load(code.times(i, LANES)))
                target.put(code.build.fadd(target.scalar(i), summed), i)

    def _size(self, name: str) -> int:
        if name == "W_U":
            return VOCAB_SIZE * self.config.d_model
        if name.startswith("ln"):
            return self.config.d_model
        return math.prod(self.matrix_shapes[name])

    def factor_gradient(self) -> None:
        """Pull matrix gradients back to their factors; tied ones add up."""
        code = self.code
        for name, names in self.factors.items():
            m, n = self.matrix_shapes[name]
            source = self.scratch(self.matrix_grad_at[name])
            with code.loop(0, m) as i:
                row = source.at(code.times(i, n))
                if len(names) == 1:
                    target = self.grad(names[0]).at(code.times(i, n))
                    for j in range(n):
                        target.put((target.load(j, F32) + row.load(j, F32)).value, j)
                    continue
                rank = self.shapes[names[1]][0]
                A, B = self.param(names[0]).at(code.times(i, rank)), self.param(names[1])
                dA, dB = self.grad(names[0]).at(code.times(i, rank)), self.grad(names[1])
                for k in range(rank):
                    terms = [row.load(j, F32) * B.load(k * n + j, F32) for j in range(n)]
                    dA.put((dA.load(k, F32) + sum(terms[1:], terms[0])).value, k)
                    for j in range(n):
                        grown = dB.load(k * n + j, F32) + A.load(k, F32) * row.load(j, F32)
                        dB.put(grown.value, k * n + j)

    def adamw(self, row: Memory) -> None:
        """Clip by global norm, then AdamW as torch does it (Loshchilov & Hutter 2019)."""
        code = self.code
        grad, blocks = code.memory("grad_ptr"), padded(self.n_params) // LANES
        squares = code.variable(code.floats(0.0))
        with code.loop(0, blocks) as i:
            g = grad.load(code.times(i, LANES))
            squares.add(g * g)
        norm = code.sqrt(code.splat(code.total(squares.get())))
        constants = code.memory("constants_ptr")
        ratio = constants.splat(CLIP) / (norm + 1e-6)
        ratio = ratio.compare("<", 1.0).select(ratio, code.floats(1.0))
        lr = row.splat(LR)
        keep = 1.0 - lr * constants.splat(WEIGHT_DECAY)
        step_size = lr * row.splat(INV_BIAS_1)
        with code.loop(0, blocks) as i:
            at = code.times(i, LANES)
            g = grad.load(at) * ratio
            mean = code.memory("mean_ptr").load(at) * BETA_1 + g * (1 - BETA_1)
            square = code.memory("square_ptr").load(at) * BETA_2 + g * g * (1 - BETA_2)
            code.memory("mean_ptr").store(mean, at)
            code.memory("square_ptr").store(square, at)
            root = code.sqrt(square) * row.splat(INV_ROOT_BIAS_2) + ADAM_EPS
            params = code.memory("params_ptr")
            params.store(params.load(at) * keep - step_size * (mean / root), at)
