"""A small language for SIMD kernels: Python writes LLVM IR over vectors of 16 lanes.

It knows nothing of adders. `code` is where a kernel's text begins, `values` holds lanes, indices
and memory with their arithmetic, `writer` a function under construction, `kernel` compiles it for
the processor at hand.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
