from .study import how_to as how_to
from .study import read_curves as read_curves
