"""The part of the fused step that runs per answer column: 16 sequences' query, forward and back."""

from typing import TYPE_CHECKING

from llvmlite import ir

from model.config import VOCAB_SIZE
from model.lanes import LANES, Lane
from model.task import N_PROMPT, N_TARGET

if TYPE_CHECKING:
    from train.fused_step import StepWriter


class QueryStage:
    """Writes one answer column: attention, feed-forward and head, forward and backward."""

    def __init__(self, step: "StepWriter", column: ir.Value, target: Lane) -> None:
        """Name the column (an IR index) and the tokens it should predict."""
        self.step, self.column, self.target = step, column, target
        self.code, self.d = step.code, step.config.d_model
        self.position = self.code.plus(column, N_PROMPT - 1)
        self.n_sources = self.code.plus(column, N_PROMPT)
        self.k = step.scratch(step.group_at["k"])
        self.ov = step.scratch(step.group_at["ov"])
        self.scores = step.scratch(step.score_at)

    def write(self) -> None:
        """Write the whole column."""
        step = self.step
        token = step.token(self.position)
        q = self._look_up("q", self.column, token)
        x = self._look_up("x", self.position, token)
        attn_out, inverse = self._attend(q)
        dresid = self._feed_forward_and_head(x, attn_out)
        dq = self._attend_backward(q, attn_out, inverse, dresid)
        step.scatter(self.position, self.column, dq + dresid, step.scratch(step.query_grad_at))

    def _look_up(self, name: str, row: ir.Value, token: Lane) -> list[Lane]:
        table = self.step.table(name).at(self.code.times(row, self.d * LANES))
        return [self.code.lookup(table.at(i * LANES), token) for i in range(self.d)]

    def _dot(self, x: list[Lane], y: list[Lane]) -> Lane:
        products = [a * b for a, b in zip(x, y, strict=True)]
        return sum(products[1:], products[0])

    def _attend(self, q: list[Lane]) -> tuple[list[Lane], Lane]:
        """Softmax over the sources; leaves exp(score - max) in the scores."""
        code, d = self.code, self.d
        largest = code.variable(code.floats(-3e38))
        with code.loop(0, self.n_sources) as j:
            score = self._dot(q, self.step.rows(self.k, j, d))
            self.scores.store(score, code.times(j, LANES))
            largest.set(code.maximum(largest.get(), score))
        total = code.variable(code.floats(0.0))
        sums = [code.variable(code.floats(0.0)) for _ in range(d)]
        with code.loop(0, self.n_sources) as j:
            at = code.times(j, LANES)
            weight = code.exp(self.scores.load(at) - largest.get())
            self.scores.store(weight, at)
            total.add(weight)
            for variable, value in zip(sums, self.step.rows(self.ov, j, d), strict=True):
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

        logits = step.times_transposed(final, step.param("W_E"), VOCAB_SIZE)
        largest = logits[0]
        for value in logits[1:]:
            largest = code.maximum(largest, value)
        exps = [code.exp(value - largest) for value in logits]
        total = sum(exps[1:], exps[0])
        inverse = 1.0 / total
        is_target = [self.target.compare("==", t) for t in range(VOCAB_SIZE)]
        zero, one = code.floats(0.0), code.floats(1.0)
        true_logit = zero
        for hit, value in zip(is_target, logits, strict=True):
            true_logit = hit.select(value, true_logit)
        loss = code.log(total) + largest - true_logit
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
        self, q: list[Lane], attn_out: list[Lane], inverse: Lane, dresid: list[Lane]
    ) -> list[Lane]:
        """Pull the gradient through softmax; adds to keys and values, gives that of the query."""
        step, code, d = self.step, self.code, self.d
        centre = self._dot(dresid, attn_out)
        dq = [code.variable(code.floats(0.0)) for _ in range(d)]
        dk_memory, dov_memory = (step.scratch(step.group_at[n]) for n in ("dk", "dov"))
        with code.loop(0, self.n_sources) as j:
            weight = self.scores.load(code.times(j, LANES)) * inverse
            k, ov = step.rows(self.k, j, d), step.rows(self.ov, j, d)
            dscore = weight * (self._dot(dresid, ov) - centre)
            at = code.times(j, d * LANES)
            for i in range(d):
                dq[i].add(dscore * k[i])
                dk_memory.at(at).accumulate(dscore * q[i], i * LANES)
                dov_memory.at(at).accumulate(weight * dresid[i], i * LANES)
        return [variable.get() for variable in dq]
