"""Search for the smallest network that learns to add: parametrisations, seeds side by side.

`parametrisations` are functions from a few trained numbers to a network, `kernel` is the fused
gradient of the map that they share, `group` trains many seeds at once, `contexts` judges a network
by what can occur in a column, and `python -m train.search` runs it all.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
