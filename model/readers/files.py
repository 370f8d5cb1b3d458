"""Opens a published file as plain data: .pt, .npz or .safetensors, none of it run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

from model.checkpoint import read_pickled
from model.errors import InputError

SUFFIXES = (".pt", ".npz", ".safetensors")
LIMIT = 64 * 2**20
"""The largest file that is opened: a thousand times what an adder needs."""


def open_file(path: Path) -> Any:
    """Read what a file holds.

    Raises:
        InputError: No regular file, too large, damaged, of another kind, or one that would run
            code.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} ends in none of {', '.join(SUFFIXES)}: it is not read")
    if not path.is_file():
        raise InputError(f"{path} is no regular file")
    if path.stat().st_size > LIMIT:
        raise InputError(f"{path} has over {LIMIT // 2**20} MiB: it is no adder of a few hundred")
    if path.suffix == ".pt":
        return read_pickled(path)
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load(path.read_bytes())
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name].copy()) for name in arrays.files}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise InputError(f"{path} is damaged or holds no plain arrays: copy it again") from error


def read_config_beside(path: Path) -> dict[str, Any]:
    """Read config.json in the folder of a file; empty where there is none.

    Raises:
        InputError: It is no readable JSON object.
    """
    file = path.parent / "config.json"
    if not file.is_file() or file.stat().st_size > 2**20:
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} is not readable JSON: copy it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} is no JSON object")
    return content
