"""Values of a small staged language for SIMD kernels: 16 lanes each, and memory that holds them.

`model.lanes.writer` writes the function that they belong to.
"""

from abc import ABC, abstractmethod

from llvmlite import ir

LANES = 16
HALF = LANES // 2

I1, I32, I64, F32 = ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.FloatType()
INTS, FLOATS = ir.VectorType(I32, LANES), ir.VectorType(F32, LANES)
HALF_INTS, HALF_FLOATS = ir.VectorType(I32, HALF), ir.VectorType(F32, HALF)
POINTER = ir.PointerType()
_FAST = ("contract", "nsz")

Index = int | ir.Value

LOG2_E = 1.4426950408889634


def is_float(kind: ir.Type) -> bool:
    """Tell floats, one or a vector, from integers."""
    return kind == F32 or (isinstance(kind, ir.VectorType) and kind.element == F32)


class Writer(ABC):
    """What a value needs of the function that it belongs to; see `model.lanes.writer`."""

    build: ir.IRBuilder
    entry: ir.Block

    @abstractmethod
    def kind(self, element: ir.Type) -> ir.VectorType:
        """Name the vectors of an element."""

    @abstractmethod
    def lift(self, value: "Lane | float | int", kind: ir.Type) -> "Lane":
        """Make a constant a vector."""

    @abstractmethod
    def splat(self, scalar: ir.Value) -> "Lane":
        """Put one number into every lane."""

    @abstractmethod
    def index(self, value: Index) -> ir.Value:
        """Make an index an IR value."""

    @abstractmethod
    def plus(self, left: Index, right: Index) -> Index:
        """Add indices."""

    @abstractmethod
    def times(self, left: Index, right: int) -> Index:
        """Multiply an index by a constant."""


class Lane:
    """A value of 16 lanes (floats, integers or truth values), with arithmetic on all of them.

    Inside `LaneWriter.in_parts` it may have 8.

    A single number behaves the same way, for the small matrix products outside the hot loops.
    """

    def __init__(self, code: Writer, value: ir.Value) -> None:
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

    def __init__(self, code: Writer, initial: Lane) -> None:
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

    def __init__(self, code: Writer, base: ir.Value, offset: Index = 0) -> None:
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
        """Add the lanes to the numbers from `index` on."""
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
