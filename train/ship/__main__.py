"""Make a finished run a shipped checkpoint: python -m train.ship runs/262p-ft/best 262p."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from model.errors import InputError
from model.shell import OutFolder, Pairs, Parsed, console, run_command, show_files


def check_name(name: str) -> str:
    """Refuse a name that is a path, or that load() would take for one.

    Raises:
        InputError: It holds something other than letters, digits, "-", "_" and ".".
    """
    plain = name.replace("-", "").replace("_", "").replace(".", "")
    if not plain.isascii() or not plain.isalnum() or len(name) > 100:
        raise InputError(f"name {name!r} must be of letters, digits, -, _ and ., at most 100")
    return name


def ship(
    run: Positional[Path],
    name: Positional[Annotated[str, Parsed(check_name)]],
    *,
    pairs: Pairs = 10_000_000,
    stratified: Pairs = 1_000_000,
    out: OutFolder | None = None,
) -> None:
    """Measure a finished run and store it as a named checkpoint with its model card.

    Args:
        run: Folder of the run (or best/ of a fine-tuning store).
        name: Name under which load() finds it.
        pairs: How many uniform pairs to measure on.
        stratified: How many carry-stratified pairs.
        out: Folder of the checkpoint, whose last part is its name; by default checkpoints/NAME.
    """
    from model.checkpoint import SHIPPED
    from train.ship.card import ship_run

    folder = out or SHIPPED / name
    if folder.name != name:
        raise InputError(f"--out is {folder}: its last part must be the name, {name}")
    for kind, row in ship_run(run, folder, pairs, stratified).items():
        console.print(f"{kind}: {row['errors']} wrong of {row['pairs']:,}", highlight=False)
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        ship, argv, prog="python -m train.ship", example="python -m train.ship runs/262p-s4 262p"
    )


if __name__ == "__main__":
    raise SystemExit(main())
