"""A small language for SIMD kernels: Python writes LLVM IR over vectors of 16 lanes.

It knows nothing of adders.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
