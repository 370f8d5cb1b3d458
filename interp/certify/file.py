"""The certificate as a file that another program can check (format: docs/certification.md)."""

import base64
import json
import zlib
from dataclasses import asdict
from pathlib import Path

import numpy as np

from interp.certify.certificate import Certificate
from model.shell import write_atomic

FORMAT = "carrylens certificate 1"
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
        "with or without fused multiply-add, flush to zero only below 2^-100, and exp, erf and "
        "square root within two units in the last place."
    ),
    "bounds": "lower <= number of right pairs <= upper; equal means that the number is exact.",
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
            name: {end: str(value) for end, value in asdict(getattr(certificate, name)).items()}
            for name in COUNTS
        },
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
        "seconds": certificate.seconds,
    }
    return json.dumps(content, indent=1) + "\n"


def write_certificate(certificate: Certificate, witnesses: np.ndarray, path: Path) -> Path:
    """Write a certificate atomically; see `certificate_text`."""
    return write_atomic(path, certificate_text(certificate, witnesses))


def _pack(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(array.tobytes(), 9)).decode()
