from .config import RANKS as RANKS
from .config import Config as Config
from .instrument import Result as Result
from .instrument import drop_units as drop_units
from .instrument import plot as plot
from .instrument import run as run
from .instrument import second_moments as second_moments
from .instrument import truncate as truncate
