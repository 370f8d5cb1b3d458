"""A page in which networks run: python -m analyses.explorer 262p --out page.html."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from model.errors import InputError
from model.shell import Between, OutFile, run_command, show_files, write_atomic

MOST_NETWORKS = 12


def write_page(
    checkpoints: Positional[tuple[str, ...]],
    *,
    out: OutFile = Path("explorer.html"),
    pairs: Annotated[int, Between(0, 10_000_000)] = 50_000,
) -> None:
    """Write one HTML file in which networks run: it opens from disk and needs no network.

    Args:
        checkpoints: Shipped names, folders, or files, of any one-layer adders.
        out: The file to write.
        pairs: Pairs of either kind, uniform and with long carry chains, that are searched for wrong
            sums to show; 0 for none.
    """
    if not checkpoints:
        raise InputError("no checkpoints: give shipped names, such as 262p")
    if len(checkpoints) > MOST_NETWORKS:
        raise InputError(f"{len(checkpoints)} checkpoints: a page takes at most {MOST_NETWORKS}")
    if out.suffix != ".html":
        raise InputError(f"--out is {out}: it must be an .html file")
    from analyses.explorer.describe import describe
    from analyses.explorer.page import build_page
    from model.anyone import read_network

    adders = [read_network(checkpoint) for checkpoint in checkpoints]
    names = [adder.name for adder in adders]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two networks are called {name}: rename one")
    page = build_page([describe(adder, pairs=pairs) for adder in adders])
    write_atomic(out, page)
    show_files(out)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        write_page,
        argv,
        prog="python -m analyses.explorer",
        example="python -m analyses.explorer 262p 262p-failed --out page.html",
    )


if __name__ == "__main__":
    raise SystemExit(main())
