"""Where commands meet people and disks: arguments in, files out, one clear line if that fails.

`cli` turns a function into a command and `InputError` into exit code 2. `atomic` writes a file
whole or not at all.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
