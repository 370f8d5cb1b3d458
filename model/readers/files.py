"""Opens a published file as plain data: .pt, .npz or .safetensors, none of it run."""

import io
import json
import math
import zipfile
import zlib
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
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LIMIT:
                raise InputError(f"{path} unpacks to over {LIMIT // 2**20} MiB: it is no adder")
            entries = {name: archive.read(name) for name in archive.namelist()}
        return {name.removesuffix(".npy"): _array(data) for name, data in entries.items()}
    except InputError:
        raise
    except (
        SafetensorError,
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        RuntimeError,
    ) as error:
        raise InputError(f"{path} is damaged or holds no plain arrays: copy it again") from error


def _array(data: bytes) -> torch.Tensor:
    """Read one .npy entry of numbers whose size is what its header says.

    Raises:
        ValueError: It is anything else.
    """
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, fortran, dtype = read(file)
    content = data[file.tell() :]
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError("no plain array")
    flat = np.frombuffer(content, dtype)
    array = flat.reshape(shape, order="F" if fortran else "C")
    return torch.from_numpy(np.array(array, order="C"))


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
