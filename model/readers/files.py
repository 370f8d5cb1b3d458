"""Opens a published file as plain data: .pt, .npz or .safetensors, none of it run."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.archive import read_archive
from model.errors import InputError
from model.pickled import read_pickled
from model.reading import MIB, read_json, read_regular
from model.tensor_file import parse_tensors

SUFFIXES = (".pt", ".npz", ".safetensors")
LIMIT = 8 * MIB
"""The largest file that is opened, and the most that it may unpack to."""


def open_file(path: Path) -> Any:
    """Read what a file holds.

    Raises:
        InputError: No regular file, too large, damaged, of another kind, or one that would run
            code.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} ends in none of {', '.join(SUFFIXES)}: it is not read")
    data = read_regular(path, LIMIT)
    if path.suffix == ".safetensors":
        return parse_tensors(data, path)
    try:
        if path.suffix == ".pt":
            return read_pickled(data, LIMIT)
        entries = read_archive(data, LIMIT)
        return {name.removesuffix(".npy"): _array(entry) for name, entry in entries.items()}
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except ValueError as error:
        kind = "PyTorch file" if path.suffix == ".pt" else "file of plain arrays"
        raise InputError(f"{path} is truncated or no {kind}: copy it again") from error


def _array(data: bytes) -> torch.Tensor:
    """Read one .npy entry of numbers whose size is what its header says.

    Raises:
        ValueError: It is anything else.
    """
    file = io.BytesIO(data)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        shape, fortran, dtype = readers[np.lib.format.read_magic(file)](file)
        content = data[file.tell() :]
        if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content):
            raise ValueError("no plain array")
        array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
        return torch.from_numpy(np.array(array, order="C"))
    except (KeyError, TypeError) as error:  # another version, or numbers that torch does not know
        raise ValueError("no plain array") from error


def read_config_beside(path: Path) -> dict[str, Any]:
    """Read config.json in the folder of a file; empty where there is none.

    Raises:
        InputError: It is no readable JSON object.
    """
    file = path.parent / "config.json"
    try:
        content = read_json(file)
    except FileNotFoundError:
        return {}
    if not isinstance(content, dict):
        raise InputError(f"{file} is no JSON object")
    return content
