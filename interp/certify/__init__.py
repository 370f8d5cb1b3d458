"""How many of the 10^20 pairs does a network add correctly? A proof, and its certificate."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
