"""How small can a network of the family be and still be right on all 10^20 pairs?

python -m analyses.smallest runs/compression runs/242p-repair --out analyses/results/smallest.csv
"""

from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from model.errors import InputError
from model.shell import OutFile, run_command, show_files


def smallest(folders: Positional[tuple[Path, ...]], *, out: OutFile | None = None) -> None:
    """Tabulate the shapes that were tried, and the best count proved for each.

    Args:
        folders: Folders with runs in them.
        out: Where to write the table as CSV; by default out/smallest/smallest.csv.
    """
    if not folders:
        raise InputError("no folders: give those that runs wrote, such as runs/compression")
    from analyses.smallest.study import judge_all, show
    from interp.output import save_table

    table = judge_all(folders)
    path = save_table(table, out or Path("out/smallest/smallest.csv"))
    show(table)
    show_files(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        smallest,
        argv,
        prog="python -m analyses.smallest",
        example="python -m analyses.smallest runs/compression runs/242p-repair",
    )


if __name__ == "__main__":
    raise SystemExit(main())
