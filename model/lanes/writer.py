"""A function under construction: its loops, constants, memory, and what is one instruction.

Where the processor's registers hold fewer than 16 lanes, hot loops run in parts of 8
(`LaneWriter.in_parts`): a loop whose values spill from the registers costs more than one that runs
twice.
"""

import contextlib
from collections.abc import Iterator, Sequence

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from model.lanes.values import (
    F32,
    HALF,
    HALF_FLOATS,
    I32,
    I64,
    LANES,
    POINTER,
    Index,
    Lane,
    Memory,
    Variable,
    Writer,
    is_float,
)
from model.lanes.vectors import VectorSet

MOST_CONSTANTS = 64
"""Room for different numbers that parts of 8 lanes name."""


class LaneWriter(Writer):
    """The function under construction."""

    def __init__(self, name: str, arguments: Sequence[str], *, vectors: VectorSet) -> None:
        """Open a function of 64-bit arguments; those whose name ends in `_ptr` are addresses.

        Args:
            name: Name of the function.
            arguments: Names of the arguments.
            vectors: Instructions to write it for.
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
        self.constants: dict[float, int] = {}
        kind = ir.ArrayType(HALF_FLOATS, MOST_CONSTANTS)
        self.constant_table = ir.GlobalVariable(self.module, kind, "constants")
        self.constant_table.align = HALF * 4

    def close(self) -> str:
        """Finish the function and return its IR as text."""
        self.build.ret_void()
        numbers = list(self.constants) + [0.0] * (MOST_CONSTANTS - len(self.constants))
        rows = [ir.Constant(HALF_FLOATS, [number] * HALF) for number in numbers]
        self.constant_table.initializer = ir.Constant(self.constant_table.value_type, rows)
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
        if self.vectors.part == LANES:
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
        if kind == HALF_FLOATS and number != 0:
            return self._read_constant(number)
        return Lane(self, ir.Constant(kind, [number] * kind.count))

    def _read_constant(self, number: float) -> Lane:
        """Read a constant of 8 equal lanes from memory.

        LLVM would spread it from one number first, again wherever registers are short. The table
        counts as memory that may change, so that arithmetic reads it in place.
        """
        place = self.constants.setdefault(number, len(self.constants))
        if place >= MOST_CONSTANTS:
            raise ValueError(f"a kernel names more than {MOST_CONSTANTS} constants")
        index = ir.Constant(I64, place)
        address = self.build.gep(self.constant_table, [index], source_etype=HALF_FLOATS)
        return Lane(self, self.build.load(address, align=HALF * 4, typ=HALF_FLOATS))

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
