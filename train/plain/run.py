"""A whole run: trains, logs, survives interruption, and leaves an adder that any command reads."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch
from torch import Tensor

from model.anyone import read_network
from model.decode import decode
from model.errors import InputError
from model.intervals import clopper_pearson
from model.network import Network
from model.reading import MIB, read_regular
from model.shell import Output, write_atomic
from model.stored import save_network
from model.task import Pairs, carry_stratified_pairs, hard_pairs, uniform_pairs
from model.tensor_file import parse_metadata, parse_tensors
from train.plain.config import PlainSpec
from train.plain.shape import count_params, network_of
from train.plain.step import Trainer
from train.schedule import LR, schedule

COMMAND = "python -m train.plain"
STATE, LOG = "state.safetensors", "log.csv"
STATE_LIMIT, SAVE_SECONDS = 64 * MIB, 5.0
N_UNIFORM, N_STRATIFIED, N_TEST = 5_000, 20_000, 100_000
TEST_SEED = 1_000_003
Row = dict[str, float | int]


@dataclass
class Progress:
    """A run under way: its trainer, its log, and the best parameters so far."""

    trainer: Trainer
    rows: list[Row] = field(default_factory=list)
    best: Tensor | None = None
    best_row: Row | None = None


def train_plain(spec: PlainSpec, folder: Path, report: Callable[[Row], None] | None = None) -> Row:
    """Train to the end, resuming whatever the folder already holds of the same run.

    A resumed run goes on as if it had not been interrupted: what it draws depends on seed and step
    alone.

    Args:
        spec: The run.
        folder: Where it is kept; made if missing.
        report: Called with each new row of the log.

    Returns:
        The row of the best parameters: fewest errors on uniform and stratified validation pairs,
        then largest margin.

    Raises:
        FolderInUse: Another process trains there.
        InputError: The folder holds another run, a damaged file, or the loss is not a number.
    """
    with Output(folder, by=COMMAND) as output:
        progress = _resume(spec, folder) or Progress(Trainer.fresh(spec))
        if progress.trainer.step < spec.recipe.steps or not output.is_whole:
            with output.writing():
                _train(progress, spec, folder, report)
        assert progress.best_row is not None
        return progress.best_row


def _train(
    progress: Progress, spec: PlainSpec, folder: Path, report: Callable[[Row], None] | None
) -> None:
    trainer, saved = progress.trainer, time.monotonic()
    while trainer.step < spec.recipe.steps:
        n = min(spec.every - trainer.step % spec.every, spec.recipe.steps - trainer.step)
        loss = float(trainer.run(n).mean())
        if not math.isfinite(loss):
            raise InputError(f"the loss is not a number at step {trainer.step}: lower --lr")
        _log(progress, spec, loss)
        if report:
            report(progress.rows[-1])
        if time.monotonic() - saved > SAVE_SECONDS:
            _save(progress, spec, folder)
            saved = time.monotonic()
    _save(progress, spec, folder)
    assert progress.best is not None
    network = network_of(progress.best, spec.shape)
    card = {
        "n_params": count_params(spec.shape),
        "command": spec.command(),
        "spec": spec.to_dict(),
        "best": progress.best_row,
        "measured": measure(network),
        "lineage": [*_ancestry(spec), {"command": spec.command(), "best": progress.best_row}],
    }
    save_network(folder, network, card)


def _ancestry(spec: PlainSpec) -> list[dict[str, Any]]:
    """List the runs that led to this one's start, each with its command."""
    if spec.start is None:
        return []
    card = read_network(spec.start).card
    return card.get("lineage") or [{"checkpoint": spec.start, "sha256": card.get("sha256")}]


def measure(network: Network, n: int | None = None) -> dict[str, Any]:
    """Count wrong sums on fresh pairs, uniform and carry-stratified, with exact 95 % intervals."""
    n = N_TEST if n is None else n
    draws = {"uniform": uniform_pairs, "stratified": carry_stratified_pairs}
    found = {}
    for kind, draw in draws.items():
        pairs = draw(n, torch.Generator().manual_seed(TEST_SEED), network.layout)
        errors = int((~decode(network, *pairs).exact).sum())
        found[kind] = {
            "errors": errors,
            "pairs": n,
            "seed": TEST_SEED,
            "interval_95": list(clopper_pearson(errors, n)),
        }
    return found


def _log(progress: Progress, spec: PlainSpec, loss: float) -> None:
    """Validate, add a row to the log, and keep the parameters if they are the best so far."""
    trainer = progress.trainer
    params = trainer.state()["params"]
    lr = float(schedule(spec.recipe.full(), trainer.step - 1, 1)[0, LR])
    row = {
        "step": trainer.step,
        "loss": loss,
        "lr": lr,
        **_validate(network_of(params, spec.shape)),
    }
    progress.rows.append(row)
    if progress.best_row is None or _key(row) > _key(progress.best_row):
        progress.best, progress.best_row = params.clone(), row


def _validate(network: Network) -> Row:
    """Score a network on pairs that are the same for every run of its layout."""
    layout = network.layout
    generator = torch.Generator().manual_seed(0)
    stratified = carry_stratified_pairs(N_STRATIFIED, generator, layout)
    hard = [torch.cat(pair) for pair in zip(stratified, hard_pairs(layout), strict=True)]
    sets: dict[str, Pairs] = {
        "exact": uniform_pairs(N_UNIFORM, generator, layout),
        "exact_hard": (hard[0], hard[1]),
    }
    decoded = {name: decode(network, *pairs) for name, pairs in sets.items()}
    margin = min(float(x.margin[:, : layout.n_answer].min()) for x in decoded.values())
    return {
        **{name: float(x.exact.double().mean()) for name, x in decoded.items()},
        "margin": margin,
    }


def _key(row: Row) -> tuple[float, float]:
    return row["exact"] + row["exact_hard"], row["margin"]


def _save(progress: Progress, spec: PlainSpec, folder: Path) -> None:
    """Write the log, and then everything that resuming needs, each atomically."""
    write_atomic(folder / LOG, pd.DataFrame(progress.rows).to_csv(index=False))
    assert progress.best is not None
    content = {
        "spec": spec.to_dict(),
        "step": progress.trainer.step,
        "rows": progress.rows,
        "best_row": progress.best_row,
    }
    tensors = {**progress.trainer.state(), "best": progress.best}
    data = safetensors.torch.save(
        {name: x.contiguous() for name, x in tensors.items()},
        metadata={"progress": json.dumps(content)},
    )
    write_atomic(folder / STATE, data)


def _resume(spec: PlainSpec, folder: Path) -> Progress | None:
    """Read what a folder holds of this run; None where it holds nothing."""
    path = folder / STATE
    try:
        data = read_regular(path, STATE_LIMIT)
    except FileNotFoundError:
        return None
    try:
        tensors = parse_tensors(data, path)
        content = json.loads(parse_metadata(data)["progress"])
        same = PlainSpec.from_dict(content["spec"]) == spec
        if same:
            state = [tensors[name] for name in ("params", "mean", "square")]
            if any(x.shape != (count_params(spec.shape),) for x in [*state, tensors["best"]]):
                raise ValueError("wrong size")
            trainer = Trainer(spec, state[0], state[1], state[2], content["step"])
            return Progress(trainer, content["rows"], tensors["best"], content["best_row"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is damaged: delete {folder} to start the run over") from error
    raise InputError(f"{folder} holds another run: choose another --out, or delete it")
