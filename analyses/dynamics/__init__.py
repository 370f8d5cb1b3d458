"""What comes first along a training run?

Start at `study`. `runs` reads the runs, `measures` measures a snapshot, `onsets` says which measure
moves first, `store` keeps finished snapshots, `report` and `figures` show a result.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
