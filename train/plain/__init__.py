"""A plain adder of any layout, trained in PyTorch: one head as wide as the stream, full matrices.

`shape` is the network, `stream` the pairs of a step, `step` one optimizer step, `run` a whole run.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
