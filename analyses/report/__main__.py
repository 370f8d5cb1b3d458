"""Everything that is known of a checkpoint, as one page: python -m analyses.report CHECKPOINT.

python -m analyses.report 262p
python -m analyses.report 311p-base --sections accuracy failure --quick
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from model.shell import Between, OutFolder, Output, Workers, console, run_command, show_files

SectionName = Literal[
    "model",
    "accuracy",
    "probe",
    "algorithm",
    "gallery",
    "ranks",
    "failure",
    "dynamics",
    "claims",
]


def report(
    checkpoint: Positional[str],
    *,
    sections: tuple[SectionName, ...] = (),
    quick: bool = False,
    recompute: bool = False,
    seed: Annotated[int, Between(0, 2**31 - 1)] = 0,
    workers: Workers = 2,
    out: OutFolder | None = None,
) -> None:
    """Write everything that is known of a checkpoint as one HTML page and one Markdown file.

    Sections: model, accuracy, probe, algorithm, gallery, ranks, failure, dynamics, claims.

    Args:
        checkpoint: Shipped name, folder, NAME@STEP, or published .pt file.
        out: Folder of the report; by default out/report/NAME. Finished sections in it are reused.
        sections: Only these sections, in the order of the report.
        quick: Small samples, for a first look.
        workers: Sections that are made at the same time, each in its own process.
        seed: Seed of every sample.
        recompute: Make every section again.
    """
    from rich.markup import escape

    from analyses.report.chapters import CHAPTERS, find_sections, make_all
    from analyses.report.page import read_back, write_report
    from analyses.report.source import Source
    from model.checkpoint import weights_sha256

    names = [name for name in CHAPTERS if not sections or name in sections]
    source = Source(reference=checkpoint, seed=seed, quick=quick)
    read = Source(reference=checkpoint, seed=seed, quick=quick)
    origin = {
        "checkpoint": checkpoint,
        "sha256": weights_sha256(read.model.params),
        "seed": seed,
        "quick": quick,
    }
    folder = out or Path("out/report") / read.name
    words = [checkpoint, "--out", str(folder), *(["--quick"] if quick else [])]
    words += ["--seed", str(seed)] + (["--sections", *names] if sections else [])
    output = Output(folder, by="python -m analyses.report", keeps=("sections/*",))
    with output, output.writing():
        missing = find_sections(names, folder, origin, recompute=recompute)
        make_all(missing, source, folder, origin, workers)
        made = [read_back(name, folder, origin) for name in names]
        write_report(made, read, folder, f"python -m analyses.report {shlex.join(words)}")
    for section in made:
        state = "made now" if section.name in missing else "read"
        console.print(
            f"[bold]{escape(section.title)}[/bold] ({state}): {escape(section.finding)}",
            highlight=False,
            soft_wrap=True,
        )
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        report,
        argv,
        prog="python -m analyses.report",
        example="python -m analyses.report 262p --out out/report/262p",
    )


if __name__ == "__main__":
    raise SystemExit(main())
