"""Kernels written with `model.lanes.code`, compiled by llvmlite for the processor at hand."""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache

import llvmlite.binding as llvm
import numpy as np

from model.lanes.code import Code
from model.lanes.values import Vectors


@cache
def find_vectors() -> Vectors:
    """Tell what vector instructions this processor has."""
    llvm.initialize_native_target()
    features = llvm.get_host_cpu_features()
    if features.get("avx512f", False):
        return "avx512"
    return "avx2" if features.get("avx2", False) else "other"


class Kernel:
    """A compiled kernel; calling it releases the GIL."""

    def __init__(self, assembly: str, name: str, n_arguments: int) -> None:
        """Compile IR for the processor at hand.

        Args:
            assembly: The module as text.
            name: The function in it.
            n_arguments: How many 64-bit arguments it takes.
        """
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        features = llvm.get_host_cpu_features().flatten()
        if find_vectors() == "avx512":
            features += ",-prefer-256-bit"
        target = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=features, opt=3
        )
        module = llvm.parse_assembly(assembly)
        module.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = False
        builder = llvm.create_pass_builder(target, options)
        builder.getModulePassManager().run(module, builder)
        self._engine = llvm.create_mcjit_compiler(module, target)
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
    vectors: Vectors | None = None,
) -> Kernel:
    """Write a kernel with `write` and compile it.

    Args:
        name: Name of the function.
        arguments: Its 64-bit arguments; addresses end in `_ptr`.
        write: Leaves the body in the `Code` it is given.
        vectors: Write for these vector instructions; by default for those of this processor.
    """
    code = Code(name, arguments, vectors=vectors or find_vectors())
    write(code)
    return Kernel(code.close(), name, len(arguments))
