"""Figures of the gallery: each one's data, drawing and caption.

`figure` says what a figure is, `figure_list` names them all. The other modules hold one figure or a
few of one kind each. The command is `analyses.figures`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
