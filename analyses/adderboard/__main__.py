"""One self-contained file of a checkpoint: python -m analyses.adderboard 262p --out FILE.py."""

from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from model.errors import InputError
from model.shell import OutFile, run_command, show_files, write_atomic


def export(
    checkpoint: Positional[str],
    *,
    out: OutFile = Path("submission.py"),
    author: str = "carrylens",
    one_by_one: bool = False,
) -> int:
    """Write a checkpoint as one self-contained file, then test that file; exit 1 below 99 %.

    Args:
        checkpoint: Shipped name, folder, or published .pt file.
        out: The file to write.
        author: Name in its metadata.
        one_by_one: Send all 10,010 sums through add(), as the board does (slower).
    """
    if out.suffix != ".py":
        raise InputError(f"--out is {out}: it must be a .py file")
    from analyses.adderboard.study import check_submission, print_score
    from analyses.adderboard.submission import write_submission
    from model.checkpoint import read_checkpoint

    source = read_checkpoint(checkpoint)
    write_atomic(out, write_submission(source.model, source.name, author))
    score = check_submission(out, source.model, one_by_one=one_by_one)
    print_score(score)
    show_files(out)
    return 0 if score.qualifies else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        export,
        argv,
        prog="python -m analyses.adderboard",
        example="python -m analyses.adderboard 262p --out submission.py",
    )


if __name__ == "__main__":
    raise SystemExit(main())
