"""The part of the fused step that runs per answer column: 16 sequences' query, forward and back."""

from typing import TYPE_CHECKING

from llvmlite import ir

from model.config import VOCAB_SIZE
from model.lanes import I64, LANES, LOG2_E, Index, Lane
from model.task import N_INPUT, N_PROMPT, N_TARGET

if TYPE_CHECKING:
    from train.fused_step import StepWriter


def dot(x: list[Lane], y: list[Lane]) -> Lane:
    """Sum the products of two vectors' coordinates."""
    products = [a * b for a, b in zip(x, y, strict=True)]
    return sum(products[1:], products[0])


class QueryStage:
    """Writes one answer column: attention, feed-forward and head, forward and backward."""

    def __init__(self, step: "StepWriter", column: ir.Value, lane: Index) -> None:
        """Name the column (an IR index) and the first of the lanes at work."""
        self.step, self.column, self.lane = step, column, lane
        self.code, self.d = step.code, step.config.d_model
        self.position = self.code.plus(column, N_PROMPT - 1)
        self.n_sources = self.code.plus(column, N_PROMPT)
        self.target = step.target_token(column, lane)
        first = self.code.times(column, N_INPUT * self.code.width)
        self.pattern, self.dscores = (step.group(n).at(first) for n in ("pattern", "dscores"))

    def write(self) -> None:
        """Write the whole column."""
        step = self.step
        token = step.token(self.position, self.lane)
        q = self._look_up("q", self.column, token)
        x = self._look_up("x", self.position, token)
        attn_out, inverse = self._attend(q)
        dresid = self._feed_forward_and_head(x, attn_out)
        step.put_rows(step.group("q"), self.column, q)
        step.put_rows(step.group("dresid"), self.column, dresid)
        dq = self._attend_backward(attn_out, inverse, dresid)
        grads = step.scratch(step.query_grad_at)
        step.scatter(self.position, self.lane, self.column, dq + dresid, grads)

    def _look_up(self, name: str, row: ir.Value, token: Lane) -> list[Lane]:
        table = self.step.table(name).at(self.code.times(row, self.d * LANES))
        return [self.code.lookup(table.at(i * LANES), token) for i in range(self.d)]

    def _attend(self, q: list[Lane]) -> tuple[list[Lane], Lane]:
        """Softmax over the sources, of scores in units of ln 2; leaves exp(score - max)."""
        step, code, d = self.step, self.code, self.d
        largest = code.variable(code.floats(-3e38))
        with code.loop(0, self.n_sources) as j:
            score = dot(q, step.rows(step.group("k"), j, d))
            self.pattern.store(score, code.times(j, code.width))
            largest.set(code.maximum(largest.get(), score))
        total = code.variable(code.floats(0.0))
        sums = [code.variable(code.floats(0.0)) for _ in range(d)]
        with code.loop(0, self.n_sources) as j:
            at = code.times(j, code.width)
            weight = code.exp2(self.pattern.load(at) - largest.get())
            self.pattern.store(weight, at)
            total.add(weight)
            for variable, value in zip(sums, step.rows(step.group("ov"), j, d), strict=True):
                variable.add(weight * value)
        inverse = 1.0 / total.get()
        return [variable.get() * inverse for variable in sums], inverse

    def _feed_forward_and_head(self, x: list[Lane], attn_out: list[Lane]) -> list[Lane]:
        """Run from resid_mid to the loss and back; gives the gradient at resid_mid."""
        step, code, d = self.step, self.code, self.d
        d_ff = step.config.d_ff
        resid_mid = [a + b for a, b in zip(x, attn_out, strict=True)]
        xhat2, rinv2 = step.normalise(resid_mid)
        h = step.scale(xhat2, "ln2")
        pre = step.times(h, step.weight("W_in"), d_ff)
        gelu = [code.gelu(value) for value in pre]
        post = [value for value, _ in gelu]
        written = step.times(post, step.weight("W_out"), d)
        resid_post = [a + b for a, b in zip(resid_mid, written, strict=True)]
        xhat3, rinv3 = step.normalise(resid_post)
        final = step.scale(xhat3, "ln_final")

        scaled = [value * LOG2_E for value in final]  # logits in units of ln 2, for exp2
        logits = step.times_transposed(scaled, step.param("W_E"), VOCAB_SIZE)
        largest = logits[0]
        for value in logits[1:]:
            largest = code.maximum(largest, value)
        exps = [code.exp2(value - largest) for value in logits]
        total = sum(exps[1:], exps[0])
        inverse = 1.0 / total
        is_target = [self.target.compare("==", t) for t in range(VOCAB_SIZE)]
        zero, one = code.floats(0.0), code.floats(1.0)
        true_logit = zero
        for hit, value in zip(is_target, logits, strict=True):
            true_logit = hit.select(value, true_logit)
        loss = code.log(total) + (largest - true_logit) * (1 / LOG2_E)
        step.scratch(step.loss_at).accumulate(loss)
        examples = code.build.uitofp(code.arguments["batch"], ir.FloatType())
        per_example = 1.0 / (code.splat(examples) * float(N_TARGET))
        dlogits = [
            (e * inverse - hit.select(one, zero)) * per_example
            for hit, e in zip(is_target, exps, strict=True)
        ]

        step.outer("W_U", dlogits, final)
        dfinal = step.times(dlogits, step.param("W_E"), d)
        dresid_post = step.norm_gradient(dfinal, xhat3, rinv3, "ln_final")
        dpost = step.times_transposed(dresid_post, step.weight("W_out"), d_ff)
        step.outer("W_out", post, dresid_post)
        dpre = [x * slope for x, (_, slope) in zip(dpost, gelu, strict=True)]
        step.outer("W_in", h, dpre)
        dh = step.times_transposed(dpre, step.weight("W_in"), d)
        through_norm = step.norm_gradient(dh, xhat2, rinv2, "ln2")
        return [a + b for a, b in zip(dresid_post, through_norm, strict=True)]

    def _attend_backward(
        self, attn_out: list[Lane], inverse: Lane, dresid: list[Lane]
    ) -> list[Lane]:
        """Pull the gradient through softmax; leaves pattern and dscores, gives dq."""
        step, code, d = self.step, self.code, self.d
        centre = dot(dresid, attn_out)
        dq = [code.variable(code.floats(0.0)) for _ in range(d)]
        with code.loop(0, self.n_sources) as j:
            at = code.times(j, code.width)
            weight = self.pattern.load(at) * inverse
            self.pattern.store(weight, at)
            dscore = weight * (dot(dresid, step.rows(step.group("ov"), j, d)) - centre)
            self.dscores.store(dscore, at)
            for variable, value in zip(dq, step.rows(step.group("k"), j, d), strict=True):
                variable.add(dscore * value)
        return [variable.get() for variable in dq]


def write_source_gradient(step: "StepWriter", source: ir.Value) -> list[Lane]:
    """Sum the gradients of one source's key and OV value over the columns that see it."""
    code, d = step.code, step.config.d_model
    build = code.build
    sums = [code.variable(code.floats(0.0)) for _ in range(2 * d)]
    late = build.sub(source, ir.Constant(I64, N_PROMPT - 1))
    first = build.select(build.icmp_signed(">", late, ir.Constant(I64, 0)), late, code.index(0))
    with code.loop(first, N_TARGET) as column:
        at = code.times(code.plus(code.times(column, N_INPUT), source), code.width)
        dscore, weight = (step.group(name).load(at) for name in ("dscores", "pattern"))
        q, dresid = (step.rows(step.group(name), column, d) for name in ("q", "dresid"))
        for variable, value in zip(sums[:d], q, strict=True):
            variable.add(dscore * value)
        for variable, value in zip(sums[d:], dresid, strict=True):
            variable.add(weight * value)
    # Queries are kept in units of ln 2, for exp2.
    values = [variable.get() for variable in sums]
    return [value * (1 / LOG2_E) for value in values[:d]] + values[d:]
