"""The block engine: one seed per block of GPU threads, thousands of steps a launch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
