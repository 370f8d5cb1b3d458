"""The training tables of the write-ups, trained again.

`study` is the command's work, `studies` the tables, `sweeps` the runs that they need, `published`
what the write-ups print, `figures` draws them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
