"""Is a certificate true? A second program that shares no code with the certifier."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
