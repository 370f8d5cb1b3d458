from .seeds import run_sweep as run_sweep
from .seeds import tabulate_result as tabulate_result
from .seeds import watch_sweep as watch_sweep
