"""Many seeds of one recipe: in processes, on Dask, or side by side in one program."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
