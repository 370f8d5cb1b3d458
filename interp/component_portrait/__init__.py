"""What does one component read, write and break?

`instrument` measures, `portrait` is the result and its words, `figure` draws it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
