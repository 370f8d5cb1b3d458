"""The edge where commands meet people: arguments in, one clear line and exit code 2 if unusable."""

import contextlib
import functools
import inspect
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro
from rich.console import Console

from model.errors import InputError

console = Console()
"""Where tables go: standard output."""

progress_console = Console(stderr=True)
"""Where progress goes, so that standard output stays clean for pipes."""


def run_command(
    command: Callable[..., Any], argv: Sequence[str] | None, *, prog: str, example: str
) -> int:
    """Parse `argv` into the arguments of `command`, call it, and turn bad input into one line.

    Args:
        command: A function whose signature is the command line and whose docstring is its help.
        argv: Arguments after the program's name; those of the process when None.
        prog: How the program is called, for help and messages.
        example: A command line that works, shown in --help.

    Returns:
        Exit code: 0 on success, 2 on input that cannot be used, 130 when interrupted, or the
        command's own where it returns an integer.
    """
    purpose = inspect.cleandoc(command.__doc__ or "").split("Args:")[0].strip()
    description = f"{purpose}\n\nExample: {example}"

    @functools.wraps(command)
    def deferred(*args: Any, **kwargs: Any) -> Callable[[], Any]:
        return functools.partial(command, *args, **kwargs)

    complaint = io.StringIO()
    try:
        try:
            with contextlib.redirect_stderr(complaint):
                call = tyro.cli(
                    deferred,
                    prog=prog,
                    description=description,
                    args=sys.argv[1:] if argv is None else argv,
                    config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
                )
        except SystemExit as stop:
            if stop.code in (0, None):
                return 0
            raise InputError(f"{_one_line(complaint.getvalue())}; see {prog} --help") from None
        result = call()
        return result if isinstance(result, int) else 0
    except InputError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output (head, less) has gone: nothing is left to say, nor to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return 130


def _one_line(box: str) -> str:
    """Take the message out of the box that tyro draws around it."""
    words: list[str] = []
    for line in box.splitlines()[1:]:
        text = line.strip(" │|")
        if text.strip("╭╮╰╯─+-"):
            words += text.split()
        elif text and words:  # the rule under the message
            break
    return " ".join(words).rstrip(".") or "the arguments could not be read"
