"""Many seeds of one recipe: python -m train.sweep --preset 311p --seeds 0-55 --steps 162000."""

from collections.abc import Sequence
from pathlib import Path

from model.config import preset as look_up_preset
from model.errors import InputError
from model.shell import (
    OutFolder,
    Seeds,
    Steps,
    Workers,
    console,
    read_seeds,
    run_command,
    show_files,
)
from train.config import PUBLISHED, TrainConfig
from train.options import UNCHANGED, Device, ModelOverrides, Preset, StopBounds, read_stop_rule
from train.spec import RunSpec


def sweep(
    *,
    preset: Preset = "311p",
    seeds: Seeds = ("0-7",),
    model: ModelOverrides = UNCHANGED,
    config: TrainConfig = PUBLISHED,
    every: Steps = 1_000,
    stop: StopBounds = (),
    workers: Workers = 2,
    scheduler: str | None = None,
    device: Device = "cpu",
    out: OutFolder | None = None,
) -> None:
    """Train many seeds of one recipe; the same command again resumes an interrupted sweep.

    Args:
        preset: Which network.
        seeds: Numbers and ranges.
        model: Changes to the preset.
        config: Changes to the published recipe.
        every: Steps between two rows of each log.
        stop: End a run where its loss is too high, as STEP:LOSS (off by default).
        workers: Processes on this machine.
        scheduler: Dask scheduler, tcp://HOST:PORT, whose workers train instead.
        device: cpu, or cuda to train all seeds at once in one program on a GPU.
        out: The store; by default runs/sweep-PRESET.
    """
    from train.engine import check_device
    from train.sweep.seeds import describe_rate, watch_sweep

    check_device(device)
    if device == "cuda" and scheduler is not None:
        raise InputError("--scheduler trains on the CPUs of its workers: leave out --device cuda")
    shape = model.apply(look_up_preset(preset))
    rule = read_stop_rule(stop)
    specs = [
        RunSpec(model=shape, train=config, seed=seed, every=every, device=device, stop_rule=rule)
        for seed in read_seeds(seeds)
    ]
    folder = out or Path("runs") / f"sweep-{preset}"
    table = watch_sweep(specs, folder, workers=workers, scheduler=scheduler)
    console.print(describe_rate(table["best_exact"]), highlight=False)
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        sweep,
        argv,
        prog="python -m train.sweep",
        example="python -m train.sweep --preset 311p --seeds 0-55 --steps 162000",
    )


if __name__ == "__main__":
    raise SystemExit(main())
