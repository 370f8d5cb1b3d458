"""The options that commands share: their types carry their ranges, and one function checks them.

A type such as `Seed` is a plain one with a check beside it. `run_command` applies the checks of a
command's signature, and of the configurations in it, before the command starts. A configuration
applies its own by `check_fields(self)`, so that the same holds for callers from Python.
"""

import dataclasses
import functools
import math
import os
import re
import reprlib
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from tyro.conf import Positional

from model.errors import InputError
from model.sums import MAX_OPERAND, MAX_WIDTH, N_ANSWER

_POSITIONAL = get_args(Positional[int])[1]
LONGEST_WORD, LONGEST_NAME, MOST_SEEDS = 4_096, 255, 100_000


@dataclass(frozen=True)
class Between:
    """A number from `low` to `high`, both included."""

    low: int | float
    high: int | float

    def __call__(self, name: str, value: Any) -> None:
        """Refuse what lies outside."""
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            kind = "a whole number" if whole else "a number"
            raise InputError(f"{name} is {reprlib.repr(value)}: it must be {kind}")
        if not self.low <= value <= self.high:
            raise InputError(f"{name} is {value}: it must be {self.low} to {self.high}")


@dataclass(frozen=True)
class Parsed:
    """Something that `read` understands; it raises an InputError where it does not."""

    read: Callable[[Any], object]

    def __call__(self, name: str, value: Any) -> None:
        """Refuse what cannot be read."""
        self.read(value)


@dataclass(frozen=True)
class Destination:
    """A path that can be written: a folder, or one file."""

    is_folder: bool

    def __call__(self, name: str, value: Any) -> None:
        """Refuse a path where nothing can be put; nothing is made or touched."""
        path, shown = Path(value), reprlib.repr(str(value))
        if any(len(os.fsencode(part)) > LONGEST_NAME for part in path.parts):
            raise InputError(f"{name} is {shown}: a name in it is over {LONGEST_NAME} bytes long")
        nearest = path
        try:
            while not nearest.exists():
                nearest = nearest.parent
            os.stat(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise InputError(f"{name} is {shown}: {error.strerror}") from error
        if not nearest.is_dir() and (nearest != path or self.is_folder):
            raise InputError(f"{name} is {shown}: {nearest} is a file, not a folder")
        if nearest == path and nearest.is_dir() and not self.is_folder:
            raise InputError(f"{name} is {shown}: it must be a file, and this is a folder")
        if nearest == path and not self.is_folder and not nearest.is_file():
            raise InputError(f"{name} is {shown}: it is no regular file")
        if not os.access(nearest, os.W_OK):
            raise InputError(f"{name} is {shown}: {nearest} cannot be written")


def read_seeds(texts: Sequence[str]) -> list[int]:
    """Read seeds such as "0-55" and "100", in the order given.

    Raises:
        InputError: Something that is neither a number nor a range, a seed given twice, or more
            seeds than anybody trains.
    """
    seeds: list[int] = []
    for text in texts:
        found = re.fullmatch(r"([0-9]{1,19})(?:-([0-9]{1,19}))?", text)
        low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, -1)
        if high < low:
            shown = reprlib.repr(text)
            raise InputError(f"seeds {shown} is neither a number nor a range such as 0-55")
        if high >= 2**63:
            raise InputError(f"seeds {text} is too large: seeds are 0 to {2**63 - 1}")
        if len(seeds) + high - low >= MOST_SEEDS:
            raise InputError(f"seeds {text} is too many: at most {MOST_SEEDS:,} can be given")
        seeds += range(low, high + 1)
    if not seeds:
        raise InputError("no seeds: give numbers or ranges, such as --seeds 0-55 100")
    if len(set(seeds)) < len(seeds):
        raise InputError("a seed is given twice")
    return seeds


Seed = Annotated[int, Between(0, 2**63 - 1)]
Seeds = Annotated[tuple[str, ...], Parsed(read_seeds)]
Pairs = Annotated[int, Between(1, 10**10)]
"""How many pairs are decoded in chunks."""
Sample = Annotated[int, Between(100, 10**7)]
"""How many pairs are held in memory at once."""
Few = Annotated[int, Between(1, 10_000)]
"""How many of something that each cost a run of the instrument: draws, rounds, snapshots."""
Steps = Annotated[int, Between(1, 10**9)]
Workers = Annotated[int, Between(1, 1_024)]
Operand = Annotated[int, Between(0, MAX_OPERAND)]
Column = Annotated[int, Between(0, N_ANSWER - 1)]
AnyColumn = Annotated[int, Between(0, MAX_WIDTH)]
"""An answer column of any task; whether a network has it is seen when it is read."""
Share = Annotated[float, Between(0.0, 1.0)]
OutFolder = Annotated[Path, Destination(is_folder=True)]
OutFile = Annotated[Path, Destination(is_folder=False)]


def check_words(words: Sequence[str]) -> None:
    """Refuse words of a command line that no option can mean.

    Raises:
        InputError: One is empty, over-long, or holds what cannot be printed.
    """
    for word in words:
        name, equals, value = word.partition("=")
        if not word or (equals and not value and name.startswith("--")):
            raise InputError(f"{name or 'an argument'} is empty: give a value, or leave it out")
        if len(word) > LONGEST_WORD:
            raise InputError(
                f"{reprlib.repr(word)} is {len(word):,} characters long: at most {LONGEST_WORD:,}"
            )
        if not word.isprintable():
            raise InputError(f"{reprlib.repr(word)} holds characters that cannot be printed")


def check_values(hints: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Apply the checks that types carry.

    Args:
        hints: Types by name, with their annotations; a dashed option is named after each.
        values: Values by name.

    Raises:
        InputError: A value is out of range; the message names its option.
    """
    for name, value in values.items():
        if name in hints:
            placed = _POSITIONAL in get_args(hints[name])
            _check(name if placed else f"--{name.replace('_', '-')}", hints[name], value)


def check_fields(config: Any) -> None:
    """Apply the checks of a dataclass's fields, in its __post_init__.

    Raises:
        InputError: A field is out of range; the message names its option.
    """
    check_values(_hints(type(config)), vars(config))


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _check(name: str, hint: Any, value: Any) -> None:
    """Apply the checks inside a type, outermost first."""
    if value is None:
        return
    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        for extra in extras:
            if isinstance(extra, Between | Parsed | Destination):
                extra(name, value)
        _check(name, inner, value)
    elif get_origin(hint) in (Union, types.UnionType):
        for inner in get_args(hint):
            _check(name, inner, value)
    elif get_origin(hint) is tuple and isinstance(value, tuple):
        for item in value:
            _check(name, get_args(hint)[0], item)
    elif dataclasses.is_dataclass(value):
        check_fields(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{name} is {value}: it must be finite")
