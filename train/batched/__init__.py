"""The batched engine: all seeds of a sweep stacked in one PyTorch program.

`engine` is all of it. It is the way for networks that are too wide for the compiled engines, and
what they are compared with when many seeds run side by side.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
