from .rounds import PUBLISHED_ROUNDS as PUBLISHED_ROUNDS
from .rounds import choose_best as choose_best
from .rounds import run_rounds as run_rounds
