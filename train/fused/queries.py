"""The part of the fused step that runs per answer column: queries of 16 sequences, there and back.

Each stage passes over all twelve columns before the next one begins, and what it leaves lies in
memory. Its body is then small enough for the registers, and the processor works on several columns
at a time; a body that took a column from attention to loss and back would spill and wait.
"""

import contextlib
from collections.abc import Iterator

from llvmlite import ir

from model.config import VOCAB_SIZE
from model.lanes import HALF, I32, I64, LANES, LOG2_E, Index, Lane, Memory, Variable
from model.task import EOS, N_ANSWER, N_INPUT, N_PROMPT, N_TARGET
from train.fused.algebra import StepAlgebra

TILE_ROWS, TILE_COLUMNS = 6, {HALF: 2, LANES: 4}
"""Sums of an outer product that registers hold at once; columns by the lanes of a register."""


def dot(x: list[Lane], y: list[Lane]) -> Lane:
    """Sum the products of two vectors' coordinates."""
    products = [a * b for a, b in zip(x, y, strict=True)]
    return sum(products[1:], products[0])


def add_products(sums: list[Variable], factor: Lane, vector: list[Lane]) -> None:
    """Add `factor` times a vector to sums of its coordinates."""
    for variable, value in zip(sums, vector, strict=True):
        variable.add(factor * value)


class QueryStages:
    """Writes the columns of a group of sequences: attention, feed-forward, head, and back."""

    def __init__(self, step: StepAlgebra, lane: Index) -> None:
        """Name the first of the lanes at work."""
        self.step, self.lane = step, lane
        self.code, self.d, self.d_ff = step.code, step.config.d_model, step.config.d_ff

    def write(self) -> None:
        """Write all stages."""
        with self.code.loop(0, N_INPUT) as source:
            token = self.step.token(source, self.lane)
            self._keep(
                source,
                k=self._look_up("k", source, token),
                ov=self._look_up("ov", source, token),
            )
        for stage in (
            self._attend,
            self._feed_forward,
            self._predict,
            self._feed_forward_backward,
            self._attend_backward,
        ):
            with self.code.loop(0, N_TARGET) as column:
                stage(column)
        self._outer("W_U", "dlogits", "final")
        self._outer("W_out", "post", "dresid_post")
        self._outer("W_in", "h", "dpre")
        with self.code.loop(0, N_INPUT) as source:
            self._pull_back_source(source)

    def _row(self, name: str, row: Index) -> Memory:
        at = self.code.times(row, self.step.group_width[name] * self.code.width)
        return self.step.group(name).at(at)

    def _read(self, name: str, row: Index) -> list[Lane]:
        return self.step.rows(self.step.group(name), row, self.step.group_width[name])

    def _keep(self, row: ir.Value, **values: list[Lane]) -> None:
        for name, lanes in values.items():
            self.step.put_rows(self.step.group(name), row, lanes)

    def _zeros(self, n: int) -> list[Variable]:
        return [self.code.variable(self.code.floats(0.0)) for _ in range(n)]

    def _look_up(self, name: str, row: Index, token: Lane) -> list[Lane]:
        table = self.step.table(name).at(self.code.times(row, self.d * LANES))
        return [self.code.lookup(table.at(i * LANES), token) for i in range(self.d)]

    def _row_of(self, matrix: Memory, row: ir.Value) -> list[Lane]:
        """Spread what a unit writes (W_out) or what a token is (W_E)."""
        start = self.code.times(row, self.d)
        return [matrix.splat(self.code.plus(start, i)) for i in range(self.d)]

    def _read_by_unit(self, W_in: Memory, unit: ir.Value) -> list[Lane]:
        """Spread what a unit reads: its column of W_in."""
        return [W_in.splat(self.code.plus(unit, i * self.d_ff)) for i in range(self.d)]

    @contextlib.contextmanager
    def _in_order(self, n: int) -> Iterator[ir.Value]:
        """Repeat for 1, 0, 2, 3, ..., or for 0 alone.

        So LLVM rounds an unrolled sum of products, and the checkpoints that were made with one come
        out again to the bit.
        """
        build = self.code.build
        if n == 1:
            yield self.code.index(0)
            return
        with self.code.loop(0, n) as i:
            early = build.zext(build.icmp_unsigned("<", i, ir.Constant(I64, 2)), I64)
            yield build.xor(i, early)

    def _attend(self, column: ir.Value) -> None:
        """Softmax over the sources, of scores in units of ln 2; leaves exp(score - max)."""
        code = self.code
        position, n_sources = code.plus(column, N_PROMPT - 1), code.plus(column, N_PROMPT)
        token = self.step.token(position, self.lane)
        q = self._look_up("q", column, token)
        pattern = self._row("pattern", column)
        largest = code.variable(code.floats(-3e38))
        with code.loop(0, n_sources) as j:
            score = dot(q, self._read("k", j))
            pattern.store(score, code.times(j, code.width))
            largest.set(code.maximum(largest.get(), score))
        (total,), sums = self._zeros(1), self._zeros(self.d)
        with code.loop(0, n_sources) as j:
            at = code.times(j, code.width)
            weight = code.exp2(pattern.load(at) - largest.get())
            pattern.store(weight, at)
            total.add(weight)
            add_products(sums, weight, self._read("ov", j))
        inverse = 1.0 / total.get()
        attn_out = [variable.get() * inverse for variable in sums]
        x = self._look_up("x", position, token)
        resid_mid = [a + b for a, b in zip(x, attn_out, strict=True)]
        self._keep(column, q=q, attn_out=attn_out, inverse=[inverse], resid_mid=resid_mid)

    def _feed_forward(self, column: ir.Value) -> None:
        """From resid_mid to resid_post, unit by unit."""
        step, code, d = self.step, self.code, self.d
        resid_mid = self._read("resid_mid", column)
        xhat, rinv = step.normalise(resid_mid)
        h = step.scale(xhat, "ln2")
        W_in, W_out = step.weight("W_in"), step.weight("W_out")
        post, slope = self._row("post", column), self._row("slope", column)
        written = self._zeros(d)
        with self._in_order(self.d_ff) as unit:
            pre = dot(h, self._read_by_unit(W_in, unit))
            value, derivative = code.gelu(pre)
            post.store(value, code.times(unit, code.width))
            slope.store(derivative, code.times(unit, code.width))
            add_products(written, value, self._row_of(W_out, unit))
        resid_post = [a + b.get() for a, b in zip(resid_mid, written, strict=True)]
        self._keep(column, h=h, xhat=xhat, rinv=[rinv], resid_post=resid_post)

    def _target_token(self, column: ir.Value) -> Lane:
        """Read the tokens to predict in a column; EOS in the last."""
        build = self.code.build
        last = build.icmp_signed(">=", column, ir.Constant(I64, N_ANSWER))
        inside = build.select(last, ir.Constant(I64, N_ANSWER - 1), column)
        digit = self.step.token(self.code.plus(inside, N_PROMPT), self.lane)
        return Lane(self.code, build.select(last, self.code.ints(EOS).value, digit.value))

    def _predict(self, column: ir.Value) -> None:
        """From resid_post to the loss, and back to the gradient at resid_post, token by token."""
        step, code, d = self.step, self.code, self.d
        xhat, rinv = step.normalise(self._read("resid_post", column))
        final = step.scale(xhat, "ln_final")
        scaled = [value * LOG2_E for value in final]  # logits in units of ln 2, for exp2
        W_E, row = step.param("W_E"), self._row("dlogits", column)
        target = self._target_token(column)

        def is_target(token: ir.Value) -> Lane:
            return target.compare("==", code.splat(code.build.trunc(token, I32)))

        largest, (true_logit, total) = code.variable(code.floats(-3e38)), self._zeros(2)
        with code.loop(0, VOCAB_SIZE) as token:
            logit = dot(scaled, self._row_of(W_E, token))
            row.store(logit, code.times(token, code.width))
            largest.set(code.maximum(largest.get(), logit))
            true_logit.set(is_target(token).select(logit, true_logit.get()))
        with code.loop(0, VOCAB_SIZE) as token:
            at = code.times(token, code.width)
            weight = code.exp2(row.load(at) - largest.get())
            row.store(weight, at)
            total.add(weight)
        loss = code.log(total.get()) + (largest.get() - true_logit.get()) * (1 / LOG2_E)
        step.scratch(step.loss_at).accumulate(loss)

        inverse = 1.0 / total.get()
        examples = code.build.uitofp(code.arguments["batch"], ir.FloatType())
        per_example = 1.0 / (code.splat(examples) * float(N_TARGET))
        zero, one, dfinal = code.floats(0.0), code.floats(1.0), self._zeros(d)
        with self._in_order(VOCAB_SIZE) as token:
            at = code.times(token, code.width)
            error = row.load(at) * inverse - is_target(token).select(one, zero)
            dlogit = error * per_example
            row.store(dlogit, at)
            add_products(dfinal, dlogit, self._row_of(W_E, token))
        gradient = [variable.get() for variable in dfinal]
        dresid_post = step.norm_gradient(gradient, xhat, rinv, "ln_final")
        self._keep(column, final=final, dresid_post=dresid_post)

    def _feed_forward_backward(self, column: ir.Value) -> None:
        """From the gradient at resid_post to that at resid_mid, unit by unit."""
        step, code, d = self.step, self.code, self.d
        dresid_post = self._read("dresid_post", column)
        W_in, W_out = step.weight("W_in"), step.weight("W_out")
        slope, dpre_row = self._row("slope", column), self._row("dpre", column)
        dh = self._zeros(d)
        with self._in_order(self.d_ff) as unit:
            at = code.times(unit, code.width)
            dpre = dot(dresid_post, self._row_of(W_out, unit)) * slope.load(at)
            dpre_row.store(dpre, at)
            add_products(dh, dpre, self._read_by_unit(W_in, unit))
        xhat, (rinv,) = self._read("xhat", column), self._read("rinv", column)
        through_norm = step.norm_gradient([variable.get() for variable in dh], xhat, rinv, "ln2")
        dresid = [a + b for a, b in zip(dresid_post, through_norm, strict=True)]
        self._keep(column, dresid=dresid)

    def _attend_backward(self, column: ir.Value) -> None:
        """Pull the gradient through softmax to the query; leaves pattern and dscores."""
        step, code = self.step, self.code
        dresid, (inverse,) = self._read("dresid", column), self._read("inverse", column)
        centre = dot(dresid, self._read("attn_out", column))
        pattern, dscores = self._row("pattern", column), self._row("dscores", column)
        dq = self._zeros(self.d)
        with code.loop(0, code.plus(column, N_PROMPT)) as j:
            at = code.times(j, code.width)
            weight = pattern.load(at) * inverse
            pattern.store(weight, at)
            dscore = weight * (dot(dresid, self._read("ov", j)) - centre)
            dscores.store(dscore, at)
            add_products(dq, dscore, self._read("k", j))
        grads = [variable.get() for variable in dq] + dresid
        position = code.plus(column, N_PROMPT - 1)
        step.scatter(position, self.lane, column, grads, step.scratch(step.query_grad_at))

    def _outer(self, name: str, left: str, right: str) -> None:
        """Add the columns' outer products left x right to the per-lane gradient of a matrix."""
        code, target = self.code, self.step.lane_grad(name)
        n_rows, n_columns = self.step.group_width[left], self.step.group_width[right]
        wide = TILE_COLUMNS[code.width]
        for top in range(0, n_rows, TILE_ROWS):
            for left_edge in range(0, n_columns, wide):
                down = range(top, min(top + TILE_ROWS, n_rows))
                across = range(left_edge, min(left_edge + wide, n_columns))
                at = {(i, j): (i * n_columns + j) * LANES for i in down for j in across}
                sums = {key: code.variable(target.load(place)) for key, place in at.items()}
                with code.loop(0, N_TARGET) as column:
                    x, y = self._row(left, column), self._row(right, column)
                    values = {j: y.load(j * code.width) for j in across}
                    for i in down:
                        value = x.load(i * code.width)
                        for j in across:
                            sums[i, j].add(value * values[j])
                for key, place in at.items():
                    target.store(sums[key].get(), place)

    def _pull_back_source(self, source: ir.Value) -> None:
        """Sum the gradients of one source's key and OV value over the columns that see it."""
        code, step, d = self.code, self.step, self.d
        build = code.build
        sums = self._zeros(2 * d)
        late = build.sub(source, ir.Constant(I64, N_PROMPT - 1))
        first = build.select(build.icmp_signed(">", late, ir.Constant(I64, 0)), late, code.index(0))
        with code.loop(first, N_TARGET) as column:
            at = code.times(source, code.width)
            dscore, weight = (self._row(x, column).load(at) for x in ("dscores", "pattern"))
            add_products(sums[:d], dscore, self._read("q", column))
            add_products(sums[d:], weight, self._read("dresid", column))
        # Queries are kept in units of ln 2, for exp2.
        values = [variable.get() for variable in sums]
        grads = [value * (1 / LOG2_E) for value in values[:d]] + values[d:]
        step.scatter(source, self.lane, source, grads, step.scratch(step.source_grad_at))
