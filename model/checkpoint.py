"""Checkpoints: safetensors weights and a readable JSON card; published .pt files are never run."""

import dataclasses
import hashlib
import json
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from model.adder import Adder
from model.config import ModelConfig
from model.errors import InputError
from model.factored import Params
from model.lanes import find_vectors
from model.pickled import read_pickled
from model.published import from_published
from model.reading import MIB, read_json, read_regular
from model.shell import write_atomic
from model.tensor_file import TRAJECTORY_LIMIT, as_weights, read_tensors

SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints"
WEIGHTS, CARD, TRAJECTORY = "model.safetensors", "model.json", "trajectory.safetensors"
CARD_LIMIT, PUBLISHED_LIMIT, MAX_STEP_DIGITS = MIB, 8 * MIB, 18


@dataclass(frozen=True)
class Checkpoint:
    """A model with the card that says where it comes from.

    Attributes:
        model: The network.
        card: The contents of model.json (config, n_params, lineage, command, seed, versions,
            measured accuracy, sha256); for a published file what it records about itself.
        name: Shipped name, or the file's stem.
        path: Where it was read.
    """

    model: Adder
    card: dict[str, Any]
    name: str
    path: Path


def load(reference: str | Path) -> Adder:
    """Load a model by shipped name ("262p"), folder, weights file or published .pt file.

    `NAME@STEP` loads the snapshot of that step from the checkpoint's trajectory.

    Raises:
        InputError: Nothing of that name, or a file that cannot be used; the message says why.
    """
    return read_checkpoint(reference).model


def read_checkpoint(reference: str | Path) -> Checkpoint:
    """Load a model together with its card; see `load`.

    Raises:
        InputError: Nothing of that name, or a file that cannot be used; the message says why.
    """
    path, step = _resolve(reference)
    if path.suffix == ".pt" and not path.is_dir():
        if step:
            raise InputError(f"{path} is a published file without a trajectory: leave out @{step}")
        config, params, card = _read_published(path)
        name = path.stem
    else:
        folder = path if path.is_dir() else path.parent
        card = _read_card(folder / CARD)
        file = path / WEIGHTS if path.is_dir() else path
        config = _read_config(card["config"], folder / CARD)
        params = _read_snapshot(folder, step) if step else _read_weights(file)
        if not step and "sha256" in card and card["sha256"] != weights_sha256(params):
            raise InputError(
                f"{file} is not the weights that {folder / CARD} describes (sha256 differs): "
                "copy both files again"
            )
        name = folder.name + (f"@{step}" if step else "")
    try:
        _check_finite(params)
        model = Adder(config, params)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Checkpoint(model, card, name, path)


def save(folder: Path, model: Adder, card: dict[str, Any]) -> Path:
    """Write weights and card into `folder`, each atomically, the card last.

    Args:
        folder: Made if missing.
        model: The network; its parameters are stored as float32.
        card: What is known of its making; config, n_params, sha256 and versions are filled in here.

    Returns:
        The folder.

    Raises:
        InputError: A parameter is NaN or infinite, or the folder cannot be written.
    """
    params = {name: p.detach().float().contiguous().cpu() for name, p in model.params.items()}
    _check_finite(params)
    full = {
        "config": model.config.to_dict(),
        "n_params": model.config.n_params,
        **{key: value for key, value in card.items() if key not in ("config", "n_params")},
        "sha256": weights_sha256(params),
        "versions": versions(),
    }
    text = json.dumps(full, indent=2, ensure_ascii=False) + "\n"
    write_atomic(folder / WEIGHTS, safetensors.torch.save(params))
    write_atomic(folder / CARD, text)
    return folder


def shipped() -> list[str]:
    """List the names of the shipped checkpoints of the write-ups' family."""
    return [name for name in shipped_adders() if not is_general(SHIPPED / name)]


def shipped_adders() -> list[str]:
    """List the names of all that is shipped; `model.anyone` reads those of other layouts."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{CARD}"))


def is_general(folder: Path) -> bool:
    """Tell whether a folder holds a network of the general kind, whose card has a layout."""
    try:
        card = read_json(folder / CARD, CARD_LIMIT)
    except (InputError, FileNotFoundError):
        return False
    return isinstance(card, dict) and "layout" in card


def trajectory_steps(reference: str | Path) -> list[int]:
    """List the steps of which a checkpoint keeps snapshots (empty without a trajectory)."""
    path, _ = _resolve(reference)
    try:
        return _open_trajectory((path if path.is_dir() else path.parent) / TRAJECTORY)[0]
    except FileNotFoundError:
        return []


def weights_sha256(params: Params) -> str:
    """Hash names, shapes and float32 values, so that the same weights always have the same hash."""
    digest = hashlib.sha256()
    for name in sorted(params):
        value = params[name].detach().float().contiguous().cpu()
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Name the versions, the processor and the vector instructions that a result depends on."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(x.split(":")[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        pass
    packages = {name: metadata.version(name) for name in ("torch", "numpy", "llvmlite")}
    machine = {"processor": processor, "vectors": find_vectors().name}
    return {"python": platform.python_version(), **packages, **machine}


def _resolve(reference: str | Path) -> tuple[Path, str]:
    """Find the folder or file that a reference means, and the step after `@`.

    A shipped name goes before a folder of that name, so that it means the same everywhere.
    """
    text = str(reference)
    base, at, step = text.partition("@")
    names = shipped()
    if isinstance(reference, str) and base in shipped_adders():
        return SHIPPED / base, _check_step(step) if at else ""
    try:
        path = Path(text)
        if not path.exists():
            path = Path(base)
        else:
            at = ""
        if path.is_dir() and not (path / WEIGHTS).exists():
            raise InputError(
                f"{path} has no {WEIGHTS}: give a folder that a training run wrote, "
                f"or one of {', '.join(names) or 'no shipped names'}"
            )
        if path.exists():
            return path, _check_step(step) if at else ""
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"no checkpoint {text[:80]!r}: {reason}") from error
    raise InputError(
        f"no checkpoint {text!r}: give a path, or one of {', '.join(names) or '(none)'}"
    )


def _check_step(step: str) -> str:
    """Refuse what int() would take but is no step: other scripts' digits, thousands of them."""
    if not (step.isascii() and step.isdigit() and len(step) <= MAX_STEP_DIGITS):
        raise InputError(f"no snapshot of step {step[:20]!a}: a step is a number in plain digits")
    return step


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = read_json(path, CARD_LIMIT)
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing: it belongs beside the weights (published files end in .pt)"
        ) from error
    if isinstance(card, dict) and "layout" in card:
        raise InputError(
            f"{path.parent} is an adder outside the write-ups' family: this command reads that "
            "family only (predict, evaluate and convert read any)"
        )
    if not isinstance(card, dict) or not isinstance(card.get("config"), dict):
        raise InputError(f"{path} has no config: it is not the card of a checkpoint")
    return card


def _read_config(fields: dict[str, Any], path: Path) -> ModelConfig:
    known = [field.name for field in dataclasses.fields(ModelConfig)]
    missing = [name for name in known if name not in fields]
    try:
        if missing:
            raise InputError(f"the model configuration lacks {missing[0]!r}: copy the card again")
        return ModelConfig.from_dict(fields)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _read_weights(path: Path) -> Params:
    try:
        found = read_tensors(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: copy it again") from error
    return {name: as_weights(f"{path}: tensor {name}", value) for name, value in found.items()}


def _open_trajectory(file: Path) -> tuple[list[int], Params]:
    tensors = read_tensors(file, TRAJECTORY_LIMIT)
    numbers = tensors.pop("step", torch.empty(0))
    steps = numbers.flatten().tolist() if numbers.dtype == torch.int64 else []
    if not steps or any(value.ndim < 1 or len(value) != len(steps) for value in tensors.values()):
        raise InputError(f"{file} does not hold one snapshot a step: copy it again")
    return steps, tensors


def _read_snapshot(folder: Path, step: str) -> Params:
    file = folder / TRAJECTORY
    try:
        steps, tensors = _open_trajectory(file)
    except FileNotFoundError as error:
        raise InputError(f"{folder} has no {TRAJECTORY}: leave out @{step}") from error
    if int(step) not in steps:
        near = min(steps, key=lambda x: abs(x - int(step)))
        raise InputError(f"{file} has no snapshot of step {int(step)}: the nearest is {near}")
    row = steps.index(int(step))
    return {
        name: as_weights(f"{file}: tensor {name}", value[row]).clone()
        for name, value in tensors.items()
    }


def _read_published(path: Path) -> tuple[ModelConfig, Params, dict[str, Any]]:
    """Read a .pt file without running what it pickles, checksums compared."""
    data = read_regular(path, PUBLISHED_LIMIT)
    try:
        content = read_pickled(data, PUBLISHED_LIMIT)
        config, params = from_published(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except ValueError as error:
        raise InputError(f"{path} is truncated or no PyTorch file: copy it again") from error
    known = {key: content.get(key) for key in ("step", "val_exact", "params")}
    known = {key: value for key, value in known.items() if isinstance(value, int | float)}
    return config, params, {"config": config.to_dict(), "published": known}


def _check_finite(params: Params) -> None:
    for name, value in params.items():
        if not bool(torch.isfinite(value).all()):
            raise InputError(f"tensor {name} has NaN or infinite values: the file is not usable")
