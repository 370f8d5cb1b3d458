"""Networks as models of TransformerLens, and models of TransformerLens as networks.

`to_hooked` wraps any one-layer adder in float64, with a hook point for every low-rank bottleneck
of the write-ups' family; `from_hooked` takes a model that anybody trained. The class is
HookedTransformer with TransformerLens 3, and TransformerBridge with TransformerLens 4;
`to_bridge` gives a bridge with both.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
