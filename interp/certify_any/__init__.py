"""How many of all operand pairs does a one-layer network add rightly? A proof."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
