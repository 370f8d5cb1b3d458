"""How far a command is: bars on a terminal, and nothing anywhere else."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.progress import Progress, ProgressColumn

from model.shell.cli import progress_console

T = TypeVar("T")


def progress_bar(*columns: str | ProgressColumn, transient: bool = True) -> Progress:
    """Make a bar on standard error; where that is no terminal it shows nothing.

    Args:
        columns: What rich draws from left to right; its default when none is given.
        transient: Whether the bar goes away at the end.
    """
    hidden = progress_console.quiet or not progress_console.is_terminal
    return Progress(*columns, console=progress_console, transient=transient, disable=hidden)


def follow(items: Sequence[T], what: str) -> Iterator[T]:
    """Go through items with a bar beside."""
    with progress_bar() as bar:
        yield from bar.track(items, description=what)
