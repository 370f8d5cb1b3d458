"""Does a certificate hold? python -m interp.check_certificate FILE CHECKPOINT.

Re-verifies every claim of a certificate from the checkpoint's files alone, with code that shares
nothing with the certifier (NumPy, safetensors and the standard library): the hash of the weights,
the partition of all pairs into cells, the verdict of every cell in both arithmetics, every witness
by a forward pass, and the counts by another dynamic program.

CHECKPOINT is a folder with model.safetensors and model.json, or a shipped name. Exit code: 0 the
certificate holds, 1 it does not (one line says what), 2 a file cannot be read.
"""

import base64
import hashlib
import json
import struct
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy

from interp.check_certificate.bounds import Checker
from interp.check_certificate.cells import Cell, Sets, count_outside, holds_pair, rebuild

FORMAT = "carrylens certificate 1"
SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints"
NAMES = ("right", "wrong", "undecided")


class Unreadable(Exception):
    """A file is missing or is not what it should be."""


class Refuted(Exception):
    """A claim of the certificate does not hold."""


def read_checkpoint(reference: str) -> tuple[dict[str, np.ndarray], dict]:
    """Read stored tensors (float32) and configuration."""
    folder = Path(reference)
    if not folder.exists() and (SHIPPED / reference).is_dir():
        folder = SHIPPED / reference
    try:
        tensors = safetensors.numpy.load_file(folder / "model.safetensors")
        card = json.loads((folder / "model.json").read_text())
        return {name: x.astype("<f4") for name, x in tensors.items()}, dict(card["config"])
    except Exception as error:
        raise Unreadable(
            f"{reference} is no folder with model.safetensors and model.json ({error})"
        ) from error


def read_certificate(path: str) -> dict:
    """Read the certificate's JSON."""
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path} is no readable JSON ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise Unreadable(f"{path} is not a {FORMAT!r}")
    return content


def hash_weights(tensors: dict[str, np.ndarray]) -> str:
    """Hash names, shapes and float32 bytes in order of name."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name}{tuple(value.shape)}".encode() + value.tobytes())
    return digest.hexdigest()


def unpack(text: str, kind: str) -> np.ndarray:
    """Decompress an array."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=kind)


def check(content: dict, tensors: dict[str, np.ndarray], config: dict) -> None:
    """Verify a certificate.

    Raises:
        Refuted: Some claim does not hold.
    """
    _require(content["weights_sha256"] == hash_weights(tensors), "it is of other weights")
    _require(content["config"] == config, "it is of another configuration")
    network = Checker({name: x.astype(np.float64) for name, x in tensors.items()}, config)
    sets = Sets()
    expected = [(0, 11)] + [(c, q) for c in range(1, 11) for q in range(10)] + [(11, 0), (11, 1)]
    found = [(tree["column"], tree["query"]) for tree in content["trees"]]
    _require(found == expected, "a tree is missing, doubled or out of order")
    bad: dict[tuple[int, int, int], list[Cell]] = {}
    wrong: dict[tuple[int, int], Cell] = {}
    for index, tree in enumerate(content["trees"]):
        column = tree["column"]
        cells, truth, codes = rebuild(
            sets, column, tree["query"], unpack(tree["codes"], "u1").tolist()
        )
        _check_leaves(network, sets, tree, np.array(cells), np.array(truth), np.array(codes))
        for leaf, (cell, code) in enumerate(zip(cells, codes, strict=True)):
            for arithmetic, verdict in enumerate(divmod(code, 3)):
                if verdict:
                    bad.setdefault((arithmetic, column, verdict), []).append(cell)
            if code >= 3 and code // 3 == 1 and column < 11:
                wrong[index, leaf] = cell
    _check_witnesses(network, sets, content, wrong)
    for arithmetic, name in enumerate(("real", "float32")):
        for columns, suffix in ((11, ""), (12, "_with_end")):
            for bound, verdicts in (("lower", (1, 2)), ("upper", (1,))):
                avoid = [
                    cell
                    for column in range(columns)
                    for verdict in verdicts
                    for cell in bad.get((arithmetic, column, verdict), [])
                ]
                claimed = content["counts"][name + suffix][bound]
                counted = str(count_outside(sets, avoid))
                _require(
                    claimed == counted, f"{name}{suffix} {bound} is {claimed}, counted {counted}"
                )


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Refuted(otherwise)


def _check_leaves(
    network: Checker,
    sets: Sets,
    tree: dict,
    cells: np.ndarray,
    truth: np.ndarray,
    codes: np.ndarray,
) -> None:
    column, query = tree["column"], tree["query"]
    axes, reference = np.array(tree["axes"]), np.array(tree["reference"])
    d = network.d
    _require(
        axes.shape == (d, d)
        and reference.shape == (d,)
        and bool(np.abs(axes.T @ axes - np.eye(d)).max() < 1e-12),
        f"the axes of column {column}, query {query} are not orthonormal",
    )
    hull = network.hull(column, query, reference, axes)
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
    network: Checker, sets: Sets, content: dict, wrong: dict[tuple[int, int], Cell]
) -> None:
    rows = unpack(content["witnesses"]["rows"], "<i8").reshape(-1, 4)
    _require(len(rows) == content["witnesses"]["count"], "witnesses are missing")
    columns = [tree["column"] for tree in content["trees"]]
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if len(arguments) != 2 or arguments[0].startswith("-"):
        print(__doc__)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    started = time.perf_counter()
    try:
        content = read_certificate(arguments[0])
        tensors, config = read_checkpoint(arguments[1])
        check(content, tensors, config)
    except Unreadable as error:
        print(f"check_certificate: {error}", file=sys.stderr)
        return 2
    except (
        Refuted,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        zlib.error,
        struct.error,
    ) as error:
        print(f"the certificate does not hold: {error}")
        return 1
    counts = content["counts"]
    for name, count in counts.items():
        print(f"{name:18} {count['lower']} <= right pairs <= {count['upper']}")
    print(f"the certificate holds ({time.perf_counter() - started:.1f} s)")
    return 0
