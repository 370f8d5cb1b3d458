"""Why is one sum wrong, and which others are?

python -m interp.failure_diff 311p 9304630660 8594408863
python -m interp.failure_diff 311p --search
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from model.shell import (
    Operand,
    OutFolder,
    Output,
    Seed,
    print_summary,
    progress_console,
    run_command,
    show_files,
)
from model.sums import HARD_CASES

COMMAND = "python -m interp.failure_diff"
DEFAULT_A, DEFAULT_B = HARD_CASES["published failing case"]


def failure_diff(
    checkpoint: Positional[str],
    a: Positional[Operand] = DEFAULT_A,
    b: Positional[Operand] = DEFAULT_B,
    search_only: Annotated[bool, arg(name="search")] = False,
    certify: bool = False,
    seed: Seed = 0,
    out: OutFolder | None = None,
) -> None:
    """Explain a wrong sum (or the thinnest column of a right one) against its controls.

    Args:
        checkpoint: Shipped name, folder, or published .pt file.
        a: First operand, 0 to 9999999999.
        b: Second operand, 0 to 9999999999.
        search_only: Find failing pairs of the model, grouped by local context, and nothing else.
        certify: Add the certifier's exact number of failing pairs and its atlas (half a minute).
        seed: Seed of all random draws.
        out: Folder for tables and figures; out/failure_diff/CHECKPOINT/A_B (or /search).
    """
    from interp.failure_diff.error_search import SearchConfig, search
    from interp.failure_diff.instrument import Config, run, write, write_search
    from interp.failure_diff.summary import summarise, summarise_search
    from model.checkpoint import read_checkpoint

    found = read_checkpoint(checkpoint)
    folder = out or Path("out/failure_diff") / found.name / (
        "search" if search_only else f"{a}_{b}"
    )
    with Output(folder, by=COMMAND) as output, progress_console.status("loading") as status:
        if search_only:
            other_sums = search(
                found.model,
                SearchConfig(seed=seed),
                report=lambda column: status.update(f"searching column {column}"),
            )
            with output.writing():
                write_search(other_sums, found.name, seed, folder)
            said = summarise_search(other_sums, found.name)
        else:
            config = Config(a=a, b=b, certify=certify, seed=seed)
            result = run(found.model, config, found.name, report=status.update)
            status.update("figures")
            with output.writing():
                write(result, folder)
            said = summarise(result)
    print_summary(said)
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        failure_diff,
        argv,
        prog=COMMAND,
        example="python -m interp.failure_diff 311p 9304630660 8594408863",
    )


if __name__ == "__main__":
    raise SystemExit(main())
