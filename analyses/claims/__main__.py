"""What the two write-ups state, checked against weights and runs.

python -m analyses.claims 262p path/to/best_311p_s34.pt
"""

from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from model.shell import (
    OutFolder,
    Output,
    Pairs,
    print_summary,
    progress_console,
    run_command,
    show_files,
)


def claims(
    checkpoints: Positional[tuple[str, ...]] = (),
    pairs: Pairs = 10_000_000,
    certify: bool = False,
    out: OutFolder = Path("out/claims"),
) -> None:
    """Check the statements of the two write-ups against checkpoints, sweeps and logs.

    Args:
        checkpoints: Shipped names, folders, published .pt files; all shipped ones if none is given.
        pairs: Uniform pairs on which accuracy is measured, beside the official 100,000.
        certify: Also count the right answers among all 10^20 pairs (half a minute a checkpoint).
        out: Folder for claims.csv, claims.json and claims.md.
    """
    from analyses.claims.check import GROUPS, check, write
    from analyses.claims.data import CLAIMS
    from analyses.claims.summary import summarise
    from analyses.claims.world import read_world
    from model.checkpoint import shipped

    with Output(out, by="python -m analyses.claims") as output:
        world = read_world(checkpoints or shipped(), pairs, certify=certify)
        with progress_console.status("checking") as status:
            table = check(world, report=lambda claim: status.update(claim.statement))
        with output.writing():
            write(table, world, pairs, out)
    print_summary(summarise(table, CLAIMS, GROUPS))
    show_files(out)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        claims,
        argv,
        prog="python -m analyses.claims",
        example="python -m analyses.claims 262p 311p",
    )


if __name__ == "__main__":
    raise SystemExit(main())
