"""What does each rank component do, however the factors were stored?

Start at `instrument`. `kinds` and `positions` are the ablations, `metrics` what they break, `sweep`
the order of the work, `random_terms` the null. `gauge_spread` shows why raw factors mislead.
`kernel` is the compiled forward pass, `tables` and `figures` show a result.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
