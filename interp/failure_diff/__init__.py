"""Why is one sum wrong? One input against controls that differ from it in what matters.

Start at `instrument`. `columns` finds the first wrong column, `controls` its neighbours,
`attribution`, `evidence` and `patching` the cause, `explain` the words. `error_search` looks for
other failing inputs, `contexts` tabulates them, `atlas` counts them exactly.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
