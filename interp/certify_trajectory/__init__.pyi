from .config import Config as Config
from .instrument import plot as plot
from .instrument import run as run
