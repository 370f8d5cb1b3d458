"""What the checker of certificates reads from disk: regular files of bounded size, nothing else.

A name means what it means to the loader of checkpoints: a shipped name goes before a folder of
that name. Weights are read from the safetensors file by its few rules (8 bytes of length, a JSON
header, float32 values without gaps), so that nothing is believed that is not looked at; the card is
held to the ranges that the loader accepts, and the tensors to the shapes that the card gives.
"""

import hashlib
import math
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np

from interp.check_certificate.strict_json import Unreadable, read_json, shown

SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints"
WEIGHTS, CARD, CERTIFICATE = "model.safetensors", "model.json", "certificate.json"
LARGEST = {WEIGHTS: 4 << 20, CARD: 1 << 20, CERTIFICATE: 16 << 20}
"""Bytes that a file may have."""

RANGES = {"d_model": (1, 64), "d_ff": (1, 256), "n_ctx": (33, 1024)} | {
    name: (0, 64) for name in ("pos_rank", "qkv_rank", "attn_out_rank", "ffn_rank")
}
NORMS = ("rms", "layer")
# For each tie mode the suffixes of the factors (A of Q, K, V; B of Q, K, V) that are stored.
TIES = {
    "none": (("", "", ""), ("Q", "K", "V")),
    "all": (("", "", ""), ("", "", "")),
    "qk": (("QK", "QK", "V"), ("QK", "QK", "V")),
    "kv": (("Q", "KV", "KV"), ("Q", "KV", "KV")),
    "shareA": (("", "", ""), ("Q", "K", "V")),
    "shareA_tieKV": (("", "", ""), ("Q", "KV", "KV")),
    "shareA_tieQK": (("", "", ""), ("QK", "QK", "V")),
    "shareB": (("Q", "K", "V"), ("", "", "")),
    "shareB_tieKV": (("Q", "KV", "KV"), ("", "", "")),
    "shareB_tieQK": (("QK", "QK", "V"), ("", "", "")),
}


def find(reference: str) -> Path:
    """Find the folder or weights file that a reference means; a shipped name goes first.

    Raises:
        Unreadable: Nothing of that name, a snapshot, or a published file.
    """
    base, at, _ = reference.partition("@")
    shipped = {path.parent.name for path in SHIPPED.glob(f"*/{CARD}")}
    if base in shipped and not at:
        return SHIPPED / base
    try:
        path = Path(reference)
        if base in shipped or (at and not path.exists()):
            raise Unreadable(f"{shown(reference)} is a snapshot: save it as a folder of its own")
        if not path.exists():
            raise Unreadable(f"there is no checkpoint {shown(reference)}")
    except (OSError, ValueError) as error:
        raise Unreadable(f"there is no checkpoint {shown(reference)} ({_reason(error)})") from error
    if not path.is_dir() and path.suffix == ".pt":
        raise Unreadable(f"{shown(reference)} is a published file: save it as a folder first")
    return path


def read_bytes(path: Path, kind: str) -> bytes:
    """Read a regular file that has at most the bytes allowed for its kind.

    Raises:
        Unreadable: It is a device, pipe or folder, too large, or cannot be read.
    """
    limit = LARGEST[kind]
    try:
        # Without O_NONBLOCK, opening a pipe waits for its other end.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable(f"{shown(path)} is no regular file")
            data = b"" if status.st_size > limit else file.read(limit + 1)
            if status.st_size > limit or len(data) > limit:
                raise Unreadable(f"{shown(path)} is larger than the {limit} bytes allowed")
            return data
    except (OSError, ValueError) as error:
        raise Unreadable(f"{shown(path)} cannot be read ({_reason(error)})") from error


def read_checkpoint(reference: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the stored tensors (float32, finite) and the configuration of a checkpoint.

    Raises:
        Unreadable: A file is not what the loader accepts.
    """
    path = find(reference)
    folder, weights = (path, path / WEIGHTS) if path.is_dir() else (path.parent, path)
    card = read_json(read_bytes(folder / CARD, CARD), shown(folder / CARD))
    if not isinstance(card, dict) or not isinstance(card.get("config"), dict):
        raise Unreadable(f"{shown(folder / CARD)} has no config")
    config = card["config"]
    check_config(config)
    tensors = read_tensors(read_bytes(weights, WEIGHTS), shown(weights))
    check_tensors(tensors, config)
    if "sha256" in card and card["sha256"] != hash_weights(tensors):
        raise Unreadable(f"{shown(weights)} is not the weights that its card describes")
    return tensors, config


def check_config(config: dict[str, Any]) -> None:
    """Hold a configuration to the fields and ranges that the loader accepts.

    Raises:
        Unreadable: Another field, or a value out of range.
    """
    known = {*RANGES, "norm", "tie_qkv"}
    if set(config) != known:
        odd = sorted(set(config) ^ known)[0]
        raise Unreadable(f"the configuration lacks, or should not have, {shown(odd)}")
    for name, (low, high) in RANGES.items():
        value = config[name]
        if type(value) is not int or not low <= value <= high:
            raise Unreadable(f"{name} is {shown(value)}, not a whole number {low} to {high}")
    for name, choices in (("norm", NORMS), ("tie_qkv", TIES)):
        if type(config[name]) is not str or config[name] not in choices:
            raise Unreadable(f"{name} is {shown(config[name])}, which is not known")
    if config["tie_qkv"].startswith("share") and not config["qkv_rank"]:
        raise Unreadable("a factor is shared, so qkv_rank must be 1 or more")


def tensor_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Give the name and shape of every tensor that a configuration stores."""
    d, ff, rank = config["d_model"], config["d_ff"], config["qkv_rank"]
    shapes: dict[str, tuple[int, ...]] = {"W_E": (14, d)}
    for name in ("ln1", "ln2", "ln_final"):
        shapes[f"{name}_w"] = (d,)
        if config["norm"] == "layer":
            shapes[f"{name}_b"] = (d,)
    for name, m, n, r in (
        ("W_pos", config["n_ctx"], d, config["pos_rank"]),
        ("W_O", d, d, config["attn_out_rank"]),
        ("W_in", d, ff, config["ffn_rank"]),
        ("W_out", ff, d, config["ffn_rank"]),
    ):
        shapes |= {f"{name}_A": (m, r), f"{name}_B": (r, n)} if r else {name: (m, n)}
    for names in qkv_names(config):
        sizes = ((d, rank), (rank, d)) if rank else ((d, d),)
        shapes |= dict(zip(names, sizes, strict=True))
    return shapes


def qkv_names(config: dict[str, Any]) -> list[tuple[str, ...]]:
    """Name the stored factors of W_Q, W_K and W_V."""
    found = []
    for role, a, b in zip("QKV", *TIES[config["tie_qkv"]], strict=True):
        if config["qkv_rank"]:
            pairs = (("qkv_A", a), ("qkv_B", b))
            found.append(tuple(f"{stem}_{suffix}".rstrip("_") for stem, suffix in pairs))
        else:
            found.append(("W_QKV" if config["tie_qkv"] == "all" else f"W_{b or role}",))
    return found


def read_tensors(data: bytes, what: str) -> dict[str, np.ndarray]:
    """Read a safetensors file of float32 tensors.

    Raises:
        Unreadable: It is not one, or its tensors overlap or leave gaps.
    """
    start = 8 + int.from_bytes(data[:8], "little")
    if len(data) < 8 or start > len(data):
        raise Unreadable(f"{what} is cut off or no safetensors file")
    header = read_json(data[8:start], f"the header of {what}")
    if not isinstance(header, dict):
        raise Unreadable(f"{what} is no safetensors file")
    header.pop("__metadata__", None)
    tensors, spans = {}, []
    for name, entry in header.items():
        shape, (first, last) = _entry(entry, name, what)
        if last > len(data) - start or last - first != 4 * math.prod(shape):
            raise Unreadable(f"{what}: tensor {shown(name)} does not have the bytes of its shape")
        values = np.frombuffer(data[start + first : start + last], dtype="<f4").reshape(shape)
        if not np.isfinite(values).all():
            raise Unreadable(f"{what}: tensor {shown(name)} has NaN or infinite values")
        tensors[name] = values
        spans.append((first, last))
    edges = [0, *(edge for span in sorted(spans) for edge in span), len(data) - start]
    if edges[::2] != edges[1::2]:
        raise Unreadable(f"{what}: tensors overlap or leave gaps")
    return tensors


def check_tensors(tensors: dict[str, np.ndarray], config: dict[str, Any]) -> None:
    """Hold the tensors to the names and shapes of a configuration.

    Raises:
        Unreadable: A tensor is missing, unknown or of another shape.
    """
    found = {name: value.shape for name, value in tensors.items()}
    expected = tensor_shapes(config)
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise Unreadable(
                f"tensor {shown(name)} has shape {shown(found.get(name))}, "
                f"the configuration asks for {expected.get(name)}"
            )


def hash_weights(tensors: dict[str, np.ndarray]) -> str:
    """Hash names, shapes and float32 bytes in order of name."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name}{tuple(value.shape)}".encode() + value.tobytes())
    return digest.hexdigest()


def _entry(entry: Any, name: str, what: str) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Read shape and place of one tensor from the header."""
    lists = isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"}
    if lists:
        numbers = [entry["shape"], entry["data_offsets"]]
        lists = all(
            isinstance(part, list) and all(type(x) is int and 0 <= x < 2**32 for x in part)
            for part in numbers
        )
    if not lists or len(entry["data_offsets"]) != 2 or len(entry["shape"]) > 2:
        raise Unreadable(f"{what}: the entry of tensor {shown(name)} is not understood")
    if entry["dtype"] != "F32":
        raise Unreadable(f"{what}: tensor {shown(name)} is stored as {shown(entry['dtype'])}")
    first, last = entry["data_offsets"]
    if first > last:
        raise Unreadable(f"{what}: the entry of tensor {shown(name)} is not understood")
    return tuple(entry["shape"]), (first, last)


def _reason(error: Exception) -> str:
    code = getattr(error, "errno", None)
    return os.strerror(code) if isinstance(code, int) else type(error).__name__
