"""Where is the carry, and does the network use it?

Start at `instrument`. It measures attention by digit role (`attention`, `edges`), fits probes with
their floors (`linear`, `fit`), swaps the carry (`causal`, `directions`) and feeds wrong prefixes
(`prefix`). `criteria` judges the tables, `verdict` says so in words, `plots` draws them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
