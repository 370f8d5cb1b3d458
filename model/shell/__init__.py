"""Where commands meet people and disks: arguments in, files out, one clear line if that fails."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
