"""Which algorithm does a network run? Rival accounts as programs, scored three ways.

Start at `study`. The accounts are in `hypotheses`. They are scored by `agreement` with the
network's own answers (`local_answers`), by causal `scrubbing` and by `failure_prediction`;
`program` writes the best one out.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
