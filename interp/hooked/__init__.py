"""Networks as TransformerLens HookedTransformers, and HookedTransformers as networks.

`to_hooked` wraps any one-layer adder in float64, with a hook point for every low-rank bottleneck
of the write-ups' family; `from_hooked` takes a HookedTransformer that anybody trained.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
