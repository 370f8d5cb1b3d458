"""The fused engine: forward pass, exact gradient and AdamW of a whole batch in one CPU kernel.

Start at `step`, whose stages read in the order in which they run. `queries` is the part per answer
column, `sampler` draws the batch, `algebra` has norms and their gradients, `memory` says where
everything lies. The language that it is written in is `model.lanes`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
