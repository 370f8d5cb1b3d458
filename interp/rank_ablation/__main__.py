"""What does each rank component do?

python -m interp.rank_ablation 262p
python -m interp.rank_ablation 311p --matrix W_O W_OV --basis svd data --pairwise --subsets
python -m interp.rank_ablation 262p --beside 274p 311p
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from interp.rank_ablation.config import Config
from model.shell import OutFolder, Output, Workers, print_summary, run_command, show_files


def ablate_checkpoint(
    checkpoint: Positional[str],
    config: Annotated[Config, arg(name="")],
    beside: tuple[str, ...] = (),
    workers: Workers = 2,
    out: OutFolder | None = None,
) -> None:
    """Remove the rank components of a network, in every way, beside random terms of equal norm.

    Args:
        checkpoint: Shipped name, folder, or published file of any one-layer adder.
        config: What to sweep.
        beside: Further checkpoints for the same table.
        workers: Threads.
        out: Folder of the results; by default out/rank_ablation/CHECKPOINT.
    """
    from interp.rank_ablation.instrument import run_all, write
    from interp.rank_ablation.summary import summarise
    from model.anyone import read_network

    sources = [read_network(name) for name in (checkpoint, *beside)]
    folder = out or Path("out/rank_ablation") / sources[0].name
    output = Output(folder, by="python -m interp.rank_ablation", keeps=("jobs-*/*",))
    with output, output.writing():
        result = run_all(sources, config, folder, workers=workers)
        write(result, [source.name for source in sources], config, folder)
    print_summary(summarise(result.ablations, result.gauges, result.notes))
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        ablate_checkpoint,
        argv,
        prog="python -m interp.rank_ablation",
        example="python -m interp.rank_ablation 262p --matrix W_O W_OV --pairwise",
    )


if __name__ == "__main__":
    raise SystemExit(main())
