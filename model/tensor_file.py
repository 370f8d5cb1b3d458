"""Weights in safetensors files: read whole, their types and names looked at first."""

import json
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors import SafetensorError
from torch import Tensor

from model.errors import InputError
from model.reading import MIB, read_regular

WEIGHTS_LIMIT, TRAJECTORY_LIMIT = 16 * MIB, 256 * MIB
"""The widest network has half a MiB of weights; a run keeps some 200 snapshots of them."""

MAX_DIMENSIONS = 8
_WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_TYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
_READABLE = {**_TYPES, "I64": torch.int64}
_LONGEST_NAME = 80


def read_tensors(path: Path, limit: int = WEIGHTS_LIMIT) -> dict[str, Tensor]:
    """Read all tensors of a file: floating-point ones, and int64 for steps.

    Raises:
        InputError: No regular file, above the limit, damaged, a tensor of another type, or a name
            that cannot be printed.
    """
    return parse_tensors(read_regular(path, limit), path)


def parse_tensors(data: bytes, path: Path) -> dict[str, Tensor]:
    """Take the tensors out of the contents of a file; see `read_tensors`."""
    try:
        found = safetensors.deserialize(data)
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path} is truncated or no safetensors file: copy it again") from error
    try:
        return {name: _tensor(name, entry) for name, entry in found}
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def parse_metadata(data: bytes) -> dict[str, str]:
    """Take the texts that a file keeps beside its tensors.

    Raises:
        ValueError: No safetensors file.
    """
    if len(data) < 8 or int.from_bytes(data[:8], "little") > len(data) - 8:
        raise ValueError("no safetensors file")
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    found = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    return found


def _tensor(name: str, entry: dict[str, Any]) -> Tensor:
    check_name(name)
    shape, dtype = entry["shape"], _READABLE.get(entry["dtype"])
    if dtype is None:
        raise InputError(_wrong_type(f"tensor {name}", entry["dtype"]))
    if len(shape) > MAX_DIMENSIONS or max(shape, default=0) > max(len(entry["data"]), 4096):
        raise InputError(f"tensor {name} has an unlikely shape")
    if not len(entry["data"]):
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(entry["data"]), dtype=dtype).reshape(shape)


def check_name(name: str) -> None:
    """Refuse a name that no message could show as it is.

    Raises:
        InputError: Above 80 characters, or one that does not print.
    """
    if len(name) > _LONGEST_NAME or not name.isascii() or not name.isprintable():
        shown = ascii(name[:_LONGEST_NAME])
        raise InputError(f"a tensor has the name {shown}, which no weight has")


def as_weights(subject: str, value: Tensor) -> Tensor:
    """Give a tensor as float32.

    Args:
        subject: What it is called in a message.
        value: The tensor.

    Raises:
        InputError: A type other than float16, bfloat16, float32 and float64, which would lose or
            invent something on the way.
    """
    if value.dtype not in _WEIGHT_TYPES:
        raise InputError(_wrong_type(subject, str(value.dtype).removeprefix("torch.")))
    return value.detach().float()


def _wrong_type(subject: str, found: str) -> str:
    return f"{subject} is of type {found}: weights are float16, bfloat16, float32 or float64"
