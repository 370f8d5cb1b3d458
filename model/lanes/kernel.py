"""Kernels written with `model.lanes.code`, compiled by llvmlite for the processor at hand."""

import ctypes
from collections.abc import Callable, Sequence

import llvmlite.binding as llvm
import numpy as np

from model.lanes.code import Code
from model.lanes.vectors import VectorSet, find_vectors


def make_machine(vectors: VectorSet, triple: str | None = None) -> llvm.TargetMachine:
    """Describe to LLVM a processor that has these vector instructions.

    Args:
        vectors: The instructions.
        triple: What LLVM calls the kind of machine; this one by default.
    """
    target = llvm.Target.from_triple(triple) if triple else llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=vectors.cpu, features=vectors.options, opt=3)


def optimise(assembly: str, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    """Parse IR and optimise it for a processor."""
    module = llvm.parse_assembly(assembly)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module


class Kernel:
    """A compiled kernel; calling it releases the GIL."""

    def __init__(self, assembly: str, name: str, n_arguments: int, vectors: VectorSet) -> None:
        """Compile IR for the processor at hand.

        Args:
            assembly: The module as text.
            name: The function in it.
            n_arguments: How many 64-bit arguments it takes.
            vectors: What it is written for.
        """
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = make_machine(vectors)
        self._engine = llvm.create_mcjit_compiler(optimise(assembly, machine), machine)
        self._engine.finalize_object()
        prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * n_arguments)
        self._call = prototype(self._engine.get_function_address(name))

    def __call__(self, *arguments: int | np.ndarray) -> None:
        """Run it; arrays are passed by address and must be contiguous 32-bit numbers."""
        self._call(*(a.ctypes.data if isinstance(a, np.ndarray) else int(a) for a in arguments))


def compile_kernel(
    name: str,
    arguments: Sequence[str],
    write: Callable[[Code], None],
    *,
    vectors: VectorSet | None = None,
) -> Kernel:
    """Write a kernel with `write` and compile it.

    Args:
        name: Name of the function.
        arguments: Its 64-bit arguments; addresses end in `_ptr`.
        write: Leaves the body in the `Code` it is given.
        vectors: Instructions to write it for; by default `find_vectors`.
    """
    vectors = vectors or find_vectors()
    code = Code(name, arguments, vectors=vectors)
    write(code)
    return Kernel(code.close(), name, len(arguments), vectors)
