"""A small staged language for SIMD kernels: Python writes LLVM IR over vectors of 16 lanes.

Where the processor's registers hold fewer, hot loops run in parts of 8 lanes (`Code.in_parts`): a
loop whose values spill from the registers costs more than one that runs twice.

A kernel is a Python function that runs once, on symbolic vectors, and leaves straight-line vector
code and loops behind; llvmlite compiles that for the processor at hand in about a second. It needs
no compiler on the machine, and every loop over a small dimension of the network is unrolled by
simply being a Python loop. The arithmetic is float32, fused where the processor can.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Literal

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

LANES = 16
HALF = LANES // 2

Vectors = Literal["avx512", "avx2", "other"]
"""What vector instructions a processor has, as far as kernels are written differently for it."""

I1, I32, I64, F32 = ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.FloatType()
INTS, FLOATS = ir.VectorType(I32, LANES), ir.VectorType(F32, LANES)
HALF_INTS, HALF_FLOATS = ir.VectorType(I32, HALF), ir.VectorType(F32, HALF)
POINTER = ir.PointerType()
_FAST = ("contract", "nsz")

Index = int | ir.Value

EXP2 = (0.0013276472, 0.0096755413, 0.0555071327, 0.2402211972, 0.6931469671, 1.0000000717)
"""Minimax polynomial of 2**r for |r| <= 1/2, highest power first: 7.5e-8 relative."""
SHIFTER = 12582912.0
"""1.5 * 2**23: adding it leaves the nearest integer in the low bits of a float."""
LOG2_E = 1.4426950408889634


def is_float(kind: ir.Type) -> bool:
    """Tell floats, one or a vector, from integers."""
    return kind == F32 or (isinstance(kind, ir.VectorType) and kind.element == F32)


class Lane:
    """A value of 16 lanes (floats, integers or truth values), with arithmetic on all of them.

    Inside `Code.in_parts` it may have 8.

    A single number behaves the same way, for the small matrix products outside the hot loops.
    """

    def __init__(self, code: "Code", value: ir.Value) -> None:
        """Wrap an IR value that `code` is building."""
        self.code = code
        self.value = value

    def _binary(
        self, other: "Lane | float | int", floats: str, ints: str, swap: bool = False
    ) -> "Lane":
        left, right = self.value, self.code.lift(other, self.value.type).value
        if swap:
            left, right = right, left
        build = self.code.build
        if is_float(self.value.type):
            return Lane(self.code, getattr(build, floats)(left, right, flags=_FAST))
        return Lane(self.code, getattr(build, ints)(left, right))

    def __add__(self, other: "Lane | float | int") -> "Lane":
        """Add lane by lane."""
        return self._binary(other, "fadd", "add")

    def __sub__(self, other: "Lane | float | int") -> "Lane":
        """Subtract lane by lane."""
        return self._binary(other, "fsub", "sub")

    def __mul__(self, other: "Lane | float | int") -> "Lane":
        """Multiply lane by lane."""
        return self._binary(other, "fmul", "mul")

    def __truediv__(self, other: "Lane | float | int") -> "Lane":
        """Divide floats lane by lane."""
        return self._binary(other, "fdiv", "udiv")

    def __rsub__(self, other: float | int) -> "Lane":
        """Subtract from a constant."""
        return self._binary(other, "fsub", "sub", swap=True)

    def __rtruediv__(self, other: float | int) -> "Lane":
        """Divide a constant by floats."""
        return self._binary(other, "fdiv", "udiv", swap=True)

    __radd__, __rmul__ = __add__, __mul__

    def __xor__(self, other: "Lane") -> "Lane":
        """Exclusive or of integer bits."""
        return Lane(self.code, self.code.build.xor(self.value, other.value))

    def __and__(self, other: "Lane") -> "Lane":
        """Bitwise and; of truth values, both."""
        return Lane(self.code, self.code.build.and_(self.value, other.value))

    def __rshift__(self, bits: int) -> "Lane":
        """Shift integers right, filling with zeros."""
        return self._binary(bits, "", "lshr")

    def __lshift__(self, bits: int) -> "Lane":
        """Shift integers left."""
        return self._binary(bits, "", "shl")

    def compare(self, relation: str, other: "Lane | float | int") -> "Lane":
        """Compare lane by lane (unsigned for integers); gives truth values."""
        right = self.code.lift(other, self.value.type).value
        build = self.code.build
        if is_float(self.value.type):
            return Lane(self.code, build.fcmp_ordered(relation, self.value, right))
        return Lane(self.code, build.icmp_unsigned(relation, self.value, right))

    def select(self, yes: "Lane", no: "Lane") -> "Lane":
        """Choose by truth value."""
        return Lane(self.code, self.code.build.select(self.value, yes.value, no.value))


class Variable:
    """A mutable vector that survives loops; LLVM keeps it in a register."""

    def __init__(self, code: "Code", initial: Lane) -> None:
        """Reserve the variable in the function's entry and set it."""
        self.code = code
        with code.build.goto_block(code.entry):
            self.slot = code.build.alloca(initial.value.type)
        self.type = initial.value.type
        self.set(initial)

    def get(self) -> Lane:
        """Read the current value."""
        return Lane(self.code, self.code.build.load(self.slot, typ=self.type))

    def set(self, value: Lane) -> None:
        """Replace the value."""
        self.code.build.store(value.value, self.slot)

    def add(self, value: Lane) -> None:
        """Add to the value."""
        self.set(self.get() + value)


class Memory:
    """A run of 32-bit numbers that the kernel reads and writes."""

    def __init__(self, code: "Code", base: ir.Value, offset: Index = 0) -> None:
        """Name the memory at `base` plus `offset` numbers."""
        self.code, self.base, self.offset = code, base, offset

    def at(self, index: Index) -> "Memory":
        """Move by `index` numbers."""
        return Memory(self.code, self.base, self.code.plus(self.offset, index))

    def address(self, index: Index = 0, element: ir.Type = F32) -> ir.Value:
        """Compute a pointer to number `index`."""
        where = self.code.index(self.code.plus(self.offset, index))
        return self.code.build.gep(self.base, [where], source_etype=element)

    def load(self, index: Index = 0, kind: ir.Type | None = None) -> Lane:
        """Read a vector of numbers from `index` on: floats, unless another type is named."""
        kind = kind or self.code.kind(F32)
        return Lane(self.code, self.code.build.load(self.address(index), align=4, typ=kind))

    def load_ints(self, index: Index = 0) -> Lane:
        """Read a vector of integers from `index` on."""
        return self.load(index, self.code.kind(I32))

    def store(self, value: Lane, index: Index = 0) -> None:
        """Write the lanes from `index` on."""
        self.code.build.store(value.value, self.address(index), align=4)

    def accumulate(self, value: Lane, index: Index = 0) -> None:
        """Add the lanes to the 16 numbers from `index` on."""
        self.store(self.load(index) + value, index)

    def scalar(self, index: Index = 0, kind: ir.Type = F32) -> ir.Value:
        """Read one number."""
        return self.code.build.load(self.address(index), align=4, typ=kind)

    def put(self, value: ir.Value, index: Index = 0) -> None:
        """Write one number."""
        self.code.build.store(value, self.address(index), align=4)

    def splat(self, index: Index = 0, kind: ir.Type = F32) -> Lane:
        """Read one number into every lane."""
        return self.code.splat(self.scalar(index, kind))


class Splats(Memory):
    """Numbers kept as whole vectors of 8 equal lanes, which arithmetic can read in place."""

    def splat(self, index: Index = 0, kind: ir.Type = F32) -> Lane:
        """Read one number as the vector that it is kept as."""
        return self.load(self.code.times(index, HALF), ir.VectorType(kind, HALF))


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
