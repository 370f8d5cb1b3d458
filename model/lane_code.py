"""A small staged language for SIMD kernels: Python writes LLVM IR over vectors of 16 lanes.

A kernel is a Python function that runs once, on symbolic vectors, and leaves straight-line vector
code and loops behind; llvmlite compiles that for the processor at hand in about a second. It needs
no compiler on the machine, and every loop over a small dimension of the network is unrolled by
simply being a Python loop. The arithmetic is float32, fused where the processor can.

Where the processor's registers hold fewer lanes, hot loops run in parts of 8 (`Code.in_parts`): a
loop whose values spill from the registers costs more than one that runs twice.
"""

import contextlib
from collections.abc import Iterator, Sequence

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from model.lanes import (
    F32,
    HALF,
    HALF_FLOATS,
    HALF_INTS,
    I32,
    I64,
    INTS,
    LANES,
    LOG2_E,
    POINTER,
    Index,
    Lane,
    Memory,
    Variable,
    Vectors,
    is_float,
)

EXP2 = (0.0013276472, 0.0096755413, 0.0555071327, 0.2402211972, 0.6931469671, 1.0000000717)
"""Minimax polynomial of 2**r for |r| <= 1/2, highest power first: 7.5e-8 relative."""
SHIFTER = 12582912.0
"""1.5 * 2**23: adding it leaves the nearest integer in the low bits of a float."""


class Code:
    """The function under construction."""

    def __init__(self, name: str, arguments: Sequence[str], *, vectors: Vectors) -> None:
        """Open a function of 64-bit arguments; those whose name ends in `_ptr` are addresses.

        Args:
            name: Name of the function.
            arguments: Names of the arguments.
            vectors: What the processor has.
        """
        self.module = ir.Module(name=name)
        self.module.triple = llvm.get_process_triple()
        types = [POINTER if a.endswith("_ptr") else I64 for a in arguments]
        self.function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), types), name)
        self.arguments = dict(zip(arguments, self.function.args, strict=True))
        self.entry = self.function.append_basic_block("entry")
        self.build = ir.IRBuilder(self.function.append_basic_block("body"))
        self.vectors = vectors
        self.width = LANES

    def close(self) -> str:
        """Finish the function and return its IR as text."""
        self.build.ret_void()
        body = self.function.blocks[1]
        with self.build.goto_block(self.entry):
            self.build.branch(body)
        return str(self.module)

    def kind(self, element: ir.Type) -> ir.VectorType:
        """Name the vectors of an element at the current width."""
        return ir.VectorType(element, self.width)

    @contextlib.contextmanager
    def in_parts(self) -> Iterator[Index]:
        """Write the block for all 16 lanes: at once, or as a loop over two parts of 8.

        Yields the number of the part's first lane, which addresses of 16 lanes are to be moved by.
        """
        if self.vectors == "avx512":
            yield 0
            return
        with self.loop(0, LANES // HALF) as part:
            self.width = HALF
            yield self.times(part, HALF)
            self.width = LANES

    def memory(self, name: str) -> Memory:
        """Name the memory behind an address argument."""
        return Memory(self, self.arguments[name])

    def index(self, value: Index) -> ir.Value:
        """Make an index an IR value."""
        return ir.Constant(I64, value) if isinstance(value, int) else value

    def plus(self, left: Index, right: Index) -> Index:
        """Add indices, at build time where both are known."""
        if isinstance(left, int) and isinstance(right, int):
            return left + right
        if isinstance(right, int) and right == 0:
            return left
        return self.build.add(self.index(left), self.index(right))

    def times(self, left: Index, right: int) -> Index:
        """Multiply an index by a constant."""
        return left * right if isinstance(left, int) else self.build.mul(left, self.index(right))

    def lift(self, value: "Lane | float | int", kind: ir.Type) -> Lane:
        """Make a constant a vector of the given kind."""
        if isinstance(value, Lane):
            return value
        if kind in (F32, I32):
            return Lane(self, ir.Constant(kind, value))
        number = float(np.float32(value)) if is_float(kind) else int(value)
        return Lane(self, ir.Constant(kind, [number] * kind.count))

    def floats(self, value: float) -> Lane:
        """Put one float constant into every lane."""
        return self.lift(value, self.kind(F32))

    def ints(self, value: int) -> Lane:
        """Put one integer constant into every lane."""
        return self.lift(value, self.kind(I32))

    def splat(self, scalar: ir.Value, width: int | None = None) -> Lane:
        """Put one IR number into every lane."""
        width = width or self.width
        undefined = ir.Constant(ir.VectorType(scalar.type, width), ir.Undefined)
        first = self.build.insert_element(undefined, scalar, ir.Constant(I32, 0))
        mask = ir.Constant(ir.VectorType(I32, width), [0] * width)
        return Lane(self, self.build.shuffle_vector(first, undefined, mask))

    def variable(self, initial: Lane) -> Variable:
        """Make a mutable vector."""
        return Variable(self, initial)

    @contextlib.contextmanager
    def loop(self, start: Index, stop: Index) -> Iterator[ir.Value]:
        """Repeat the block for every index from `start` up to, not including, `stop`."""
        with self.build.goto_block(self.entry):
            slot = self.build.alloca(I64)
        self.build.store(self.index(start), slot)
        limit = self.index(stop)
        head, body, after = (
            self.function.append_basic_block(name) for name in ("head", "body", "after")
        )
        self.build.branch(head)
        self.build.position_at_end(head)
        index = self.build.load(slot, typ=I64)
        self.build.cbranch(self.build.icmp_signed("<", index, limit), body, after)
        self.build.position_at_end(body)
        yield index
        self.build.store(self.build.add(index, ir.Constant(I64, 1)), slot)
        self.build.branch(head)
        self.build.position_at_end(after)

    def call(self, name: str, *values: ir.Value, flags: Sequence[str] = ()) -> ir.Value:
        """Call an LLVM intrinsic on values of one vector type."""
        kinds = [value.type for value in values]
        result = F32 if ".reduce." in name else kinds[0]
        known = self.module.globals.get(name)
        target = known or ir.Function(self.module, ir.FunctionType(result, kinds), name)
        return self.build.call(target, values, fastmath=flags)

    def maximum(self, left: Lane, right: Lane) -> Lane:
        """Take the larger of two floats in every lane."""
        return left.compare(">", right).select(left, right)

    def sqrt(self, x: Lane) -> Lane:
        """Take square roots."""
        return Lane(self, self.call(f"llvm.sqrt.v{x.value.type.count}f32", x.value))

    def total(self, x: Lane) -> ir.Value:
        """Sum the lanes to one number, pairwise."""
        start = ir.Constant(F32, -0.0)
        name = f"llvm.vector.reduce.fadd.v{x.value.type.count}f32"
        return self.call(name, start, x.value, flags=("reassoc",))

    def to_float(self, x: Lane) -> Lane:
        """Convert integers to floats."""
        return Lane(self, self.build.sitofp(x.value, self.kind(F32)))

    def bits(self, x: Lane, element: ir.Type) -> Lane:
        """Read the same bits as numbers of another type."""
        return Lane(self, self.build.bitcast(x.value, self.kind(element)))

    def exp2(self, x: Lane) -> Lane:
        """Compute 2**x for x < 128 to 2e-7 relative; below -126 it stays at 2**-126.

        x = n + r with n the nearest integer: a polynomial in r, and n added to the exponent's bits.
        """
        x = self.maximum(x, self.floats(-126.0))
        shifted = x + SHIFTER
        return self._power(x - (shifted - SHIFTER), shifted)

    def exp(self, x: Lane) -> Lane:
        """Compute e**x for x <= 88 to 3e-7 relative; below -87 it stays at about 1e-38.

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
        """Compute ln x for positive normal x to about 1e-7 absolute.

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
        if self.vectors == "avx512":
            name = "llvm.x86.avx512.permvar.sf.512"
            return Lane(self, self.call(name, table.load().value, token.value))
        if self.vectors == "avx2":
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
