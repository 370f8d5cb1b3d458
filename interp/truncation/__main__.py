"""How small a network of lower rank does a trained one contain?

python -m interp.truncation 311p
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from interp.truncation.config import Config
from model.shell import OutFolder, Output, print_summary, run_command, show_files


def truncate_checkpoint(
    checkpoint: Positional[str],
    config: Annotated[Config, arg(name="")],
    out: OutFolder | None = None,
) -> None:
    """Find the smallest networks of lower rank inside a trained one, without training.

    Args:
        checkpoint: Shipped name, folder, or published .pt file of the write-ups' family.
        config: What to try.
        out: Folder of the results; by default out/truncation/CHECKPOINT.
    """
    from interp.truncation.config import RANKS
    from interp.truncation.instrument import run, write
    from interp.truncation.summary import summarise
    from model.anyone import read_network
    from model.errors import InputError

    source = read_network(checkpoint)
    if source.model is None:
        raise InputError(
            f"the trained factors of {source.name} are not known, and truncation cuts those: "
            "python -m interp.rank_ablation cuts its effective weights to every lower rank"
        )
    folder = out or Path("out/truncation") / source.name
    with Output(folder, by="python -m interp.truncation") as output:
        result = run(source.model, config)
        with output.writing():
            write(result, source.name, config, folder)
    print_summary(summarise(result.table, result.smallest, RANKS, source.name))
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        truncate_checkpoint,
        argv,
        prog="python -m interp.truncation",
        example="python -m interp.truncation 311p --pairs 100000",
    )


if __name__ == "__main__":
    raise SystemExit(main())
