"""The block engine: one seed per block of GPU threads, thousands of steps a launch.

Start at `engine`, which launches. `step` is one training step of a block; `queries`, `gradients`
and `algebra` are its parts, `layout` says where in shared memory everything lies. `one_thread`
lets a CPU run the same source as a block of one thread, which is how it is tested.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
