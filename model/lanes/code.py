"""A small staged language for SIMD kernels: Python writes LLVM IR over vectors of 16 lanes.

A kernel is a Python function that runs once, on symbolic vectors, and leaves straight-line vector
code and loops behind; llvmlite compiles that for the processor at hand in about a second. It needs
no compiler on the machine, and a loop over the coordinates of the residual stream is unrolled by
simply being a Python loop. The arithmetic is float32, fused where the processor can.

`model.lanes.writer` has loops, memory and single instructions; here are functions, tables and
transposes.
"""

from llvmlite import ir

from model.lanes.values import (
    F32,
    HALF,
    HALF_FLOATS,
    HALF_INTS,
    I32,
    I64,
    INTS,
    LANES,
    LOG2_E,
    Lane,
    Memory,
)
from model.lanes.writer import LaneWriter

EXP2 = (0.0013276472, 0.0096755413, 0.0555071327, 0.2402211972, 0.6931469671, 1.0000000717)
"""Minimax polynomial of 2**r for |r| <= 1/2, highest power first: 7.5e-8 relative."""
SHIFTER = 12582912.0
"""1.5 * 2**23: adding it leaves the nearest integer in the low bits of a float."""

TRANSPOSE = {
    1: ([0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]),
    2: ([0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]),
    4: ([0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]),
}
"""Shuffles of two vectors that stand so far apart: each within the vectors' halves, or of whole
halves. They leave vectors 1 and 2, and 5 and 6, exchanged."""


class Code(LaneWriter):
    """The function under construction, with arithmetic that is more than one instruction."""

    def exp2(self, x: Lane) -> Lane:
        """Compute 2**x for x < 128 to 3.1e-7 relative; below -126 it stays at 2**-126.

        x = n + r with n the nearest integer: a polynomial in r, and n added to the exponent's bits.
        """
        x = self.maximum(x, self.floats(-126.0))
        shifted = x + SHIFTER
        return self._power(x - (shifted - SHIFTER), shifted)

    def exp(self, x: Lane) -> Lane:
        """Compute e**x for x <= 88 to 3.9e-7 relative; below -87 it stays at about 1e-38.

        As `exp2`, with n ln 2 subtracted in two parts, the first of them exact.
        """
        x = self.maximum(x, self.floats(-87.0))
        shifted = x * LOG2_E + SHIFTER
        n = shifted - SHIFTER
        r = x - n * 0.693145751953125
        return self._power((r - n * 1.428606765330187e-06) * LOG2_E, shifted)

    def _power(self, r: Lane, shifted: Lane) -> Lane:
        poly = self.floats(EXP2[0])
        for coefficient in EXP2[1:]:
            poly = poly * r + coefficient
        return self.bits(self.bits(poly, I32) + (self.bits(shifted, I32) << 23), F32)

    def log(self, x: Lane) -> Lane:
        """Compute ln x for positive normal x, to 1.2e-7 plus 1.5e-7 of the result.

        x = 2^e m with m in [sqrt(1/2), sqrt(2)); ln m = 2 artanh(z), z = (m - 1) / (m + 1).
        """
        raw = self.bits(x, I32) - 0x3F3504F3
        exponent = self.to_float(Lane(self, self.build.ashr(raw.value, self.ints(23).value)))
        mantissa = self.bits((raw & self.ints(0x007FFFFF)) + 0x3F3504F3, F32)
        z = (mantissa - 1.0) / (mantissa + 1.0)
        square = z * z
        series = self.floats(1 / 9)
        for coefficient in (1 / 7, 1 / 5, 1 / 3, 1.0):
            series = series * square + coefficient
        return series * z * 2.0 + exponent * 0.6931471805599453

    def gelu(self, x: Lane) -> tuple[Lane, Lane]:
        """Compute x Phi(x) and its derivative Phi(x) + x phi(x), Phi the normal distribution.

        erf by Abramowitz & Stegun 7.1.26 (absolute error 1.5e-7), which shares exp(-x^2 / 2) with
        the density phi.
        """
        bell = self.exp(x * x * -0.5)
        magnitude = self.maximum(x, self.floats(0.0) - x)
        t = 1.0 / (magnitude * (0.3275911 * 0.7071067811865476) + 1.0)
        poly = self.floats(1.061405429)
        for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
            poly = poly * t + coefficient
        tail = poly * t * bell * 0.5
        phi = x.compare(">=", 0.0).select(1.0 - tail, tail)
        return x * phi, phi + x * bell * 0.3989422804014327

    def lookup(self, table: Memory, token: Lane) -> Lane:
        """Read entry `token` (0 to 15) of a table of 16 numbers, in every lane."""
        if self.vectors.name == "avx512":
            name = "llvm.x86.avx512.permvar.sf.512"
            return Lane(self, self.call(name, table.load().value, token.value))
        if self.vectors.name == "avx2":
            return self._look_up_in_halves(table, token)
        return self.gather(table, token, F32)

    def _look_up_in_halves(self, table: Memory, token: Lane) -> Lane:
        """Look up with AVX2, whose permutation knows tables of 8: in both halves, then choose."""
        low, high = (table.load(at, HALF_FLOATS).value for at in (0, HALF))
        parts = []
        for start in range(0, token.value.type.count, HALF):
            lanes = ir.Constant(HALF_INTS, list(range(start, start + HALF)))
            index = self.build.shuffle_vector(token.value, token.value, lanes)
            from_low, from_high = (
                self.call("llvm.x86.avx2.permps", half, index) for half in (low, high)
            )
            is_high = self.build.icmp_unsigned(">=", index, ir.Constant(HALF_INTS, [HALF] * HALF))
            parts.append(self.build.select(is_high, from_high, from_low))
        if len(parts) == 1:
            return Lane(self, parts[0])
        whole = ir.Constant(INTS, list(range(LANES)))
        return Lane(self, self.build.shuffle_vector(*parts, whole))

    def gather(self, memory: Memory, index: Lane, element: ir.Type) -> Lane:
        """Read the number at a different index in every lane."""
        result = ir.Constant(self.kind(element), ir.Undefined)
        for lane in range(self.width):
            at = ir.Constant(I32, lane)
            where = self.build.zext(self.build.extract_element(index.value, at), I64)
            result = self.build.insert_element(result, memory.scalar(where, element), at)
        return Lane(self, result)

    def transpose(self, rows: list[Lane]) -> list[Lane]:
        """Transpose 8 vectors of 8 lanes, by shuffles that processors have."""
        for step, masks in TRANSPOSE.items():
            shuffled = list(rows)
            for i in range(HALF):
                if not i & step:
                    x, y = rows[i].value, rows[i + step].value
                    for k, mask in enumerate(masks):
                        lanes = ir.Constant(HALF_INTS, mask)
                        shuffled[i + k * step] = Lane(self, self.build.shuffle_vector(x, y, lanes))
            rows = shuffled
        return [rows[i] for i in (0, 2, 1, 3, 4, 6, 5, 7)]

    def interleave(self, rows: list[Lane]) -> list[Lane]:
        """Transpose `rows` (a power of two of them) to lane-major order.

        The concatenated results hold, for each lane in turn, the values of all rows.
        """
        n = self.width
        low = ir.Constant(self.kind(I32), [i // 2 + i % 2 * n for i in range(n)])
        high = ir.Constant(self.kind(I32), [n // 2 + i // 2 + i % 2 * n for i in range(n)])
        return self._shuffle_stages(rows, low, high, zipping=True)

    def deinterleave(self, rows: list[Lane]) -> list[Lane]:
        """Undo `interleave`."""
        even = ir.Constant(self.kind(I32), [2 * i for i in range(self.width)])
        odd = ir.Constant(self.kind(I32), [2 * i + 1 for i in range(self.width)])
        return self._shuffle_stages(rows, even, odd, zipping=False)

    def _shuffle_stages(
        self, rows: list[Lane], first: ir.Constant, second: ir.Constant, zipping: bool
    ) -> list[Lane]:
        half = len(rows) // 2
        stages = len(rows).bit_length() - 1
        for _ in range(stages):
            if zipping:
                pairs = [(rows[i], rows[i + half]) for i in range(half)]
                rows = [
                    Lane(self, self.build.shuffle_vector(x.value, y.value, mask))
                    for x, y in pairs
                    for mask in (first, second)
                ]
            else:
                pairs = [(rows[2 * i], rows[2 * i + 1]) for i in range(half)]
                rows = [
                    Lane(self, self.build.shuffle_vector(x.value, y.value, mask))
                    for mask in (first, second)
                    for x, y in pairs
                ]
        return rows
