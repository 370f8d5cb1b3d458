"""The certificate as the checker takes it: every key and type fixed, nothing unpacked unbounded.

What comes out is plain data of known size. Nothing of it is printed: the command prints counts that
the checker made itself, under names of its own.
"""

import base64
import binascii
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from interp.check_certificate.files import check_config
from interp.check_certificate.strict_json import Unreadable

FORMAT = "carrylens certificate 2"
CLAIMS = {
    "pairs": "All 10^20 ordered pairs (a, b) of integers 0 to 9999999999, each counted once.",
    "right": (
        "A pair is right when greedy decoding from the 22 prompt tokens yields the 11 digits of "
        "a + b; the counts 'with end' also require the end token after them."
    ),
    "real": (
        "Real arithmetic: the stored float32 parameters are exact numbers and every operation, exp "
        "and erf included, is exact. The certifier's own float64 rounding is bounded and added."
    ),
    "float32": (
        "A float32 forward pass as in model/adder.py, rounding to nearest: any order of summation, "
        "with or without fused multiply-add, results below 2^-100 flushed to zero or not, and exp, "
        "erf and square root within two units in the last place (or 2^-100). No number on the way "
        "to a decided answer reaches 2^127."
    ),
    "weights": "Every stored number is 0 or of magnitude 2^-126 to 2^64.",
    "bounds": "lower <= number of right pairs <= upper; equal means that the number is exact.",
    "counting": (
        "joint: the pairs that lie in no failing cell of any column are counted. columns: where "
        "that takes too many steps, lower subtracts the cells of every column, upper only those of "
        "the worst."
    ),
}
"""The words of what is claimed: a certificate says exactly these."""
COUNTS = ("real", "float32", "real_with_end", "float32_with_end")
COUNTINGS = ("joint", "columns")
KEYS = (
    "format",
    "claims",
    "weights_sha256",
    "config",
    "counts",
    "counting",
    "trees",
    "witnesses",
)
TREES = [(0, 11)] + [(c, q) for c in range(1, 11) for q in range(10)] + [(11, 0), (11, 1)]
"""Answer column and query token of every tree, in order."""
NODES = 2_000_000
"""How many nodes all trees together may have."""


@dataclass(frozen=True)
class TreeContent:
    """One tree: node codes, breadth first, and the hints for its boxes."""

    column: int
    query: int
    codes: np.ndarray
    reference: np.ndarray
    axes: np.ndarray


@dataclass(frozen=True)
class Content:
    """A certificate; counts are (lower, upper), witnesses rows of (tree, leaf, a, b)."""

    weights_sha256: str
    config: dict[str, Any]
    counts: dict[str, tuple[int, int]]
    counting: dict[str, str]
    trees: tuple[TreeContent, ...]
    witnesses: np.ndarray


def read_content(content: Any) -> Content:
    """Hold a parsed certificate to the format.

    Raises:
        Unreadable: A key is missing or foreign, a value has another type or size, or the words of
            the claims are not those of this checker.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise Unreadable(f"the certificate is not a {FORMAT!r}")
    _keys(content, KEYS, "the certificate")
    _need(content["claims"] == CLAIMS, "the claims are not in the words that this checker verifies")
    _need(type(content["weights_sha256"]) is str, "weights_sha256 is no string")
    _need(isinstance(content["config"], dict), "config is no object")
    check_config(content["config"])
    _keys(content["counts"], COUNTS, "counts")
    counts = {name: _count(content["counts"][name], name) for name in COUNTS}
    counting = content["counting"]
    _keys(counting, COUNTS, "counting")
    known = all(type(x) is str and x in COUNTINGS for x in counting.values())
    _need(known, f"a count is made in another way than {' or '.join(COUNTINGS)}")
    trees = content["trees"]
    _need(isinstance(trees, list) and len(trees) == len(TREES), f"there are not {len(TREES)} trees")
    room, read = NODES, []
    for tree, (column, query) in zip(trees, TREES, strict=True):
        read.append(_tree(tree, column, query, content["config"]["d_model"], room))
        room -= len(read[-1].codes)
    witnesses = content["witnesses"]
    _keys(witnesses, ("count", "rows"), "witnesses")
    count = _whole(witnesses["count"], 0, NODES - room, "the number of witnesses")
    rows = unpack(witnesses["rows"], 32 * count, "the witnesses")
    return Content(
        content["weights_sha256"],
        content["config"],
        counts,
        counting,
        tuple(read),
        np.frombuffer(rows, dtype="<i8").reshape(count, 4),
    )


def unpack(text: Any, size: int, what: str) -> bytes:
    """Decode base64 and decompress to exactly `size` bytes, never to more.

    Raises:
        Unreadable: It is anything else.
    """
    try:
        _need(type(text) is str, f"{what} are no string")
        stream = zlib.decompressobj()
        data = stream.decompress(base64.b64decode(text, validate=True), size + 1)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise Unreadable(f"{what} cannot be unpacked") from error
    whole = stream.eof and not stream.unused_data and not stream.unconsumed_tail
    _need(whole and len(data) == size, f"{what} do not have the size that is stated")
    return data


def _tree(tree: Any, column: int, query: int, d: int, room: int) -> TreeContent:
    place = f"column {column}, query {query}"
    _keys(tree, ("column", "query", "nodes", "codes", "reference", "axes"), f"the tree of {place}")
    found = (tree["column"], tree["query"])
    _need(
        all(type(x) is int for x in found) and found == (column, query),
        "a tree is missing, doubled or out of order",
    )
    nodes = _whole(tree["nodes"], 1, room, f"the number of nodes of {place}")
    codes = np.frombuffer(unpack(tree["codes"], nodes, f"the codes of {place}"), dtype="u1")
    axes = tree["axes"]
    _need(isinstance(axes, list) and len(axes) == d, f"the axes of {place} are no matrix")
    rows = [_vector(row, d, f"the axes of {place}") for row in axes]
    reference = _vector(tree["reference"], d, f"the reference of {place}")
    return TreeContent(column, query, codes, reference, np.array(rows))


def _keys(value: Any, names: tuple[str, ...], what: str) -> None:
    _need(isinstance(value, dict) and set(value) == set(names), f"{what} has other keys")


def _whole(value: Any, low: int, high: int, what: str) -> int:
    _need(type(value) is int and low <= value <= high, f"{what} is not in {low} to {high}")
    return value


def _vector(value: Any, d: int, what: str) -> np.ndarray:
    _need(
        isinstance(value, list)
        and len(value) == d
        and all(type(x) is float and math.isfinite(x) for x in value),
        f"{what} are not {d} numbers",
    )
    return np.array(value)


def _count(value: Any, name: str) -> tuple[int, int]:
    _keys(value, ("lower", "upper"), f"the count {name}")
    bounds = []
    for end in ("lower", "upper"):
        text = value[end]
        plain = type(text) is str and len(text) <= 21 and text.isascii() and text.isdigit()
        _need(plain and str(int(text)) == text, f"the count {name} is no number")
        bounds.append(int(text))
    return bounds[0], bounds[1]


def _need(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Unreadable(otherwise)
