"""Train one model from a seed: python -m train --preset 262p --seed 4."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from model.config import ModelConfig, Norm, TieQKV
from model.config import preset as look_up_preset
from model.errors import InputError
from model.shell import console, progress_console, run_command
from train.config import PUBLISHED, TrainConfig
from train.engine import fused_supports
from train.run import RunResult, train_run
from train.spec import RunSpec, StopRule


@dataclass(frozen=True, kw_only=True)
class ModelOverrides:
    """Fields of the preset to change; each defaults to the preset's own."""

    d_model: int | None = None
    """Width of the residual stream."""
    d_ff: int | None = None
    """Number of GELU units."""
    n_ctx: int | None = None
    """Number of learned positions, at least 33."""
    pos_rank: int | None = None
    """Rank of the position embedding; 0 for a full table."""
    qkv_rank: int | None = None
    """Rank of queries, keys and values; 0 for full matrices."""
    attn_out_rank: int | None = None
    """Rank of the attention output; 0 for a full matrix."""
    ffn_rank: int | None = None
    """Rank of the feed-forward matrices; 0 for full ones."""
    norm: Norm | None = None
    """rms or layer."""
    tie_qkv: TieQKV | None = None
    """Which factors queries, keys and values share."""

    def apply(self, config: ModelConfig) -> ModelConfig:
        """Give the configuration with these changes."""
        given = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        return dataclasses.replace(config, **given)


UNCHANGED = ModelOverrides()


def read_stop_rule(bounds: Sequence[str]) -> StopRule:
    """Read bounds such as "40000:0.7".

    Raises:
        InputError: A bound that is not STEP:LOSS.
    """
    rule = []
    for text in bounds:
        step, _, loss = text.partition(":")
        try:
            rule.append((int(step), float(loss)))
        except ValueError as error:
            raise InputError(f"stop bound {text!r} is not STEP:LOSS, such as 40000:0.7") from error
    return tuple(rule)


def show_run(spec: RunSpec, folder: Path) -> RunResult:
    """Train with a progress bar: loss, exact match, time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  exact {task.fields[exact]:.4f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=progress_console) as bar:
        task = bar.add_task(
            folder.name, total=spec.train.steps, loss=float("nan"), exact=float("nan")
        )

        def report(row: dict[str, Any]) -> None:
            bar.update(task, completed=row["step"], loss=row["loss"], exact=row["exact"])

        return train_run(spec, folder, report)


def train(
    *,
    preset: str = "262p",
    seed: int = 0,
    model: ModelOverrides = UNCHANGED,
    config: TrainConfig = PUBLISHED,
    every: int = 1_000,
    device: str = "cpu",
    reference: bool = False,
    stop: tuple[str, ...] = (),
    cases: str | None = None,
    out: Path | None = None,
) -> None:
    """Train one model from a seed; the same command again resumes it, or shows the finished run.

    Leaves in the output folder the best checkpoint (chosen on easy and hard pairs, then by
    margin), log.csv, trajectory.safetensors and run.json.

    Args:
        preset: Which network: a name of the write-ups, such as 262p, 274p, 311p or 456p.
        seed: Seed of initial parameters and data, 0 or more.
        model: Changes to the preset.
        config: Changes to the published recipe.
        every: Steps between two rows of the log.
        device: cpu (the fused kernel) or cuda (PyTorch).
        reference: Train with plain PyTorch on the CPU, some 100 times slower.
        stop: End the run where its loss is too high, as STEP:LOSS; several are allowed.
        cases: CSV with columns a and b of extra training cases; see extra-share.
        out: Output folder; by default runs/PRESET-sSEED.
    """
    shape = model.apply(look_up_preset(preset))
    spec = RunSpec(
        model=shape,
        train=config,
        seed=seed,
        every=every,
        reference=reference,
        device=device,
        stop_rule=read_stop_rule(stop),
        cases=cases,
    )
    if device == "cpu" and not reference and not fused_supports(shape):
        progress_console.print("This shape is too wide for the fused kernel: PyTorch trains it.")
    result = show_run(spec, out or Path("runs") / f"{preset}-s{seed}")
    describe(result)


def describe(result: RunResult) -> None:
    """Print how a run ended."""
    console.print(f"{result.status} at step {result.step}; in {result.folder}", highlight=False)
    if result.best:
        best = result.best
        console.print(
            f"best at step {best['step']:.0f}: exact {best['exact']:.4f} on 5,000 uniform pairs, "
            f"{best['exact_hard']:.4f} on hard ones, smallest margin {best['margin']:.3f}",
            highlight=False,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        train,
        argv,
        prog="python -m train",
        example="python -m train --preset 262p --seed 4",
    )


if __name__ == "__main__":
    sys.exit(main())
