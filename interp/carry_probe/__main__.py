"""Where is the carry, and does the network use it?

python -m interp.carry_probe 262p
python -m interp.carry_probe 262p --full
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from model.errors import InputError
from model.shell import (
    AnyColumn,
    OutFolder,
    Output,
    Seed,
    Workers,
    print_summary,
    progress_bar,
    run_command,
    show_files,
)


def carry_probe(
    checkpoint: Positional[str],
    *,
    quick: bool = False,
    full: bool = False,
    sites: tuple[str, ...] = (),
    columns: tuple[AnyColumn, ...] = (),
    seed: Seed = 0,
    workers: Workers = 2,
    out: OutFolder | None = None,
) -> None:
    """Find where a model has the carry, and whether it uses it.

    Args:
        checkpoint: Shipped name, folder, or file: any one-layer adder.
        quick: Three columns and few inputs.
        full: Every site, column and feature, five random models, searched directions, and
            every hook compared with the TransformerLens wrapper.
        sites: Only these sites, by name (resid_mid, in_low, ...).
        columns: Only these answer columns, 0 (units) to the last of the network's task.
        seed: Seed of all inputs and draws.
        workers: Processes for the probes and the figures.
        out: Folder for tables and figures; out/carry_probe/NAME if not given.
    """
    if quick and full:
        raise InputError("--quick and --full exclude each other: give one of them")
    from interp.carry_probe.config import Config
    from interp.carry_probe.instrument import run, write
    from interp.carry_probe.summary import summarise
    from model.anyone import read_network

    read = read_network(checkpoint)
    config = Config.quick(read.network.layout) if quick else Config.full() if full else Config()
    config = dataclasses.replace(
        config,
        sites=sites or config.sites,
        columns=columns or config.columns,
        seed=seed,
        jobs=workers,
    )
    config.fit_to(read.network.layout)
    folder = out or Path("out/carry_probe") / read.name
    with (
        Output(folder, by="python -m interp.carry_probe") as output,
        progress_bar() as progress,
    ):
        result = run(read.model or read.network, config, read.name, progress)
        task = progress.add_task("files and figures", total=None)
        with output.writing():
            write(result, folder, workers)
        progress.remove_task(task)
    print_summary(summarise(result))
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        carry_probe,
        argv,
        prog="python -m interp.carry_probe",
        example="python -m interp.carry_probe 262p --full",
    )


if __name__ == "__main__":
    raise SystemExit(main())
