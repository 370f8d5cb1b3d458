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

from interp.check_bounds import Checker
from interp.check_cells import Cell, Sets, count_outside, holds_pair, rebuild
from interp.check_content import COUNTS, Content, TreeContent, read_content
from interp.check_files import CERTIFICATE, find, hash_weights, read_bytes, read_checkpoint
from interp.check_json import Unreadable, read_json, shown

NAMES = ("right", "wrong", "undecided")


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
        _check_leaves(network, sets, tree, np.array(cells), np.array(truth), np.array(codes))
        for leaf, (cell, code) in enumerate(zip(cells, codes, strict=True)):
            for arithmetic, verdict in enumerate(divmod(code, 3)):
                if verdict:
                    bad.setdefault((arithmetic, tree.column, verdict), []).append(cell)
            if code >= 3 and code // 3 == 1 and tree.column < 11:
                wrong[index, leaf] = cell
    _check_witnesses(network, sets, content, wrong)
    counts = {}
    for name in COUNTS:
        arithmetic, columns = int(name.startswith("float32")), 12 if name.endswith("end") else 11
        lower, upper = (
            count_outside(
                sets,
                [
                    cell
                    for column in range(columns)
                    for verdict in verdicts
                    for cell in bad.get((arithmetic, column, verdict), [])
                ],
            )
            for verdicts in ((1, 2), (1,))
        )
        counts[name] = lower, upper
        for end, claimed, counted in zip(
            ("lower", "upper"), content.counts[name], counts[name], strict=True
        ):
            _require(claimed == counted, f"{name} {end} is {claimed}, counted {counted}")
    return counts


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Refuted(otherwise)


def _check_leaves(
    network: Checker,
    sets: Sets,
    tree: TreeContent,
    cells: np.ndarray,
    truth: np.ndarray,
    codes: np.ndarray,
) -> None:
    column, query, axes = tree.column, tree.query, tree.axes
    _require(
        bool(np.abs(axes.T @ axes - np.eye(network.d)).max() < 1e-12),
        f"the axes of column {column}, query {query} are not orthonormal",
    )
    hull = network.hull(column, query, tree.reference, axes)
    for token in np.unique(truth):
        for rows in np.array_split(
            np.flatnonzero(truth == token), 1 + (truth == token).sum() // 2048
        ):
            boxes = hull.boxes(sets, cells[rows])
            verdicts = _verdicts(network, boxes, axes, int(token))
            for arithmetic, verdict in enumerate(verdicts):
                claimed = codes[rows] // 3 if arithmetic == 0 else codes[rows] % 3
                for i in np.flatnonzero((claimed != verdict) & (claimed != 2)):
                    pieces = tuple(part[i : i + 1] for part in boxes)
                    proved = _cover(network, pieces, axes, int(token), arithmetic, int(claimed[i]))
                    _require(
                        proved,
                        f"column {column}, query {query}: a cell claimed {NAMES[claimed[i]]} in "
                        f"{('real arithmetic', 'float32')[arithmetic]} cannot be proved so",
                    )


def _verdicts(
    network: Checker, boxes: Sequence[np.ndarray], axes: np.ndarray, token: int
) -> tuple[np.ndarray, np.ndarray]:
    centre, width, error = boxes
    value, real, float32, _ = network.margins(centre, width, error, axes, token)
    first, second = (
        np.where((value > r).all(1), 0, np.where((value < -r).any(1), 1, 2))
        for r in (real, float32)
    )
    return first, second


def _cover(
    network: Checker,
    box: Sequence[np.ndarray],
    axes: np.ndarray,
    token: int,
    arithmetic: int,
    claimed: int,
    pieces: int = 100_000,
) -> bool:
    """Prove a verdict piece by piece, halving what is not proved along its main side."""
    centre, width, error = box
    while len(centre):
        pieces -= len(centre)
        if pieces < 0 or not width.max() > 0:
            return False
        value, *reach, slope = network.margins(
            centre, width, np.repeat(error[:1], len(centre), axis=0), axes, token
        )
        reach = reach[arithmetic]
        proved = (value > reach).all(1) if claimed == 0 else (value < -reach).any(1)
        # A piece at whose centre the verdict is already false cannot be saved by halving.
        certain = (value > 0).all(1) if claimed == 0 else (value < 0).any(1)
        if not certain.all():
            return False
        tight = np.arange(len(centre)), np.argmin(value - reach, axis=1)
        moved = np.where((reach[tight] < 1e29)[:, None], np.abs(slope[tight]) * width, width)
        rows = np.flatnonzero(~proved)
        side = moved[rows].argmax(axis=1)
        width = width[rows]
        width[np.arange(len(rows)), side] /= 2
        step = width[np.arange(len(rows)), side][:, None] * axes.T[side]
        centre = np.concatenate([centre[rows] - step, centre[rows] + step])
        width = np.concatenate([width, width])
    return True


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


def forward_margins(network: Checker, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Run the network in float64 on true prefixes; margin of the true digit, columns 0 to 10."""
    power = 10 ** np.arange(11)
    n = len(a)
    tokens = np.concatenate(
        [
            a[:, None] // power[9::-1] % 10,
            np.full((n, 1), 10),
            b[:, None] // power[9::-1] % 10,
            np.full((n, 1), 11),
            (a + b)[:, None] // power % 10,
        ],
        axis=1,
    )
    margins = np.zeros((n, 11))
    for column in range(11):
        last = 21 + column
        place = np.arange(last + 1)
        score = np.einsum(
            "njd,nd->nj",
            network.k.value[place, tokens[:, : last + 1]],
            network.q.value[last, tokens[:, last]],
        ) / np.sqrt(network.d)
        weight = np.exp(score - score.max(axis=1, keepdims=True))
        mixed = np.einsum("nj,njd->nd", weight, network.ov.value[place, tokens[:, : last + 1]])
        y = network.x.value[last, tokens[:, last]] + mixed / weight.sum(axis=1, keepdims=True)
        zero = np.zeros_like(y)
        for token in range(10):
            rows = np.flatnonzero(tokens[:, last + 1] == token)
            value = network.margins(y[rows], zero[rows], zero[rows], np.eye(network.d), token)[0]
            margins[rows, column] = value.min(axis=1, initial=np.inf)
    return margins


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
