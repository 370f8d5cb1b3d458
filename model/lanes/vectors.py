"""For which vector instructions are kernels written: the sets that have a name, and the one in use.

Code is written for a set, a level that processors agree on, and not for a model of processor: with
the same set the same kernel gives the same bits wherever it runs. Two sets differ by float32
rounding: only some multiply and add without rounding in between, and they split sums differently.
"""

import os
from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm

from model.errors import InputError
from model.lanes.values import HALF, LANES

VARIABLE = "CARRYLENS_VECTORS"
"""Environment variable that names the set to use; by default the widest that the processor has."""


@dataclass(frozen=True)
class VectorSet:
    """A set of vector instructions, and how code is written for it."""

    name: str
    cpu: str
    """What LLVM calls a processor that has these instructions and no others."""
    part: int
    """Lanes that hot loops take at a time: `LANES`, or `HALF` where registers hold fewer.

    Halves are also best where a register holds four (a step of 262p: 0.66 ms, by fours 0.69).
    """
    needs: frozenset[str] = frozenset()
    """What else a processor must have, in LLVM's words."""
    options: str = ""
    """What LLVM is told beyond the processor."""


_AVX2 = frozenset({"avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"})
_AVX512 = _AVX2 | {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}
BASELINE = VectorSet("baseline", "x86-64", HALF)
AVX2 = VectorSet("avx2", "x86-64-v3", HALF, _AVX2)
AVX512 = VectorSet("avx512", "x86-64-v4", LANES, _AVX512, "-prefer-256-bit")
NEON = VectorSet("neon", "generic", HALF)
GENERIC = VectorSet("baseline", "generic", HALF)

_BY_ARCHITECTURE = {
    "x86_64": (BASELINE, AVX2, AVX512),
    "aarch64": (NEON,),
    "arm64": (NEON,),
}
NAMES = ("baseline", "avx2", "avx512", "neon")


@cache
def supported_sets() -> tuple[VectorSet, ...]:
    """List the sets that this processor has, from narrow to wide."""
    llvm.initialize_native_target()
    architecture = llvm.get_process_triple().split("-")[0]
    features = {name for name, there in llvm.get_host_cpu_features().items() if there}
    sets = _BY_ARCHITECTURE.get(architecture, (GENERIC,))
    return tuple(kind for kind in sets if kind.needs <= features)


def find_vectors() -> VectorSet:
    """Choose the set that kernels are written for.

    Raises:
        InputError: The environment names a set that is unknown, or that this processor lacks.
    """
    sets = {kind.name: kind for kind in supported_sets()}
    name = os.environ.get(VARIABLE) or supported_sets()[-1].name
    if name not in NAMES:
        raise InputError(f"{VARIABLE} is {name!r}: it must be one of {', '.join(NAMES)}")
    if name not in sets:
        raise InputError(f"{VARIABLE} is {name!r}: this processor has {', '.join(sets)}")
    return sets[name]
