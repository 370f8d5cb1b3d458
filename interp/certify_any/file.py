"""The certificate of any network as a file (format: docs/certification.md)."""

import base64
import dataclasses
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from interp.certify_any.certificate import Proof
from model.parts import OPTIONS
from model.shell import write_atomic
from model.stored import hash_tensors

FORMAT = "carrylens certificate 3"
CLAIMS = {
    "pairs": "All ordered pairs (a, b) of operands that the layout can spell, each counted once.",
    "right": (
        "A pair is right when greedy decoding from the prompt yields the digits of a + b; the "
        "count 'real_with_end' also requires the end token after them."
    ),
    "real": (
        "Real arithmetic: the stored weights are exact numbers and every operation is exact. The "
        "certifier's own float64 rounding is enclosed."
    ),
    "bounds": "lower <= number of right pairs <= upper; equal means that the number is exact.",
    "counting": (
        "joint: upper counts the pairs that lie in no failing cell of any column; lower subtracts "
        "the undecided cells of every column. columns: where that takes too many steps, lower "
        "subtracts the failing and undecided cells of every column, upper only the failing ones of "
        "the worst."
    ),
}


def certificate_text(proof: Proof, contexts: pd.DataFrame, tightest: dict[str, Any]) -> str:
    """Write a proof as JSON, counts as strings, trees and witnesses compressed.

    Args:
        proof: What was proved.
        contexts: Failing contexts with a pair each (columns verdict, tree, leaf, a, b).
        tightest: A right pair with a small margin.
    """
    network = proof.network
    counts = {"real": proof.digits}
    if proof.with_end is not None:
        counts["real_with_end"] = proof.with_end
    options = {name: getattr(network, name) for name in OPTIONS}
    if network.rotary is not None:
        options["rotary"] = dataclasses.asdict(network.rotary)
    failing = contexts[contexts["verdict"] == "wrong"]
    witnesses = failing[["tree", "leaf", "a", "b"]].to_numpy("int64")
    content = {
        "format": FORMAT,
        "claims": CLAIMS,
        "weights_sha256": hash_tensors(network.tensors()),
        "layout": network.layout.to_dict(),
        "options": options,
        "counts": {
            name: {"lower": str(count.lower), "upper": str(count.upper)}
            for name, count in counts.items()
        },
        "counting": {name: count.counting for name, count in counts.items()},
        "smallest_margin_found": tightest,
        "trees": [
            {
                "step": leaves.step,
                "token": leaves.token,
                "nodes": len(leaves.codes),
                "codes": _pack(leaves.codes),
            }
            for leaves in proof.leaves
        ],
        "witnesses": {"count": len(witnesses), "rows": _pack(witnesses.astype("<i8"))},
    }
    return json.dumps(content, indent=1) + "\n"


def write_certificate(
    proof: Proof, contexts: pd.DataFrame, tightest: dict[str, Any], path: Path
) -> Path:
    """Write a certificate atomically; see `certificate_text`."""
    return write_atomic(path, certificate_text(proof, contexts, tightest))


def _pack(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(array.tobytes(), 9)).decode()
