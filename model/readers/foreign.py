"""Finds out what a published file is, and reads it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.errors import InputError, printable
from model.network import Network
from model.readers import jackcai, micro, qwen3
from model.readers.files import read_config_beside

KINDS = "the write-ups', MicroAdder's and JackCai's (.pt), Qwen3 ones (.npz, .safetensors)"


def is_write_ups(content: Any) -> bool:
    """Tell the contents of a file of the write-ups' authors, which `model.published` reads."""
    return isinstance(content, Mapping) and {"model_config", "model_state"} <= set(content)


def read_foreign(path: Path, content: Any) -> tuple[Network, dict[str, Any]]:
    """Read a file of another author.

    Args:
        path: A .pt, .npz or .safetensors file.
        content: What `model.readers.files.open_file` found in it.

    Returns:
        The network, and what is known of it: its kind, the number of trained parameters, and what
        the file says of its own accuracy.

    Raises:
        InputError: A file that cannot be used; the message says why and what is supported.
    """
    try:
        return _read(content, path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _read(content: Any, path: Path) -> tuple[Network, dict[str, Any]]:
    if not isinstance(content, Mapping) or not content:
        raise InputError(
            f"no tensors by name inside, so it is not a published adder: read are {KINDS}"
        )
    state, config = content, {}
    for key in ("model_state_dict", "state_dict"):
        if isinstance(content.get(key), Mapping):
            state = content[key]
    if isinstance(content.get("config"), Mapping):
        config = dict(content["config"])
    if jackcai.recognises(state):
        kind, (network, trained) = "JackCai", jackcai.read_jackcai(state)
    elif micro.recognises(state):
        kind, (network, trained) = "MicroAdder", micro.read_micro(state, config)
    elif qwen3.recognises(state):
        kind, (network, trained) = "Qwen3", qwen3.read_qwen3(state, read_config_beside(path))
    else:
        names = [printable(name) for name in list(state)[:3]]
        raise InputError(
            f"tensors {', '.join(names)} ... are of no adder known here: those read are {KINDS}"
        )
    card: dict[str, Any] = {"kind": kind, "n_params": trained, "source": path.name}
    claims = content.get("metrics")
    if isinstance(claims, Mapping):
        card["claims"] = {str(k): v for k, v in claims.items() if isinstance(v, int | float)}
    return network, card
