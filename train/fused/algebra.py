"""Row vectors, norms and their gradients over 16 lanes, as the fused step needs them.

Gradients that belong to a token are added to its row in a table.
"""

from llvmlite import ir

from model.lanes import F32, HALF, I32, I64, LANES, Index, Lane, Memory
from train.fused.memory import StepMemory


class StepAlgebra(StepMemory):
    """Arithmetic of the fused step on lists of lanes, one for each coordinate of a row vector."""

    def mean(self, values: list[Lane]) -> Lane:
        """Average over the width of the residual stream."""
        return sum(values[1:], values[0]) * (1.0 / len(values))

    def normalise(self, x: list[Lane]) -> tuple[list[Lane], Lane]:
        """Norm without gain: the normed vector and the inverse scale."""
        if self.config.norm == "layer":
            centre = self.mean(x)
            x = [value - centre for value in x]
        rinv = 1.0 / self.code.sqrt(self.mean([value * value for value in x]) + self.config.eps)
        return [value * rinv for value in x], rinv

    def scale(self, xhat: list[Lane], name: str) -> list[Lane]:
        """Apply gain and bias."""
        gain, bias = self.gain(name), self.bias(name)
        scaled = [value * gain.splat(i) for i, value in enumerate(xhat)]
        return [value + bias.splat(i) for i, value in enumerate(scaled)] if bias else scaled

    def norm_gradient(self, dh: list[Lane], xhat: list[Lane], rinv: Lane, name: str) -> list[Lane]:
        """Pull a gradient back through norm, gain and bias, adding those of gain and bias."""
        for i, value in enumerate(dh):
            self.lane_grad(f"{name}_w").accumulate(value * xhat[i], i * LANES)
            if self.config.norm == "layer":
                self.lane_grad(f"{name}_b").accumulate(value, i * LANES)
        dxhat = [value * self.gain(name).splat(i) for i, value in enumerate(dh)]
        along = self.mean([x * y for x, y in zip(dxhat, xhat, strict=True)])
        dx = [x - y * along for x, y in zip(dxhat, xhat, strict=True)]
        if self.config.norm == "layer":
            centre = self.mean(dxhat)
            dx = [value - centre for value in dx]
        return [value * rinv for value in dx]

    def outer(self, name: str, left: list[Lane], right: list[Lane]) -> None:
        """Add left x right to the per-lane gradient of a matrix."""
        target = self.lane_grad(name)
        for i, x in enumerate(left):
            for j, y in enumerate(right):
                target.accumulate(x * y, (i * len(right) + j) * LANES)

    def times(self, x: list[Lane], matrix: Memory, n: int) -> list[Lane]:
        """Multiply a row vector by a matrix of `n` columns."""
        return [
            sum((x[i] * matrix.splat(i * n + j) for i in range(1, len(x))), x[0] * matrix.splat(j))
            for j in range(n)
        ]

    def times_transposed(self, x: list[Lane], matrix: Memory, m: int) -> list[Lane]:
        """Multiply a row vector by the transpose of a matrix of `m` rows."""
        n = len(x)
        return [
            sum((x[j] * matrix.splat(i * n + j) for j in range(1, n)), x[0] * matrix.splat(i * n))
            for i in range(m)
        ]

    def scatter(
        self, position: Index, first_lane: Index, row: Index, values: list[Lane], table: Memory
    ) -> None:
        """Add each lane's values to the row of its token in a gradient table."""
        code = self.code
        base = table.at(code.times(row, LANES * self.grad_width))
        tokens = self.scratch(self.tokens_at).at(code.times(position, LANES)).at(first_lane)
        for lane, parts in enumerate(self._by_lane(values)):
            token = code.build.zext(tokens.scalar(lane, I32), I64)
            target = base.at(code.times(token, self.grad_width))
            for at, part in parts.items():
                target.store(target.load(at, part.value.type) + part, at)

    def _by_lane(self, values: list[Lane]) -> list[dict[int, Lane]]:
        """Give each lane's values as vectors, by the place where each begins."""
        code, n_values = self.code, len(values)
        values = values + [code.floats(0.0)] * (self.grad_width - len(values))
        if code.width == HALF:
            starts = range(0, n_values, HALF)
            blocks = {i: code.transpose(values[i : i + HALF]) for i in starts}
            return [{i: block[lane] for i, block in blocks.items()} for lane in range(HALF)]
        temporary = self.scratch(self.transpose_at)
        for i, value in enumerate(code.interleave(values)):
            temporary.store(value, i * code.width)
        kind = ir.VectorType(F32, self.grad_width)
        return [{0: temporary.load(lane * self.grad_width, kind)} for lane in range(code.width)]

    def gradient_rows(self, row: int | ir.Value, table: Memory) -> list[Lane]:
        """Read a gradient table's row with tokens as lanes."""
        at = table.at(self.code.times(row, LANES * self.grad_width))
        values = [at.load(i * LANES) for i in range(self.grad_width)]
        return self.code.deinterleave(values)
