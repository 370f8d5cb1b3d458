"""Which algorithm does a network run? Rival executable hypotheses, scored three ways.

python -m analyses.algorithm 262p
python -m analyses.algorithm 262p --controls
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from analyses.algorithm.config import Config
from model.shell import OutFolder, Output, print_summary, progress_console, run_command


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
    from analyses.algorithm.study import controls, run, tables_in, write
    from analyses.algorithm.summary import summarise, summarise_controls
    from model.checkpoint import read_checkpoint

    source = read_checkpoint(checkpoint)
    verdicts = {}
    known = controls(source.model) if controls_too else {}
    for name, model in [*known.items(), (source.name, source.model)]:
        with Output(out / name, by="python -m analyses.algorithm") as output:
            with progress_console.status(f"{name} ..."):
                result = run(model, config, name)
            with output.writing():
                write(result, config, name, out / name)
        verdicts[name] = result.verdict
    print_summary(summarise(tables_in(result), result.verdict, source.name), out / source.name)
    if controls_too:
        del verdicts[source.name]
        print_summary(summarise_controls(verdicts), out)


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
