"""Does a certificate hold? python -m interp.check_certificate NAME, or FILE CHECKPOINT.

Re-verifies every claim of a certificate from the checkpoint's files alone, with code that shares
nothing with the certifier (NumPy and the standard library): the hash of the weights, the partition
of all pairs into cells, the verdict of every cell in both arithmetics, every witness by a forward
pass, and the counts by another dynamic program. What it prints it has counted.

NAME is a checkpoint that holds its certificate.json; CHECKPOINT a folder with model.safetensors
and model.json, or a shipped name. --exact SAMPLE proves SAMPLE cells of every column a second time,
in interval arithmetic over the whole cell (needs python-flint); --seed draws other cells.

Exit code: 0 the certificate holds, 1 it does not (one line says what), 2 a file cannot be read.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from interp.check_certificate.checker import Refuted, check
from interp.check_certificate.content import Content, read_content
from interp.check_certificate.files import CERTIFICATE, find, read_bytes, read_checkpoint
from interp.check_certificate.strict_json import Unreadable, read_json, shown


def read_certificate(path: Path) -> Content:
    """Read a certificate; see `content.read_content`."""
    return read_content(read_json(read_bytes(path, CERTIFICATE), shown(path)))


@dataclass(frozen=True)
class Arguments:
    """The command line."""

    certificate: str | None
    checkpoint: str
    exact: int
    seed: int


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments."""

    def error(self, message: str) -> NoReturn:
        raise Unreadable(f"{shown(message, 200)}; see --help")


def parse(argv: Sequence[str]) -> Arguments:
    """Read the command line.

    Raises:
        Unreadable: It is not understood.
    """
    parser = _Parser(
        prog="python -m interp.check_certificate",
        usage="%(prog)s [FILE] CHECKPOINT [--exact SAMPLE] [--seed SEED]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--exact", metavar="SAMPLE", default="0", help="cells of each column")
    parser.add_argument("--seed", default="0", help="of the sample, 0 to 999999999")
    read = parser.parse_args(argv)
    if len(read.files) > 2:
        parser.error("give a certificate and a checkpoint, or a checkpoint that holds both")
    for name in ("exact", "seed"):
        text = getattr(read, name)
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            parser.error(f"--{name} is {text[:20]!r}, not a whole number of at most 9 digits")
    file = read.files[0] if len(read.files) == 2 else None
    return Arguments(file, read.files[-1], int(read.exact), int(read.seed))


def run(arguments: Arguments) -> int:
    """Check and print; see the module."""
    tensors, config = read_checkpoint(arguments.checkpoint)
    file = arguments.certificate
    content = read_certificate(
        Path(file) if file is not None else find(arguments.checkpoint) / CERTIFICATE
    )
    try:
        counts = check(content, tensors, config)
    except (Refuted, ValueError, FloatingPointError) as error:
        print(f"the certificate does not hold: {error}")
        return 1
    for name, (lower, upper) in counts.items():
        print(f"{name:18} {lower} <= right pairs <= {upper}")
    print("the certificate holds")
    return prove_again(content, tensors, config, arguments) if arguments.exact else 0


def prove_again(
    content: Content, tensors: dict[str, np.ndarray], config: dict, arguments: Arguments
) -> int:
    """Prove a sample of cells a second time, and print which could not be."""
    try:
        from interp.check_certificate.exact import confirm
    except ImportError as error:
        raise Unreadable("--exact needs python-flint: pip install 'carrylens[exact]'") from error
    confirmed, failed = confirm(content, tensors, config, arguments.exact, arguments.seed)
    for line in failed:
        print(line)
    print(f"proved a second time: {confirmed} of {confirmed + len(failed)} cells")
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    try:
        code = run(parse(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except SystemExit:  # --help has been printed
        return 0
    except Unreadable as error:
        return _complain(str(error), 2)
    except MemoryError:
        return _complain("the memory does not suffice", 2)
    except OSError as error:  # the reader of our output has gone, or its disk is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _complain(f"cannot write the result ({os.strerror(error.errno or 0)})", 2)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    return code


def _complain(message: str, code: int) -> int:
    print(f"check_certificate: {message}", file=sys.stderr)
    return code
