"""Which algorithm does a network run? Rival executable hypotheses, scored three ways.

python -m analyses.algorithm 262p
python -m analyses.algorithm 262p --controls
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from analyses.algorithm.config import Config
from model.shell import (
    OutFolder,
    Output,
    print_summary,
    progress_console,
    run_command,
    show_files,
)


def find_algorithm(
    checkpoint: Positional[str],
    config: Annotated[Config, arg(name="")],
    controls_too: Annotated[bool, arg(name="controls")] = False,
    out: OutFolder = Path("out/algorithm"),
) -> None:
    """Score rival hypotheses about a network's algorithm and write the winner as a program.

    Args:
        checkpoint: Shipped name, folder, NAME@STEP, or published .pt file.
        config: How much is sampled.
        controls_too: Also the hand-built adder in three variants and a random initialisation.
        out: Folder of the results; each network gets its own in it.
    """
    from analyses.algorithm.study import Result, controls, run, tables_in, write
    from analyses.algorithm.summary import summarise, summarise_controls
    from model.checkpoint import read_checkpoint

    source = read_checkpoint(checkpoint)
    known = controls(source.model) if controls_too else {}
    results: dict[str, Result] = {}
    for name, model in {**known, source.name: source.model}.items():
        with Output(out / name, by="python -m analyses.algorithm") as output:
            with progress_console.status(f"{name} ..."):
                results[name] = run(model, config, name)
            with output.writing():
                write(results[name], config, name, out / name)
    result = results.pop(source.name)
    print_summary(summarise(tables_in(result), result.verdict, source.name))
    if results:
        print_summary(summarise_controls({name: r.verdict for name, r in results.items()}))
    show_files(out if controls_too else out / source.name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        find_algorithm,
        argv,
        prog="python -m analyses.algorithm",
        example="python -m analyses.algorithm 262p --controls",
    )


if __name__ == "__main__":
    raise SystemExit(main())
