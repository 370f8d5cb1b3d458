"""How does the certified error move during training? python -m interp.certify_trajectory 262p."""

from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from interp.certify_trajectory.config import Config
from model.shell import OutFolder, Output, run_command, show_files


def trajectory(
    checkpoint: Positional[str],
    *,
    config: Config = Config(),  # noqa: B008
    out: OutFolder | None = None,
) -> None:
    """Certify the snapshots of a training run, with sampled error beside.

    Args:
        checkpoint: Shipped name or folder with a trajectory.
        config: Snapshots and budgets.
        out: Folder for trajectory.csv and the figure; by default out/certify_trajectory/NAME.
    """
    from interp.certify_trajectory.instrument import run, show, write

    folder = out or Path("out/certify_trajectory") / Path(checkpoint).name
    with Output(folder, by="python -m interp.certify_trajectory") as output:
        table = run(checkpoint, config)
        with output.writing():
            write(table, folder)
    show(table)
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        trajectory,
        argv,
        prog="python -m interp.certify_trajectory",
        example="python -m interp.certify_trajectory 262p",
    )


if __name__ == "__main__":
    raise SystemExit(main())
