"""The fused engine: forward pass, exact gradient and AdamW of a whole batch in one CPU kernel."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
