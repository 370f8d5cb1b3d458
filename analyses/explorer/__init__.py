"""A page in which a network runs: type two numbers, see the columns, switch parts off."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
