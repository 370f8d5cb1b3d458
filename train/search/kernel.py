"""The fused gradient of many small networks whose attention depends on position alone.

A network is a block of numbers (`PLACES`): the pattern of each answer column, the value and the
token part of each token, and the map after attention. One call runs the same batch through all
networks, forward and backward; the gradient of a block has the block's shape. Lanes are sequences.

    u      = sum over sources of pattern v[token]
    mid    = x[token of the query] + u W_O
    post   = mid + gelu(mid / rms W_in + b_in) W_out
    logits = post / rms W_U,   rms^2 = floor + |.|^2 / 4
"""

from functools import cache

import numpy as np
from jaxtyping import Float32, Int32
from llvmlite import ir

from model.lanes import F32, I64, LANES, LOG2_E, Code, Index, Kernel, Lane, compile_kernel
from train.search.parametrisations import CIRCLE, D_MODEL

N_COLUMNS, N_SOURCES, N_TOKENS = CIRCLE.n_answer, CIRCLE.n_input, CIRCLE.vocab_size
N_PROMPT = CIRCLE.n_prompt
WIDTH, UNITS = 2, 2

SIZES = {
    "pattern": N_COLUMNS * N_SOURCES,
    "v": LANES,
    "x": WIDTH * LANES,
    "W_O": WIDTH,
    "W_in": WIDTH * UNITS,
    "b_in": UNITS,
    "W_out": UNITS * WIDTH,
    "W_U": WIDTH * N_TOKENS,
    "floor": 1,
}
PLACES = {name: sum(list(SIZES.values())[:i]) for i, name in enumerate(SIZES)}
BLOCK = -(-sum(SIZES.values()) // LANES) * LANES
"""Numbers of one network."""
N_POSITIONS = CIRCLE.n_prompt + CIRCLE.n_target
"""Tokens of a sequence, the last target included."""
ARGUMENTS = (
    "blocks_ptr",
    "grads_ptr",
    "tokens_ptr",
    "loss_ptr",
    "scratch_ptr",
    "n_networks",
    "n_groups",
)


class _Writer:
    """Writes the kernel."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.sums, self.du = (
            code.memory("scratch_ptr"),
            code.memory("scratch_ptr").at(BLOCK * LANES),
        )
        self.values = self.du.at(N_COLUMNS * LANES)

    def write(self) -> None:
        code = self.code
        with code.loop(0, code.arguments["n_networks"]) as n:
            self.block = code.memory("blocks_ptr").at(code.times(n, BLOCK))
            grads = code.memory("grads_ptr").at(code.times(n, BLOCK))
            with code.loop(0, BLOCK) as i:
                self.sums.store(code.floats(0.0), code.times(i, LANES))
            self.loss = code.variable(code.floats(0.0))
            with code.loop(0, code.arguments["n_groups"]) as group:
                at = code.times(group, N_POSITIONS * LANES)
                self.tokens = code.memory("tokens_ptr").at(at)
                self.group()
            scored = code.build.mul(code.arguments["n_groups"], ir.Constant(I64, LANES * N_COLUMNS))
            each = code.build.fdiv(ir.Constant(F32, 1.0), code.build.uitofp(scored, F32))
            with code.loop(0, BLOCK) as i:
                summed = code.total(self.sums.load(code.times(i, LANES)))
                grads.put(code.build.fmul(summed, each), i)
            total = code.total(self.loss.get())
            code.memory("loss_ptr").put(code.build.fmul(total, each), n)

    def part(self, name: str, i: Index = 0) -> Lane:
        return self.block.splat(self.code.plus(i, PLACES[name]))

    def add(self, name: str, value: Lane, i: Index = 0) -> None:
        self.sums.accumulate(value, self.code.times(self.code.plus(i, PLACES[name]), LANES))

    def token(self, position: Index) -> Lane:
        return self.tokens.load_ints(self.code.times(position, LANES))

    def group(self) -> None:
        code = self.code
        with code.loop(0, N_SOURCES) as j:
            value = code.lookup(self.block.at(PLACES["v"]), self.token(j))
            self.values.store(value, code.times(j, LANES))
        with code.loop(0, N_COLUMNS) as column:
            self.column(column)
        grown = [code.variable(code.floats(0.0)) for _ in range(N_TOKENS)]
        with code.loop(0, N_SOURCES) as j:
            late = code.build.sub(j, ir.Constant(I64, N_PROMPT - 1))
            seen = code.build.icmp_signed(">", late, ir.Constant(I64, 0))
            first = code.build.select(seen, late, code.index(0))
            value = self.values.load(code.times(j, LANES))
            dv = code.variable(code.floats(0.0))
            with code.loop(first, N_COLUMNS) as column:
                at = code.plus(code.times(column, N_SOURCES), j)
                du = self.du.load(code.times(column, LANES))
                dv.add(du * self.part("pattern", at))
                self.add("pattern", du * value, at)
            self.by_token(grown, self.token(j), dv.get())
        for t, variable in enumerate(grown):
            # Lane t of these sums is token t's: put the total there when all is reduced.
            self.add("v", variable.get(), t)

    def by_token(self, grown: list, token: Lane, value: Lane) -> None:
        code = self.code
        for t, variable in enumerate(grown):
            same = token.compare("==", code.ints(t))
            variable.add(same.select(value, code.floats(0.0)))

    def rms(self, x: list[Lane]) -> tuple[list[Lane], Lane]:
        square = x[0] * x[0] + x[1] * x[1]
        rinv = 1.0 / self.code.sqrt(square * (1 / D_MODEL) + self.part("floor"))
        return [value * rinv for value in x], rinv

    def rms_back(self, d: list[Lane], normed: list[Lane], rinv: Lane) -> list[Lane]:
        along = (d[0] * normed[0] + d[1] * normed[1]) * (1 / D_MODEL)
        return [(a - b * along) * rinv for a, b in zip(d, normed, strict=True)]

    def column(self, column: ir.Value) -> None:
        code = self.code
        u_sum = code.variable(code.floats(0.0))
        row = code.times(column, N_SOURCES)
        with code.loop(0, code.plus(column, N_PROMPT)) as j:
            u_sum.add(
                self.part("pattern", code.plus(row, j)) * self.values.load(code.times(j, LANES))
            )
        u = u_sum.get()
        query = self.token(code.plus(column, N_PROMPT - 1))
        target = self.token(code.plus(column, N_PROMPT))
        x = [code.lookup(self.block.at(PLACES["x"] + i * LANES), query) for i in range(WIDTH)]
        mid = [x[i] + u * self.part("W_O", i) for i in range(WIDTH)]
        g, rinv = self.rms(mid)
        acts = []
        for k in range(UNITS):
            pre = g[0] * self.part("W_in", k) + g[1] * self.part("W_in", UNITS + k)
            acts.append(code.gelu(pre + self.part("b_in", k)))
        post = [
            mid[i] + acts[0][0] * self.part("W_out", i) + acts[1][0] * self.part("W_out", WIDTH + i)
            for i in range(WIDTH)
        ]
        final, rinv_final = self.rms(post)
        W_U = [[self.part("W_U", i * N_TOKENS + t) for t in range(N_TOKENS)] for i in range(WIDTH)]
        logits = [(final[0] * W_U[0][t] + final[1] * W_U[1][t]) * LOG2_E for t in range(N_TOKENS)]
        largest, true = logits[0], logits[0]
        for logit in logits[1:]:
            largest = code.maximum(largest, logit)
        hits = [target.compare("==", code.ints(t)) for t in range(N_TOKENS)]
        for hit, logit in zip(hits, logits, strict=True):
            true = hit.select(logit, true)
        powers = [code.exp2(logit - largest) for logit in logits]
        total = powers[0]
        for power in powers[1:]:
            total = total + power
        self.loss.add(code.log(total) + (largest - true) * (1 / LOG2_E))
        inverse = 1.0 / total
        dfinal = [code.floats(0.0), code.floats(0.0)]
        for t in range(N_TOKENS):
            error = powers[t] * inverse - hits[t].select(code.floats(1.0), code.floats(0.0))
            for i in range(WIDTH):
                dfinal[i] = dfinal[i] + error * W_U[i][t]
                self.add("W_U", error * final[i], i * N_TOKENS + t)
        dpost = self.rms_back(dfinal, final, rinv_final)
        dg = [code.floats(0.0), code.floats(0.0)]
        for k in range(UNITS):
            out = [self.part("W_out", k * WIDTH + i) for i in range(WIDTH)]
            dpre = (dpost[0] * out[0] + dpost[1] * out[1]) * acts[k][1]
            self.add("b_in", dpre, k)
            for i in range(WIDTH):
                self.add("W_out", acts[k][0] * dpost[i], k * WIDTH + i)
                self.add("W_in", g[i] * dpre, i * UNITS + k)
                dg[i] = dg[i] + dpre * self.part("W_in", i * UNITS + k)
        dmid = [a + b for a, b in zip(dpost, self.rms_back(dg, g, rinv), strict=True)]
        du = dmid[0] * self.part("W_O", 0) + dmid[1] * self.part("W_O", 1)
        for i in range(WIDTH):
            self.add("W_O", u * dmid[i], i)
        self.du.store(du, code.times(column, LANES))
        for t in range(N_TOKENS):
            same = query.compare("==", code.ints(t))
            for i in range(WIDTH):
                self.add("x", same.select(dmid[i], code.floats(0.0)), i * LANES + t)


@cache
def compiled() -> Kernel:
    """Compile the kernel once, for 16 lanes at a time."""
    return compile_kernel("small_networks", ARGUMENTS, lambda code: _Writer(code).write())


def gradients(
    blocks: Float32[np.ndarray, "network block"], tokens: Int32[np.ndarray, "group position lane"]
) -> tuple[Float32[np.ndarray, " network"], Float32[np.ndarray, "network block"]]:
    """Compute every network's mean loss a digit on a batch, and its gradient."""
    n = len(blocks)
    grads, loss = np.empty_like(blocks), np.empty(n, np.float32)
    scratch = np.empty((BLOCK + N_COLUMNS + N_SOURCES) * LANES, np.float32)
    compiled()(blocks, grads, tokens, loss, scratch, n, len(tokens))
    return loss, grads
