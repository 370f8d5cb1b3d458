from .figure import GalleryFigure as GalleryFigure
from .figure import MissingResults as MissingResults
from .figure import Source as Source
from .figure import make_figure as make_figure
from .figure_list import FIGURES as FIGURES
from .figure_list import choose_figures as choose_figures
from .names import FigureName as FigureName
