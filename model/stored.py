"""Networks in a folder of our own: safetensors weights and a card that a person can read.

The card (model.json) holds the layout, the options (norms, activation, rotary positions), the
weights' shapes, and what is known of where the network comes from. Weights keep their type, so a
folded float64 network comes back bit for bit.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from model.checkpoint import CARD, CARD_LIMIT, WEIGHTS, versions
from model.errors import InputError, printable
from model.layouts import Layout
from model.network import Network
from model.parts import OPTIONS, Rotary
from model.reading import read_json
from model.shell import write_atomic
from model.tensor_file import read_tensors


def save_network(folder: Path, network: Network, card: dict[str, Any]) -> Path:
    """Write weights and card into `folder`, each atomically, the card last.

    Args:
        folder: Made if missing.
        network: The network; its weights are stored in their own type.
        card: What is known of it (n_params, where it comes from); the rest is filled in here.

    Returns:
        The folder.

    Raises:
        InputError: A weight is NaN or infinite, or the folder cannot be written.
    """
    tensors = {name: x.detach().contiguous().cpu() for name, x in network.tensors().items()}
    check_finite(tensors)
    full = {
        "layout": network.layout.to_dict(),
        "options": _plain(network),
        "shapes": {name: " x ".join(map(str, x.shape)) for name, x in tensors.items()},
        "dtype": str(network.W_E.dtype).removeprefix("torch."),
        **card,
        "sha256": hash_tensors(tensors),
        "versions": versions(),
    }
    # safetensors refuses tensors that share memory: tied weights are written out.
    data = safetensors.torch.save({name: x.clone() for name, x in tensors.items()})
    write_atomic(folder / WEIGHTS, data)
    write_atomic(folder / CARD, json.dumps(full, indent=2, ensure_ascii=False) + "\n")
    return folder


def read_stored(folder: Path) -> tuple[Network, dict[str, Any]]:
    """Read a network and its card from a folder that `save_network` wrote.

    Raises:
        InputError: A file is missing or damaged, or card and weights do not belong together.
    """
    file = folder / CARD
    card = read_json(file, CARD_LIMIT)
    try:
        for name in ("layout", "options"):
            if not isinstance(card.get(name), dict):
                raise InputError(f"it has no {name}: it is not the card of a network")
        layout, options = Layout.from_dict(card["layout"]), _options(card["options"])
        tensors = _read_tensors(folder / WEIGHTS)
        check_finite(tensors)
        if card.get("sha256") != hash_tensors(tensors):
            raise InputError("it describes other weights (sha256 differs): copy both files again")
        network = Network.build(layout, options, tensors)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    return network, card


def hash_tensors(tensors: dict[str, Tensor]) -> str:
    """Hash names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().contiguous().cpu()
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def check_finite(tensors: dict[str, Tensor]) -> None:
    """Check that no weight is NaN or infinite.

    Raises:
        InputError: One is; the message names it.
    """
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise InputError(f"tensor {name} has NaN or infinite values: it is not usable")


def _plain(network: Network) -> dict[str, Any]:
    options = {name: getattr(network, name) for name in OPTIONS}
    rotary = network.rotary
    return {**options, "rotary": None if rotary is None else dataclasses.asdict(rotary)}


def _options(fields: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(fields) - set(OPTIONS))
    missing = [name for name in OPTIONS if name not in fields]
    if unknown or missing:
        what = (
            f"has the unknown key {printable(repr(unknown[0]))}"
            if unknown
            else f"lacks {missing[0]!r}"
        )
        raise InputError(f"options {what}: known are {', '.join(OPTIONS)}")
    rotary = fields["rotary"]
    if rotary is None:
        return fields
    names = ("theta", "dim", "interleaved")
    if not isinstance(rotary, dict) or sorted(rotary) != sorted(names):
        raise InputError(f"option rotary must have the keys {', '.join(names)}")
    if isinstance(rotary["dim"], bool) or not isinstance(rotary["dim"], int):
        raise InputError(f"rotary dim is {printable(rotary['dim'])}: it must be a whole number")
    if not isinstance(rotary["interleaved"], bool):
        raise InputError("rotary interleaved must be true or false")
    return {**fields, "rotary": Rotary(**rotary)}


def _read_tensors(file: Path) -> dict[str, Tensor]:
    try:
        return read_tensors(file)
    except FileNotFoundError as error:
        raise InputError(f"{file} is missing: copy it again") from error
