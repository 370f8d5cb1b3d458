"""Many seeds of one recipe: in processes, on Dask, or side by side in one program.

`seeds` is the sweep and its table. `parallel` runs each seed in a process of its own,
`side_by_side` all of them in one program, `watch` shows how far they are.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
