"""The edge where commands meet people: arguments in, one clear line and exit code 2 if unusable."""

import contextlib
import functools
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import tyro
from rich.console import Console

from model.errors import InputError
from model.shell.options import check_values, check_words

console = Console()
"""Where tables go: standard output."""

progress_console = Console(stderr=True)
"""Where progress goes, so that standard output stays clean for pipes."""

_QUIET = "Print nothing but where the files are, and what is wrong."
_LONGEST_LINE = 1_000


def run_command(
    command: Callable[..., Any],
    argv: Sequence[str] | None,
    *,
    prog: str,
    example: str,
    can_be_quiet: bool = True,
) -> int:
    """Parse `argv` into the arguments of `command`, call it, and turn bad input into one line.

    Args:
        command: A function whose signature is the command line and whose docstring is its help. It
            imports what is slow to import when it is called, so that help comes at once.
        argv: Arguments after the program's name; those of the process when None.
        prog: How the program is called, for help and messages.
        example: A command line that works, shown in --help.
        can_be_quiet: Whether there is an option --quiet; not for commands whose answer is text.

    Returns:
        Exit code: 0 on success, 2 on input that cannot be used, 130 when interrupted, or the
        command's own where it returns an integer.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        check_words(words)
        call, quiet = _parse(command, words, prog, example, can_be_quiet)
        result = None
        if call is not None:
            with _silence(quiet):
                result = call()
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except InputError as error:
        return _complain(prog, str(error), 2)
    except BrokenPipeError:
        # The reader of our output (head, less) has gone: nothing is left to say.
        _drop(sys.stdout)
        return 1
    except OSError as error:
        _drop(sys.stdout)
        name = f"{error.filename}: " if error.filename else "cannot write output: "
        return _complain(prog, f"{name}{error.strerror or error}", 2)
    except KeyboardInterrupt:
        return _complain(prog, "interrupted", 130)


def show_files(path: Path) -> None:
    """Say where a command's files are: its last line, also when it is quiet."""
    print(f"files: {path}")


def _parse(
    command: Callable[..., Any], words: Sequence[str], prog: str, example: str, can_be_quiet: bool
) -> tuple[Callable[[], Any] | None, bool]:
    """Give the call that the words ask for, or None where they asked for help and got it."""
    documented = inspect.cleandoc(command.__doc__ or "")
    purpose = documented.split("Args:")[0].strip()
    signature = inspect.signature(command)
    parameters = list(signature.parameters.values())
    if can_be_quiet:
        parameters.append(
            inspect.Parameter(
                "quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=bool
            )
        )
        documented += f"\n    quiet: {_QUIET}"

    def deferred(*args: Any, quiet: bool = False, **kwargs: Any) -> tuple[Any, bool]:
        return signature.bind(*args, **kwargs), quiet

    vars(deferred).pop("__wrapped__", None)  # of a decorator that checks types
    vars(deferred)["__signature__"] = signature.replace(parameters=parameters)
    deferred.__annotations__ = {**get_type_hints(command, include_extras=True), "quiet": bool}
    deferred.__doc__ = documented
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            bound, quiet = tyro.cli(
                deferred,
                prog=prog,
                description=f"{purpose}\n\nExample: {example}",
                args=words,
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            return None, False
        raise InputError(f"{_one_line(complaint.getvalue())}; see {prog} --help") from None
    check_values(get_type_hints(command, include_extras=True), bound.arguments)
    return functools.partial(command, *bound.args, **bound.kwargs), quiet


@contextlib.contextmanager
def _silence(quiet: bool) -> Any:
    """Keep tables and progress to ourselves for a while."""
    before = console.quiet, progress_console.quiet
    console.quiet, progress_console.quiet = before[0] or quiet, before[1] or quiet
    try:
        yield
    finally:
        console.quiet, progress_console.quiet = before


def _complain(prog: str, text: str, code: int) -> int:
    """Print one line to standard error, and give the exit code back."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in f"{prog}: {text}")
    with contextlib.suppress(OSError):
        print(line[:_LONGEST_LINE], file=sys.stderr, flush=True)
        return code
    _drop(sys.stderr)
    return code


def _drop(stream: Any) -> None:
    """Let what a stream still holds, and all that follows, go nowhere."""
    with contextlib.suppress(OSError, ValueError):  # a stream without a descriptor holds nothing
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _one_line(box: str) -> str:
    """Take the message out of the box that tyro draws around it."""
    words: list[str] = []
    for line in box.splitlines()[1:]:
        text = line.strip(" │|")
        if text.strip("╭╮╰╯─+-"):
            words += text.split()
        elif text and words:  # the rule under the message
            break
    text = re.sub(r"^Error parsing \w+: (?=--)", "", " ".join(words))  # a configuration said it
    return text.rstrip(".") or "the arguments could not be read"
