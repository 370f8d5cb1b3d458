from .config import Config as Config
from .instrument import Result as Result
from .instrument import plot as plot
from .instrument import run as run
from .portrait import class_fit as class_fit
