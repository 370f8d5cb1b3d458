"""How many parameters are there really? python -m interp.effective_params 262p."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from interp.effective_params.config import Config
from model.shell import OutFolder, Output, print_summary, run_command, show_files


def count_parameters(
    checkpoint: Positional[str],
    config: Annotated[Config, arg(name="")],
    out: OutFolder | None = None,
) -> None:
    """Count the directions in which the parameters move the logits, beside their nominal number.

    Args:
        checkpoint: Shipped name, folder, or published file of any one-layer adder.
        config: How the Jacobian is sampled.
        out: Folder of the results; by default out/effective_params/CHECKPOINT.
    """
    from interp.effective_params.instrument import run, write
    from interp.effective_params.summary import summarise
    from model.anyone import read_network

    source = read_network(checkpoint)
    folder = out or Path("out/effective_params") / source.name
    with Output(folder, by="python -m interp.effective_params") as output:
        result = run(source.trained, config)
        with output.writing():
            write(result, source.name, config, folder)
    print_summary(summarise(asdict(result), source.name, source.n_params))
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        count_parameters,
        argv,
        prog="python -m interp.effective_params",
        example="python -m interp.effective_params 262p",
    )


if __name__ == "__main__":
    raise SystemExit(main())
