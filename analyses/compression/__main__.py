"""Does a rank that cannot be trained work when it is reached?

python -m analyses.compression 311p
python -m analyses.compression 311p --targets attn_out_rank=1 attn_out_rank=1,d_ff=4
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from analyses.compression.config import Config
from model.shell import OutFolder, Output, Workers, run_command, show_files


def compress(
    checkpoint: Positional[str],
    config: Annotated[Config, arg(name="")],
    workers: Workers = 2,
    out: OutFolder | None = None,
) -> None:
    """Cut a trained network to smaller shapes, fine-tune briefly, and compare with Table 7.

    Args:
        checkpoint: Shipped name, folder, or published .pt file.
        config: Which shapes, and how to fine-tune.
        workers: Processes.
        out: Folder of the results; by default out/compression/CHECKPOINT.
    """
    from analyses.compression.study import print_result, run, write
    from model.checkpoint import read_checkpoint

    source = read_checkpoint(checkpoint)
    folder = out or Path("out/compression") / source.name
    output = Output(folder, by="python -m analyses.compression", keeps=("runs/*",))
    with output, output.writing():
        result = run(source.model, config, folder / "runs", source=source.name, workers=workers)
        write(result, source.name, config, folder)
    print_result(result, source.name)
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        compress,
        argv,
        prog="python -m analyses.compression",
        example="python -m analyses.compression 311p --targets attn_out_rank=1",
    )


if __name__ == "__main__":
    raise SystemExit(main())
