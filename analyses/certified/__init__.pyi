from .study import Result as Result
from .study import run as run
from .study import say_count as say_count
