"""Why is one sum wrong? One input against controls that differ from it in what matters."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
