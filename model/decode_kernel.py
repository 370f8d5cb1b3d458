"""The fused decoder: twelve columns of 16 sums at a time, from tables, in float32."""

from functools import cache

import numpy as np
import torch
from llvmlite import ir

from model.config import VOCAB_SIZE
from model.lanes import (
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
from model.tables import Tables
from model.task import (
    EOS,
    EQUALS,
    N_ANSWER,
    N_DIGITS,
    N_INPUT,
    N_PROMPT,
    N_TARGET,
    PLUS,
    a_position,
    b_position,
)

LIMB = 100_000
ARGUMENTS = (
    "tables_ptr",
    "limbs_ptr",  # 4 rows: a // 10^5, a % 10^5, b // 10^5, b % 10^5
    "prefix_ptr",  # 11 rows of tokens to feed back
    "tokens_ptr",  # 12 rows: answers
    "margin_ptr",  # 12 rows: true logit less best other
    "scratch_ptr",
    "n",  # pairs, a multiple of 16; the length of every row
    "use_prefix",
)


class DecodeWriter:
    """Writes the decoder for one width, number of units and kind of norm."""

    def __init__(self, d: int, d_ff: int, centre: bool, eps: float) -> None:
        """Lay out the packed tables and scratch memory."""
        self.d, self.d_ff, self.centre, self.eps = d, d_ff, centre, eps
        sizes = {
            "x": N_TARGET * d * LANES,
            "q": N_TARGET * d * LANES,
            "k": N_INPUT * d * LANES,
            "ov": N_INPUT * d * LANES,
            "attn_bias": N_TARGET * d,
            "W_in": d * d_ff,
            "b_in": N_TARGET * d_ff,
            "W_out": d_ff * d,
            "b_out": N_TARGET * d,
            "W_U": VOCAB_SIZE * d,
            "b_U": VOCAB_SIZE,
        }
        self.at: dict[str, int] = {}
        self.size = 0
        for name, size in sizes.items():
            self.at[name] = self.size
            self.size += -(-size // LANES) * LANES
        self.tokens_at = 0
        self.truth_at = N_INPUT * LANES
        self.k_at = self.truth_at + N_TARGET * LANES
        self.ov_at = self.k_at + N_INPUT * d * LANES
        self.score_at = self.ov_at + N_INPUT * d * LANES
        self.scratch_size = self.score_at + N_INPUT * LANES

    def pack(self, tables: Tables) -> np.ndarray:
        """Put tables into the kernel's order, norms' gains folded into what reads them."""
        packed = np.zeros(self.size, np.float32)
        ln2_w, W_in = tables.ln2_w.double(), tables.W_in.double()
        W_U = tables.W_U.double()

        def put(name: str, value: torch.Tensor) -> None:
            flat = value.float().contiguous().numpy().ravel()
            packed[self.at[name] : self.at[name] + flat.size] = flat

        for name in ("x", "q", "k", "ov"):
            by_token = getattr(tables, name).transpose(1, 2)
            put(name, torch.nn.functional.pad(by_token, (0, LANES - VOCAB_SIZE)))
        put("attn_bias", tables.attn_bias)
        put("W_in", ln2_w[:, None] * W_in)
        put("b_in", tables.b_in.double() + tables.ln2_b.double() @ W_in)
        put("W_out", tables.W_out)
        put("b_out", tables.b_out)
        put("W_U", (tables.ln_final_w.double()[:, None] * W_U).T)
        put("b_U", tables.ln_final_b.double() @ W_U)
        return packed

    def table(self, name: str) -> Memory:
        """Name a packed table."""
        return self.code.memory("tables_ptr").at(self.at[name])

    def write(self, code: Code) -> None:
        """Write the loop over groups of 16 pairs."""
        self.code = code
        n = code.arguments["n"]
        forced = code.build.icmp_signed("==", code.arguments["use_prefix"], ir.Constant(I64, 1))
        with code.loop(0, code.build.udiv(n, ir.Constant(I64, LANES))) as group:
            at = code.times(group, LANES)
            self._write_tokens(at)
            with code.loop(0, N_PROMPT) as p:
                self._look_up_source(p)
            with code.loop(0, N_TARGET) as column:
                answer = self._write_column(column, at)
                more = code.build.icmp_signed("<", column, ir.Constant(I64, N_ANSWER))
                with code.build.if_then(more):
                    given = self._row("prefix_ptr", column).at(at).load(kind=INTS)
                    fed = Lane(code, code.build.select(forced, given.value, answer.value))
                    position = code.plus(column, N_PROMPT)
                    tokens = code.memory("scratch_ptr").at(self.tokens_at)
                    tokens.store(fed, code.times(position, LANES))
                    self._look_up_source(position)

    def _row(self, name: str, row: int | ir.Value) -> Memory:
        memory = self.code.memory(name)
        return memory.at(self.code.build.mul(self.code.arguments["n"], self.code.index(row)))

    def _write_tokens(self, at: ir.Value) -> None:
        """Split the operands into digits and add them."""
        code = self.code
        tokens = code.memory("scratch_ptr").at(self.tokens_at)
        truth = code.memory("scratch_ptr").at(self.truth_at)
        digits: list[list[Lane]] = []
        for operand in range(2):
            values: list[Lane] = []
            for limb in (2 * operand + 1, 2 * operand):
                rest = self._row("limbs_ptr", limb).at(at).load(kind=INTS)
                for _ in range(N_DIGITS // 2):
                    tens = rest / 10
                    values.append(rest - tens * 10)
                    rest = tens
            digits.append(values)
        tokens.store(code.ints(PLUS), N_DIGITS * LANES)
        tokens.store(code.ints(EQUALS), (N_PROMPT - 1) * LANES)
        truth.store(code.ints(EOS), N_ANSWER * LANES)
        carry = code.ints(0)
        for i, (a, b) in enumerate(zip(*digits, strict=True)):
            tokens.store(a, a_position(i) * LANES)
            tokens.store(b, b_position(i) * LANES)
            total = a + b + carry
            over = total.compare(">=", 10)
            truth.store(over.select(total - 10, total), i * LANES)
            carry = over.select(code.ints(1), code.ints(0))
        truth.store(carry, N_DIGITS * LANES)

    def _token(self, position: int | ir.Value) -> Lane:
        tokens = self.code.memory("scratch_ptr").at(self.tokens_at)
        return tokens.load(self.code.times(position, LANES), INTS)

    def _look_up(self, name: str, row: int | ir.Value, token: Lane) -> list[Lane]:
        table = self.table(name).at(self.code.times(row, self.d * LANES))
        return [self.code.lookup(table.at(i * LANES), token) for i in range(self.d)]

    def _look_up_source(self, position: int | ir.Value) -> None:
        token = self._token(position)
        for name, where in (("k", self.k_at), ("ov", self.ov_at)):
            target = self.code.memory("scratch_ptr").at(where)
            for i, value in enumerate(self._look_up(name, position, token)):
                offset = self.code.plus(self.code.times(position, self.d * LANES), i * LANES)
                target.store(value, offset)

    def _source(self, where: int, position: ir.Value) -> list[Lane]:
        memory = self.code.memory("scratch_ptr").at(where)
        row = memory.at(self.code.times(position, self.d * LANES))
        return [row.load(i * LANES) for i in range(self.d)]

    def _normalise(self, x: list[Lane]) -> list[Lane]:
        def mean(values: list[Lane]) -> Lane:
            return sum(values[1:], values[0]) * (1.0 / self.d)

        if self.centre:
            centre = mean(x)
            x = [value - centre for value in x]
        rinv = 1.0 / self.code.sqrt(mean([value * value for value in x]) + self.eps)
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

    def _write_column(self, column: ir.Value, at: ir.Value) -> Lane:
        """Decode one column; stores answer and margin, gives the answer."""
        code, d = self.code, self.d
        n_sources = code.plus(column, N_PROMPT)
        token = self._token(code.plus(column, N_PROMPT - 1))
        q = self._look_up("q", column, token)
        x = self._look_up("x", column, token)
        scores = code.memory("scratch_ptr").at(self.score_at)
        largest = code.variable(code.floats(-3e38))
        with code.loop(0, n_sources) as j:
            products = [a * b for a, b in zip(q, self._source(self.k_at, j), strict=True)]
            score = sum(products[1:], products[0])
            scores.store(score, code.times(j, LANES))
            largest.set(code.maximum(largest.get(), score))
        total = code.variable(code.floats(0.0))
        sums = [code.variable(code.floats(0.0)) for _ in range(d)]
        with code.loop(0, n_sources) as j:
            weight = code.exp(scores.load(code.times(j, LANES)) - largest.get())
            total.add(weight)
            for variable, value in zip(sums, self._source(self.ov_at, j), strict=True):
                variable.add(weight * value)
        inverse = 1.0 / total.get()
        bias = self.table("attn_bias").at(code.times(column, d))
        resid = [x[i] + sums[i].get() * inverse + bias.splat(i) for i in range(d)]
        b_in = self.table("b_in").at(code.times(column, self.d_ff))
        pre = self._affine(self._normalise(resid), "W_in", b_in, self.d_ff)
        post = [code.gelu(value)[0] for value in pre]
        written = self._affine(post, "W_out", self.table("b_out").at(code.times(column, d)), d)
        final = self._normalise([a + b for a, b in zip(resid, written, strict=True)])
        head, head_bias = self.table("W_U"), self.table("b_U")
        logits = []
        for token_id in range(VOCAB_SIZE):
            logit = head_bias.splat(token_id)
            for i, value in enumerate(final):
                logit = logit + value * head.splat(token_id * d + i)
            logits.append(logit)

        truth = code.memory("scratch_ptr").at(self.truth_at)
        truth = truth.load(code.times(column, LANES), INTS)
        low = code.floats(-3e38)
        best, answer, true_logit, best_other = low, code.ints(0), low, low
        for token_id, logit in enumerate(logits):
            better = logit.compare(">", best)
            best = better.select(logit, best)
            answer = better.select(code.ints(token_id), answer)
            hit = truth.compare("==", token_id)
            true_logit = hit.select(logit, true_logit)
            best_other = code.maximum(best_other, hit.select(low, logit))
        self._row("tokens_ptr", column).at(at).store(answer)
        self._row("margin_ptr", column).at(at).store(true_logit - best_other)
        return answer


@cache
def _compiled(
    d: int, d_ff: int, centre: bool, eps: float, vectors: VectorSet
) -> tuple[DecodeWriter, Kernel]:
    writer = DecodeWriter(d, d_ff, centre, eps)
    return writer, compile_kernel("decode", ARGUMENTS, writer.write, vectors=vectors)


def run_decoder(
    tables: Tables, a: np.ndarray, b: np.ndarray, prefix: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Decode pairs with the fused kernel.

    Args:
        tables: The network.
        a: First operands, int64 (n,), 0 to 9999999999.
        b: Second operands.
        prefix: Tokens to feed back instead of the answers, (n, 11).

    Returns:
        Answers (12, n) int32 and margins (12, n) float32, column by column.
    """
    d, d_ff = tables.W_in.shape
    writer, kernel = _compiled(d, d_ff, tables.centre, tables.eps, find_vectors())
    n = len(a)
    n_padded = -(-n // LANES) * LANES
    limbs = np.zeros((4, n_padded), np.int32)
    for row, operand in ((0, a), (2, b)):
        limbs[row, :n], limbs[row + 1, :n] = np.divmod(operand, LIMB)
    fed = np.zeros((N_ANSWER, n_padded if prefix is not None else LANES), np.int32)
    if prefix is not None:
        fed[:, :n] = prefix.T
    tokens = np.empty((N_TARGET, n_padded), np.int32)
    margin = np.empty((N_TARGET, n_padded), np.float32)
    scratch = np.empty(writer.scratch_size, np.float32)
    use_prefix = int(prefix is not None)
    if prefix is None:
        fed = tokens
    kernel(writer.pack(tables), limbs, fed, tokens, margin, scratch, n_padded, use_prefix)
    return tokens[:, :n], margin[:, :n]


def supports(tables: Tables) -> bool:
    """Tell whether the kernel can be built in about a second: width to 16, units to 64."""
    d, d_ff = tables.W_in.shape
    return d <= 16 and d_ff <= 64
