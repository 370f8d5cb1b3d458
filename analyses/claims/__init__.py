"""What the two write-ups state, as data, and the measures that test it.

`data` lists the statements. `paper`, `training` and `weights` measure them, `world` is what they
are measured on, `check` is the study.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
