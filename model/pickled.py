"""Tensors that torch.save wrote, read by a small machine of our own that cannot run anything.

A .pt file is a ZIP archive with one pickle, data.pkl, which names the storages in data/. A pickle
is a program for a stack machine; of its opcodes torch.save needs a few dozen, and of all functions
that it could call, the handful that rebuild a tensor. Nothing else is carried out, nothing is ever
imported by name, and steps, depth and sizes are bounded.
"""

import math
import pickletools
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.archive import read_archive
from model.errors import InputError

MAX_PICKLE, MAX_STEPS, MAX_DEPTH, MAX_DIMENSIONS = 2**20, 50_000, 100, 8

_DTYPES = {str(x)[6:]: x for x in vars(torch).values() if isinstance(x, torch.dtype)}
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}


@dataclass(frozen=True)
class _Global:
    """A name that the pickle mentions; never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True)
class _Storage:
    """A persistent identity: the record data/KEY, `count` numbers of a type (None: bytes)."""

    dtype: torch.dtype | None
    key: str
    count: int


class _Mark:
    """Where a tuple or a run of items begins on the stack."""


def read_pickled(data: bytes, limit: int) -> Any:
    """Read what torch.save wrote: dictionaries, lists, tuples, plain values and dense tensors.

    Tensors are views of their storages, each of which is read once.

    Args:
        data: The file.
        limit: The most bytes that its entries may hold together.

    Raises:
        InputError: Something that is well formed but is not read: another call, another kind of
            tensor, an archive above the limits.
        ValueError: A damaged file, or none that torch.save wrote.
    """
    entries = read_archive(data, limit)
    stems = [name[: -len("data.pkl")] for name in entries if name.endswith("/data.pkl")]
    if len(stems) != 1:
        raise ValueError("not one data.pkl")
    records = {name[len(stems[0]) :]: x for name, x in entries.items() if name.startswith(stems[0])}
    if records.get("byteorder", b"little").decode() != sys.byteorder:
        raise InputError("the file was written on a machine of another byte order")
    return _Machine(records).run(records["data.pkl"])


class _Machine:
    """The stack machine; every opcode that it knows is a method or a constant below."""

    def __init__(self, records: dict[str, bytes]) -> None:
        self.records = records
        self.storages: dict[tuple[str, torch.dtype], Tensor] = {}
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.depth = 0

    def run(self, program: bytes) -> Any:
        if len(program) > MAX_PICKLE:
            raise InputError(f"its pickle has {len(program):,} bytes, above {MAX_PICKLE:,}")
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(program)):
                if count >= MAX_STEPS:
                    raise InputError(f"its pickle has more than {MAX_STEPS:,} steps")
                if opcode.name == "STOP":
                    break
                self.step(opcode.name, argument)
        except InputError:
            raise
        except (ValueError, TypeError, IndexError, KeyError, OverflowError, struct.error) as error:
            raise ValueError(f"a damaged pickle: {error}") from error
        if len(self.stack) != 1:
            raise ValueError("a damaged pickle: more than one value is left")
        return self.stack[0]

    def step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self.stack.append(_whole(argument))
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        elif name in _MAKES_OBJECTS:
            raise InputError(_RUNS.format(name))
        elif name not in ("PROTO", "FRAME"):
            raise InputError(f"its pickle uses {name}, which files of plain tensors do not")

    def mark(self, _: Any) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise InputError(f"its pickle is nested more than {MAX_DEPTH} deep")
        self.stack.append(_Mark())

    def items(self) -> list[Any]:
        """Take everything above the last mark off the stack, and the mark."""
        self.depth -= 1
        at = len(self.stack) - 1
        while at >= 0 and not isinstance(self.stack[at], _Mark):
            at -= 1
        if at < 0:
            raise ValueError("no mark")
        found = self.stack[at + 1 :]
        del self.stack[at:]
        return found

    def pop(self) -> Any:
        value = self.stack.pop()
        if isinstance(value, _Mark):
            raise ValueError("a mark where a value belongs")
        return value

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(_Global(module, name))

    def stack_name(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("a name that is no text")
        self.stack.append(_Global(module, name))

    def tuple_of(self, count: int) -> None:
        found = [self.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(found)))

    def append(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("items for what is no list")
        self.stack[-1].extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(values) % 2:
            raise ValueError("items for what is no dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str | int):
                raise ValueError("a key that is neither text nor a number")
            target[key] = value

    def persistent(self, _: Any) -> None:
        kind, storage, key, _, count = self.pop()
        dtype = _STORAGES.get(storage.name) if isinstance(storage, _Global) else None
        if kind != "storage" or not isinstance(key, str) or not _is_count(count):
            raise ValueError("a storage that torch.save does not write")
        if dtype is None and str(storage) not in _UNTYPED:
            raise InputError(f"it holds a {_printable(storage)}, which is no plain tensor")
        self.stack.append(_Storage(dtype, key, count))

    def build(self, _: Any) -> None:
        """Attributes of a dictionary (a state's versions) mean nothing here; of others, trouble."""
        self.pop()
        if type(self.stack[-1]) is not dict:
            raise InputError("it sets attributes of an object, so it holds no plain tensors")

    def call(self, _: Any) -> None:
        arguments, called = self.pop(), self.pop()
        if not isinstance(called, _Global) or not isinstance(arguments, tuple):
            raise ValueError("a call of what is no function")
        function = str(called)
        if function == "collections.OrderedDict" and not arguments:
            self.stack.append({})
        elif function == "torch._utils._rebuild_tensor_v2":
            self.stack.append(self.tensor(*arguments[:4]))
        elif function == "torch._utils._rebuild_tensor_v3":
            dtype = arguments[6]
            known = _DTYPES.get(dtype.name) if isinstance(dtype, _Global) else None
            self.stack.append(self.tensor(*arguments[:4], dtype=known))
        elif function == "torch._utils._rebuild_parameter":
            if not isinstance(arguments[0], Tensor):
                raise ValueError("a parameter that is no tensor")
            self.stack.append(arguments[0])
        elif called.module in _TENSOR_MAKERS:
            raise InputError(f"it calls {_printable(called)}, so it holds no plain tensors")
        else:
            raise InputError(_RUNS.format(_printable(called)))

    def tensor(
        self, storage: Any, offset: Any, size: Any, stride: Any, dtype: torch.dtype | None = None
    ) -> Tensor:
        """View a storage; every number of the view is there, and no view is larger than it."""
        if len(size) != len(stride) or len(size) > MAX_DIMENSIONS:
            raise ValueError("a tensor of unlikely dimensions")
        counts = (offset, *size, *stride)
        if not isinstance(storage, _Storage) or not all(_is_count(x) for x in counts):
            raise ValueError("a tensor that torch.save does not write")
        numbers = self.storage(storage, dtype or storage.dtype)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if math.prod(size) > len(numbers):
            raise InputError(
                f"a tensor of {math.prod(size):,} numbers is made from {len(numbers):,} stored ones"
            )
        if math.prod(size) and last >= len(numbers):
            raise ValueError("a tensor that goes beyond its storage")
        return numbers.as_strided(size, stride, offset)

    def storage(self, storage: _Storage, dtype: torch.dtype | None) -> Tensor:
        """Give the numbers of a storage, read once."""
        if dtype is None:
            raise InputError("it holds a tensor of unknown type")
        key = (storage.key, dtype)
        if key not in self.storages:
            record = self.records[f"data/{storage.key}"]
            width = dtype.itemsize if storage.dtype else 1
            if len(record) != storage.count * width or len(record) % dtype.itemsize:
                raise ValueError(f"storage {storage.key} has another size than it says")
            empty = torch.empty(0, dtype=dtype)
            self.storages[key] = (
                torch.frombuffer(bytearray(record), dtype=dtype) if record else empty
            )
        return self.storages[key]


_RUNS = "it would run code when loaded, so it was not ({}): ask for a file of plain tensors"
_TENSOR_MAKERS = ("torch", "torch._utils", "torch._tensor", "torch.serialization")
_MAKES_OBJECTS = ("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX")
_UNTYPED = ("torch.storage.UntypedStorage", "torch.UntypedStorage")
_VALUES = ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BININT", "BININT1", "BININT2")
_VALUES += ("LONG1", "BINFLOAT")
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.items())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.items()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.items()),
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_name,
    "BINPERSID": _Machine.persistent,
    "BUILD": _Machine.build,
    "REDUCE": _Machine.call,
}


def _whole(value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a number above 64 bits")
    return value


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _printable(name: Any) -> str:
    return ascii(str(name))[1:-1][:80]
