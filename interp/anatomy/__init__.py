"""The parts that instruments share: components, traces, digit roles and local contexts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
