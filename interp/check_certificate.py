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

from interp.check_cells import Cell, Sets, holds_pair, rebuild
from interp.check_content import Content, read_content
from interp.check_count import count
from interp.check_files import CERTIFICATE, find, hash_weights, read_bytes, read_checkpoint
from interp.check_json import Unreadable, read_json, shown
from interp.check_tables import Checker
from interp.check_verdicts import check_leaves, forward_margins


class Refuted(Exception):
    """A claim of the certificate does not hold."""


def read_certificate(path: Path) -> Content:
    """Read a certificate; see `check_content.read_content`."""
    return read_content(read_json(read_bytes(path, CERTIFICATE), shown(path)))


def check(
    content: Content, tensors: dict[str, np.ndarray], config: dict
) -> dict[str, tuple[int, int]]:
    """Verify a certificate.

    Returns:
        Lower and upper counts, as counted here; they equal those of the certificate.

    Raises:
        Refuted: Some claim does not hold.
    """
    _require(content.weights_sha256 == hash_weights(tensors), "it is of other weights")
    _require(content.config == config, "it is of another configuration")
    network = Checker({name: x.astype(np.float64) for name, x in tensors.items()}, config)
    sets = Sets()
    bad: dict[tuple[int, int, int], list[Cell]] = {}
    wrong: dict[tuple[int, int], Cell] = {}
    for index, tree in enumerate(content.trees):
        cells, truth, codes = rebuild(sets, tree.column, tree.query, tree.codes.tolist())
        hints = tree.reference, tree.axes
        leaves = np.array(cells), np.array(truth), np.array(codes)
        fault = check_leaves(network, sets, tree.column, tree.query, hints, *leaves)
        _require(fault is None, str(fault))
        for leaf, (cell, code) in enumerate(zip(cells, codes, strict=True)):
            for arithmetic, verdict in enumerate(divmod(code, 3)):
                if verdict:
                    bad.setdefault((arithmetic, tree.column, verdict), []).append(cell)
            if code >= 3 and code // 3 == 1 and tree.column < 11:
                wrong[index, leaf] = cell
    _check_witnesses(network, sets, content, wrong)
    counts = count(sets, bad, content.counting)
    for name, counted in counts.items():
        for end, claimed, number in zip(
            ("lower", "upper"), content.counts[name], counted, strict=True
        ):
            _require(claimed == number, f"{name} {end} is {claimed}, counted {number}")
    return counts


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Refuted(otherwise)


def _check_witnesses(
    network: Checker, sets: Sets, content: Content, wrong: dict[tuple[int, int], Cell]
) -> None:
    rows = content.witnesses
    columns = [tree.column for tree in content.trees]
    seen = {(int(tree), int(leaf)) for tree, leaf, _, _ in rows}
    holds_pairs = {key for key, cell in wrong.items() if holds_pair(sets, cell)}
    _require(seen == holds_pairs, "not every failing cell has its witness")
    a, b = rows[:, 2], rows[:, 3]
    _require(bool(((rows[:, 2:] >= 0) & (rows[:, 2:] < 10**10)).all()), "a witness is no pair")
    carry = np.zeros(len(rows), dtype=np.int64)
    found = [wrong[int(tree), int(leaf)] for tree, leaf, _, _ in rows]
    cells = np.array(found, dtype=np.int64).reshape(-1, 10)
    masks = np.array(sets.rows)
    for k in range(10):
        x, y = a // 10**k % 10, b // 10**k % 10
        inside = masks[cells[:, k], 100 * carry + 10 * x + y]
        _require(bool(inside.all()), "a witness is outside its cell")
        carry = (x + y + carry) // 10
    margin = forward_margins(network, a, b)
    column = np.array([columns[tree] for tree in rows[:, 0]], dtype=np.int64)
    failing = margin[np.arange(len(rows)), column] < 0 if len(rows) else np.ones(0, dtype=bool)
    _require(bool(failing.all()), "a witness is answered correctly in its column")


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
        # Underflow is part of the bounds (check_rounding.TINY); nothing else may go unnoticed.
        with np.errstate(all="raise", under="ignore"):
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
        from interp.check_exact import confirm
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


if __name__ == "__main__":
    sys.exit(main())
