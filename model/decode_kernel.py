"""The fused decoder: all answer tokens of 16 sums at a time, from tables, in float32."""

import math
from functools import cache

import numpy as np
from llvmlite import ir

from model.lanes import (
    F32,
    I32,
    I64,
    INTS,
    LANES,
    Code,
    Kernel,
    Lane,
    Memory,
    VectorSet,
    compile_kernel,
    find_vectors,
)
from model.packing import Packing, Shape, round_up, shape_of
from model.tables import Tables

GELU_SLOPE, GELU_CUBIC = 2.0 * math.sqrt(2.0 / math.pi), 0.044715
"""GELU by tanh is x times the logistic function of SLOPE (x + CUBIC x^3)."""
EXP_LIMIT = 87.0
"""Where the logistic function is zero in float32 terms, and its exponential still finite."""

ARGUMENTS = (
    "tables_ptr",
    "limbs_ptr",  # 4 rows: high and low digits of a, high and low digits of b
    "prefix_ptr",  # a row of tokens to feed back for every step but the last
    "tokens_ptr",  # a row a step: answers
    "margin_ptr",  # a row a step: true logit less best other
    "scratch_ptr",
    "n",  # pairs, a multiple of 16; the length of every row
    "use_prefix",
)


class DecodeWriter:
    """Writes the decoder for one shape."""

    def __init__(self, shape: Shape) -> None:
        """Lay out scratch memory."""
        self.shape, self.layout, self.packing = shape, shape.layout, Packing(shape)
        self.widths = self.packing.widths
        n_target, n_input = self.layout.n_target, self.layout.n_input
        self.tokens_at = 0
        self.truth_at = n_input * LANES
        self.k_at = self.truth_at + n_target * LANES
        self.ov_at = self.k_at + n_input * self.widths["k"] * LANES
        self.score_at = self.ov_at + n_input * self.widths["ov"] * LANES
        self.scratch_size = self.score_at + n_input * shape.n_heads * LANES

    def table(self, name: str) -> Memory:
        """Name a packed table."""
        return self.code.memory("tables_ptr").at(self.packing.at[name])

    def write(self, code: Code) -> None:
        """Write the loop over groups of 16 pairs."""
        self.code = code
        n_prompt, n_target = self.layout.n_prompt, self.layout.n_target
        n = code.arguments["n"]
        forced = code.build.icmp_signed("==", code.arguments["use_prefix"], ir.Constant(I64, 1))
        with code.loop(0, code.build.udiv(n, ir.Constant(I64, LANES))) as group:
            at = code.times(group, LANES)
            self._write_tokens(at)
            with code.loop(0, n_prompt) as p:
                self._look_up_source(p)
            with code.loop(0, n_target) as step:
                answer = self._write_step(step, at)
                more = code.build.icmp_signed("<", step, ir.Constant(I64, n_target - 1))
                with code.build.if_then(more):
                    given = self._row("prefix_ptr", step).at(at).load(kind=INTS)
                    fed = Lane(code, code.build.select(forced, given.value, answer.value))
                    position = code.plus(step, n_prompt)
                    tokens = code.memory("scratch_ptr").at(self.tokens_at)
                    tokens.store(fed, code.times(position, LANES))
                    self._look_up_source(position)

    def _row(self, name: str, row: int | ir.Value) -> Memory:
        memory = self.code.memory(name)
        return memory.at(self.code.build.mul(self.code.arguments["n"], self.code.index(row)))

    def _write_tokens(self, at: ir.Value) -> None:
        """Split the operands into digits and add them."""
        code, layout = self.code, self.layout
        base, first = layout.base, layout.first_digit
        tokens = code.memory("scratch_ptr").at(self.tokens_at)
        truth = code.memory("scratch_ptr").at(self.truth_at)
        digits: list[list[Lane]] = []
        low = self.shape.low_digits
        for operand in range(2):
            values: list[Lane] = []
            for limb, count in ((2 * operand + 1, low), (2 * operand, layout.width - low)):
                rest = self._row("limbs_ptr", limb).at(at).load(kind=INTS)
                for _ in range(count):
                    high = rest / base
                    values.append(rest - high * base)
                    rest = high
            digits.append(values)

        def token(digit: Lane) -> Lane:
            return digit + first if first else digit

        for position, separator in layout.separators.items():
            tokens.store(code.ints(separator), position * LANES)
        if layout.end is not None:
            truth.store(code.ints(layout.end), layout.n_answer * LANES)
        carry = code.ints(0)
        for i, (a, b) in enumerate(zip(*digits, strict=True)):
            tokens.store(token(a), layout.a_position(i) * LANES)
            tokens.store(token(b), layout.b_position(i) * LANES)
            total = a + b + carry
            over = total.compare(">=", base)
            truth.store(token(over.select(total - base, total)), layout.step(i) * LANES)
            carry = over.select(code.ints(1), code.ints(0))
        truth.store(token(carry), layout.step(layout.width) * LANES)

    def _token(self, position: int | ir.Value) -> Lane:
        tokens = self.code.memory("scratch_ptr").at(self.tokens_at)
        return tokens.load(self.code.times(position, LANES), INTS)

    def _look_up(self, name: str, row: int | ir.Value, token: Lane) -> list[Lane]:
        code, width, stride = self.code, self.widths[name], self.shape.stride
        table = self.table(name).at(code.times(row, width * stride))
        if stride == LANES:
            return [code.lookup(table.at(i * stride), token) for i in range(width)]
        return [code.gather(table.at(i * stride), token, F32) for i in range(width)]

    def _look_up_source(self, position: int | ir.Value) -> None:
        token = self._token(position)
        for name, where in (("k", self.k_at), ("ov", self.ov_at)):
            target = self.code.memory("scratch_ptr").at(where)
            row = self.code.times(position, self.widths[name] * LANES)
            for i, value in enumerate(self._look_up(name, position, token)):
                target.store(value, self.code.plus(row, i * LANES))

    def _source(self, name: str, position: ir.Value) -> list[Lane]:
        where = self.k_at if name == "k" else self.ov_at
        width = self.widths[name]
        row = self.code.memory("scratch_ptr").at(where)
        row = row.at(self.code.times(position, width * LANES))
        return [row.load(i * LANES) for i in range(width)]

    def _normalise(self, x: list[Lane]) -> list[Lane]:
        if self.shape.norm == "none":
            return x

        def mean(values: list[Lane]) -> Lane:
            return sum(values[1:], values[0]) * (1.0 / self.shape.d)

        if self.shape.norm == "layer":
            centre = mean(x)
            x = [value - centre for value in x]
        rinv = 1.0 / self.code.sqrt(mean([value * value for value in x]) + self.shape.eps)
        return [value * rinv for value in x]

    def _affine(self, x: list[Lane], weight: str, bias: Memory, n: int) -> list[Lane]:
        matrix = self.table(weight)
        result = []
        for j in range(n):
            total = bias.splat(j)
            for i, value in enumerate(x):
                total = total + value * matrix.splat(i * n + j)
            result.append(total)
        return result

    def _activate(self, x: Lane) -> Lane:
        code, act = self.code, self.shape.act
        if act == "gelu":
            return code.gelu(x)[0]
        if act == "relu":
            return code.maximum(x, code.floats(0.0))
        # x times the logistic function of x, or of what the tanh form of GELU makes of it
        inner = x if act == "silu" else x * (x * x * GELU_CUBIC + 1.0) * GELU_SLOPE
        limited = inner.compare(">", -EXP_LIMIT).select(inner, code.floats(-EXP_LIMIT))
        return x / (code.exp(limited * -1.0) + 1.0)

    def _attend(self, step: ir.Value, q: list[Lane]) -> list[Lane]:
        """Sum over heads what attention writes."""
        code, d, qk, n_heads = self.code, self.shape.d, self.shape.qk, self.shape.n_heads
        n_sources = code.plus(step, self.layout.n_prompt)
        heads = range(n_heads)
        room = self.layout.n_input * LANES
        scores = [code.memory("scratch_ptr").at(self.score_at + h * room) for h in heads]
        largest = [code.variable(code.floats(-3e38)) for _ in heads]
        with code.loop(0, n_sources) as j:
            source = self._source("k", j)
            for h in heads:
                part = slice(h * qk, (h + 1) * qk)
                products = [a * b for a, b in zip(q[part], source[part], strict=True)]
                score = sum(products[1:], products[0])
                scores[h].store(score, code.times(j, LANES))
                largest[h].set(code.maximum(largest[h].get(), score))
        total = [code.variable(code.floats(0.0)) for _ in heads]
        sums = [code.variable(code.floats(0.0)) for _ in range(n_heads * d)]
        with code.loop(0, n_sources) as j:
            source = self._source("ov", j)
            for h in heads:
                weight = code.exp(scores[h].load(code.times(j, LANES)) - largest[h].get())
                total[h].add(weight)
                for i in range(h * d, (h + 1) * d):
                    sums[i].add(weight * source[i])
        written: list[Lane] = []
        for h in heads:
            inverse = 1.0 / total[h].get()
            part = [sums[h * d + i].get() * inverse for i in range(d)]
            written = [a + b for a, b in zip(written, part, strict=True)] if written else part
        return written

    def _feed_forward(self, resid: list[Lane], step: ir.Value) -> list[Lane]:
        """Add the feed-forward layer to the stream."""
        code, d, d_ff = self.code, self.shape.d, self.shape.d_ff
        normed = self._normalise(resid)
        b_in = self.table("b_in").at(code.times(step, d_ff))
        post = self._affine(normed, "W_in", b_in, d_ff)
        if self.shape.gated:
            gate = self._affine(normed, "W_gate", self.table("b_gate"), d_ff)
            post = [self._activate(a) * b for a, b in zip(gate, post, strict=True)]
        else:
            post = [self._activate(value) for value in post]
        written = self._affine(post, "W_out", self.table("b_out").at(code.times(step, d)), d)
        return [a + b for a, b in zip(resid, written, strict=True)]

    def _write_step(self, step: ir.Value, at: ir.Value) -> Lane:
        """Decode one step; stores answer and margin, gives the answer."""
        code, d = self.code, self.shape.d
        token = self._token(code.plus(step, self.layout.n_prompt - 1))
        q = self._look_up("q", step, token)
        x = self._look_up("x", step, token)
        attended = self._attend(step, q)
        bias = self.table("attn_bias").at(code.times(step, d))
        resid = [x[i] + attended[i] + bias.splat(i) for i in range(d)]
        if self.shape.act != "none":
            resid = self._feed_forward(resid, step)
        answer, margin = self._choose(self._normalise(resid), step)
        self._row("tokens_ptr", step).at(at).store(answer)
        self._row("margin_ptr", step).at(at).store(margin)
        return answer

    def _choose(self, final: list[Lane], step: ir.Value) -> tuple[Lane, Lane]:
        """Find the token of the largest logit, and the margin of the true one."""
        code, d, vocab = self.code, self.shape.d, self.layout.vocab_size
        head, head_bias = self.table("W_U"), self.table("b_U")
        truth = code.memory("scratch_ptr").at(self.truth_at)
        truth = truth.load(code.times(step, LANES), INTS)
        low = code.floats(-3e38)

        def logit_of(token: int | ir.Value) -> Lane:
            logit = head_bias.splat(token)
            row = head.at(code.times(token, d))
            for i, value in enumerate(final):
                logit = logit + value * row.splat(i)
            return logit

        if vocab <= LANES:
            best, answer, true_logit, best_other = low, code.ints(0), low, low
            for token, logit in enumerate([logit_of(token) for token in range(vocab)]):
                better = logit.compare(">", best)
                best = better.select(logit, best)
                answer = better.select(code.ints(token), answer)
                hit = truth.compare("==", token)
                true_logit = hit.select(logit, true_logit)
                best_other = code.maximum(best_other, hit.select(low, logit))
            return answer, true_logit - best_other
        best, true_logit, best_other = (code.variable(low) for _ in range(3))
        answer = code.variable(code.ints(0))
        with code.loop(0, vocab) as token:
            logit = logit_of(token)
            here = code.splat(code.build.trunc(token, I32))
            better = logit.compare(">", best.get())
            best.set(better.select(logit, best.get()))
            answer.set(better.select(here, answer.get()))
            hit = Lane(code, code.build.icmp_unsigned("==", truth.value, here.value))
            true_logit.set(hit.select(logit, true_logit.get()))
            best_other.set(code.maximum(best_other.get(), hit.select(low, logit)))
        return answer.get(), true_logit.get() - best_other.get()


@cache
def _compiled(shape: Shape, vectors: VectorSet) -> tuple[DecodeWriter, Kernel]:
    writer = DecodeWriter(shape)
    return writer, compile_kernel("decode", ARGUMENTS, writer.write, vectors=vectors)


def run_decoder(
    tables: Tables, a: np.ndarray, b: np.ndarray, prefix: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Decode pairs with the fused kernel.

    Args:
        tables: The network.
        a: First operands, int64 (n,), 0 to the layout's largest.
        b: Second operands.
        prefix: Tokens to feed back instead of the answers, (n, steps less one).

    Returns:
        Answers (steps, n) int32 and margins (steps, n) float32, step by step.
    """
    shape = shape_of(tables)
    n_target = tables.layout.n_target
    writer, kernel = _compiled(shape, find_vectors())
    n = len(a)
    n_padded = round_up(n)
    limbs = np.zeros((4, n_padded), np.int32)
    for row, operand in ((0, a), (2, b)):
        limbs[row, :n], limbs[row + 1, :n] = np.divmod(operand, shape.limb)
    fed = np.zeros((n_target - 1, n_padded if prefix is not None else LANES), np.int32)
    if prefix is not None:
        fed[:, :n] = prefix.T
    tokens = np.empty((n_target, n_padded), np.int32)
    margin = np.empty((n_target, n_padded), np.float32)
    scratch = np.empty(writer.scratch_size, np.float32)
    use_prefix = int(prefix is not None)
    if prefix is None:
        fed = tokens
    kernel(writer.packing.pack(tables), limbs, fed, tokens, margin, scratch, n_padded, use_prefix)
    return tokens[:, :n], margin[:, :n]
