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

from interp.check_cells import Cell, Sets, holds_pair, rebuild
from interp.check_count import count
from interp.check_tables import Checker
from interp.check_verdicts import check_leaves, forward_margins

FORMAT = "carrylens certificate 2"
SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints"


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
        hints = np.array(tree["reference"]), np.array(tree["axes"])
        leaves = np.array(cells), np.array(truth), np.array(codes)
        fault = check_leaves(network, sets, column, tree["query"], hints, *leaves)
        _require(fault is None, str(fault))
        for leaf, (cell, code) in enumerate(zip(cells, codes, strict=True)):
            for arithmetic, verdict in enumerate(divmod(code, 3)):
                if verdict:
                    bad.setdefault((arithmetic, column, verdict), []).append(cell)
            if code >= 3 and code // 3 == 1 and column < 11:
                wrong[index, leaf] = cell
    _check_witnesses(network, sets, content, wrong)
    for name, counted in count(sets, bad, content["counting"]).items():
        for end, number in zip(("lower", "upper"), counted, strict=True):
            claimed = content["counts"][name][end]
            _require(claimed == str(number), f"{name} {end} is {claimed}, counted {number}")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Refuted(otherwise)


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
        # Underflow is part of the bounds (check_rounding.TINY); nothing else may go unnoticed.
        with np.errstate(all="raise", under="ignore"):
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
        FloatingPointError,
        zlib.error,
        struct.error,
    ) as error:
        print(f"the certificate does not hold: {error}")
        return 1
    counts = content["counts"]
    for name, ends in counts.items():
        print(f"{name:18} {ends['lower']} <= right pairs <= {ends['upper']}")
    print(f"the certificate holds ({time.perf_counter() - started:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
