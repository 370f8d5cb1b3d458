from .atomic import write_atomic as write_atomic
from .cli import console as console
from .cli import progress_console as progress_console
from .cli import run_command as run_command
