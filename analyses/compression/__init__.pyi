from .config import Config as Config
from .study import Result as Result
from .study import plot as plot
from .study import run as run
