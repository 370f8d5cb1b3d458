"""Train one model from a seed: python -m train --preset 262p --seed 4."""

import sys
from collections.abc import Sequence
from pathlib import Path

from model.config import preset as look_up_preset
from model.shell import OutFolder, Seed, Steps, progress_console, run_command, show_files
from train.config import PUBLISHED, TrainConfig
from train.options import (
    UNCHANGED,
    Device,
    ModelOverrides,
    Preset,
    StopBounds,
    read_stop_rule,
)
from train.spec import RunSpec


def train(
    *,
    preset: Preset = "262p",
    seed: Seed = 0,
    model: ModelOverrides = UNCHANGED,
    config: TrainConfig = PUBLISHED,
    every: Steps = 1_000,
    device: Device = "cpu",
    reference: bool = False,
    stop: StopBounds = (),
    cases: str | None = None,
    out: OutFolder | None = None,
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
    from train.engine import fused_supports
    from train.show import describe, show_run

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
    show_files(result.folder)


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
