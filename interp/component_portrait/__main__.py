"""What does one component read and write, and which sums break when it goes?

python -m interp.component_portrait 311p --matrix W_OV --component 1
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from interp.component_portrait.config import Config
from model.shell import OutFolder, Output, print_summary, run_command, show_files


def draw_component(
    checkpoint: Positional[str],
    config: Annotated[Config, arg(name="")],
    out: OutFolder | None = None,
) -> None:
    """Draw what one component reads and writes, and what breaks without it.

    Args:
        checkpoint: Shipped name, folder, or published file of any one-layer adder.
        config: Which component.
        out: Folder of the results, beside those of other components; by default
            out/component_portrait/CHECKPOINT.
    """
    from interp.component_portrait.instrument import run, write
    from interp.component_portrait.summary import summarise
    from model.anyone import read_network

    source = read_network(checkpoint)
    folder = out or Path("out/component_portrait") / source.name
    with Output(folder, by="python -m interp.component_portrait", adds=True) as output:
        result = run(source.trained, config)
        stem = folder / f"{result.matrix}-{config.basis}-{config.component}"
        with output.writing():
            write(result, source.name, config, stem)
    print_summary(summarise(result, source.name))
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        draw_component,
        argv,
        prog="python -m interp.component_portrait",
        example="python -m interp.component_portrait 311p --matrix W_OV --component 1",
    )


if __name__ == "__main__":
    raise SystemExit(main())
