"""How do a run's measures move during training, and which moves first?

python -m analyses.dynamics 262p-base
python -m analyses.dynamics 262p-base runs/sweep-262p/s* --no-certify --workers 2
python -m analyses.dynamics --redraw out/dynamics
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from analyses.dynamics.config import Config
from model.errors import InputError
from model.shell import (
    OutFolder,
    Output,
    Workers,
    print_summary,
    refuse_cut_off,
    run_command,
    show_files,
)


def study_dynamics(
    runs: Positional[tuple[str, ...]] = (),
    *,
    config: Annotated[Config, arg(name="")] = Config(),  # noqa: B008
    workers: Workers = 1,
    out: OutFolder = Path("out/dynamics"),
    redraw: OutFolder | None = None,
) -> None:
    """Follow runs through training: what moves first, and where failed seeds stop.

    Args:
        runs: Shipped checkpoints, or folders that a run wrote.
        config: How much is measured.
        workers: Processes that share the snapshots.
        out: Folder of the results; finished snapshots are kept in its folder snapshots.
        redraw: Draw the figures and tables of this folder of results again; nothing is measured.
    """
    if redraw is not None and runs:
        raise InputError("--redraw takes no runs: it draws those of its folder")
    from analyses.dynamics.runs import read_runs
    from analyses.dynamics.store import Measurements
    from analyses.dynamics.study import conclude, run, write
    from analyses.dynamics.summary import summarise

    if redraw is not None:
        refuse_cut_off(redraw)
    folder = redraw or out
    output = Output(folder, by="python -m analyses.dynamics", keeps=("snapshots/*",))
    with output, output.writing():
        if redraw is not None:
            measurements = Measurements.read(redraw)
        else:
            measurements = run(read_runs(runs), config, out / "snapshots", workers)
        result = conclude(measurements)
        write(result, folder)
    print_summary(summarise(measurements, result.onsets))
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        study_dynamics,
        argv,
        prog="python -m analyses.dynamics",
        example="python -m analyses.dynamics 262p-base 311p-base --no-certify",
    )


if __name__ == "__main__":
    raise SystemExit(main())
