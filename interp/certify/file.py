"""The certificate as a file that another program can check (format: docs/certification.md)."""

import base64
import json
import zlib
from pathlib import Path

import numpy as np

from interp.certify.certificate import Certificate
from model.shell import write_atomic

FORMAT = "carrylens certificate 2"
COUNTS = ("real", "float32", "real_with_end", "float32_with_end")
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


def certificate_text(certificate: Certificate, witnesses: np.ndarray) -> str:
    """Write a certificate as JSON, counts as strings, node codes and witnesses compressed.

    Args:
        certificate: What was proved.
        witnesses: One row (tree, leaf, a, b) for every leaf that is wrong in real arithmetic and
            holds a pair.
    """
    content = {
        "format": FORMAT,
        "claims": CLAIMS,
        "weights_sha256": certificate.sha256,
        "config": certificate.config,
        "counts": {
            name: {
                "lower": str(getattr(certificate, name).lower),
                "upper": str(getattr(certificate, name).upper),
            }
            for name in COUNTS
        },
        "counting": {name: getattr(certificate, name).counting for name in COUNTS},
        "trees": [
            {
                "column": tree.column,
                "query": tree.query,
                "nodes": len(tree.codes),
                "codes": _pack(tree.codes),
                "reference": tree.reference.tolist(),
                "axes": tree.axes.tolist(),
            }
            for tree in certificate.trees
        ],
        "witnesses": {"count": len(witnesses), "rows": _pack(witnesses.astype("<i8"))},
    }
    return json.dumps(content, indent=1) + "\n"


def write_certificate(certificate: Certificate, witnesses: np.ndarray, path: Path) -> Path:
    """Write a certificate atomically; see `certificate_text`."""
    return write_atomic(path, certificate_text(certificate, witnesses))


def _pack(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(array.tobytes(), 9)).decode()
