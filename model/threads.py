"""Threads: on matrices as small as these, several spend their time waiting for each other."""

import contextlib
from collections.abc import Iterator

import torch
from threadpoolctl import threadpool_limits


@contextlib.contextmanager
def limit_threads(n: int = 1) -> Iterator[None]:
    """Compute with at most `n` threads in PyTorch, BLAS and OpenMP; restore what was, on leaving.

    Also a decorator. Processes that are started meanwhile have settings of their own.

    Args:
        n: Threads of each library, at least 1.
    """
    before = torch.get_num_threads()
    with threadpool_limits(limits=n):
        torch.set_num_threads(n)
        try:
            yield
        finally:
            torch.set_num_threads(before)
