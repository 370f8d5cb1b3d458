"""Files that other authors published, turned into a layout and effective weights.

`open_file` reads a file as plain data, `read_foreign` finds its reader; each reader goes by the
names of the tensors that are there, and refuses those that it does not know.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
