"""The figure gallery: python -m analyses.figures parameter_journey --checkpoint 262p."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from analyses.gallery import FigureName
from model.errors import InputError
from model.shell import OutFolder, Output, Seed, run_command, show_files

Format = Literal["png", "svg", "pdf"]


def figures(
    names: Positional[tuple[FigureName, ...]] = (),
    *,
    checkpoint: str = "262p",
    out: OutFolder | None = None,
    format: tuple[Format, ...] = ("png", "svg", "pdf"),
    seed: Seed = 0,
    results: Path | None = None,
    recompute: bool = False,
    list: bool = False,
) -> None:
    """Draw figures of the gallery, each with its data and a caption beside it.

    Args:
        names: Figures to draw; all of them by default.
        checkpoint: The model: shipped name, folder, or published .pt file.
        out: Where they go; by default out/figures/CHECKPOINT.
        format: File formats.
        seed: Seed of every sample.
        results: Folder of the saved tables of the training studies; by default analyses/results.
        recompute: Compute data that is there already.
        list: Only list the figures.
    """
    if not format:
        raise InputError("no format: give some of png, svg and pdf")
    from analyses.claims import RESULTS
    from analyses.figures.study import make_figures, show_list, show_made
    from analyses.gallery import Source, choose_figures
    from model.checkpoint import read_checkpoint

    if list:
        show_list()
        return
    chosen = choose_figures(names)
    folder = out or Path("out/figures") / read_checkpoint(checkpoint).name
    output = Output(folder, by="python -m analyses.figures", adds=True)
    with output, output.writing():
        rows = make_figures(
            chosen,
            Source(checkpoint=checkpoint, results=results or RESULTS, seed=seed),
            folder,
            formats=format,
            recompute=recompute,
            skip_missing=not names,
        )
    show_made(rows, folder, format)
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        figures,
        argv,
        prog="python -m analyses.figures",
        example="python -m analyses.figures parameter_journey --checkpoint 262p --format png",
    )


if __name__ == "__main__":
    raise SystemExit(main())
