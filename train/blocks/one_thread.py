"""What Numba's CUDA dialect offers a thread, for a CPU, where a block is one thread.

The block step names these as it names those of numba.cuda, so that it compiles for both.
"""

import inspect
import sys
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

local = sys.modules[__name__]


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile for the CPU, without the checks that tests wrap around every function."""
    return numba.njit(fastmath=True, error_model="numpy")(inspect.unwrap(function))


@jit
def array(n: int, kind: type) -> np.ndarray:
    """Reserve numbers that the thread has for itself."""
    return np.empty(n, kind)


@jit
def syncthreads() -> None:
    """Wait for nobody."""
