"""Everything that is known of a checkpoint, as one page: python -m analyses.report CHECKPOINT.

A report is a list of sections. Each runs an instrument or a study, keeps its tables and figures in
OUT/sections/NAME, and is read back from there if it was made for the same weights and settings, so
that an interrupted report goes on where it stopped. OUT/report.html needs nothing but itself;
OUT/report.md has its figures in OUT/figures. Both are written when all sections are there.

    python -m analyses.report 262p
    python -m analyses.report 311p-base --sections accuracy failure --quick
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from tyro.conf import Positional

from analyses.report.chapters import CHAPTERS, find_sections, make_all
from analyses.report.html import render_html
from analyses.report.markdown import figure_name, render_markdown
from analyses.report.section import Picture, Section, load_section
from analyses.report.source import Source
from model.checkpoint import weights_sha256
from model.errors import InputError
from model.shell import console, run_command, write_atomic


def read_back(name: str, out: Path, origin: dict[str, Any]) -> Section:
    """Read a section that was just made or found.

    Raises:
        InputError: Something removed or changed it in between.
    """
    section = load_section(out / "sections" / name, origin)
    if section is None:
        raise InputError(f"{out / 'sections' / name} was changed by another run: run again")
    return section


def write_report(sections: Sequence[Section], source: Source, out: Path, command: str) -> None:
    """Render sections, figures first and the page last."""
    title = f"Report on {source.name}"
    abstract = (
        f"What the {source.model.config.n_params} parameters of {source.name} compute, and how "
        "that is known. Every number was computed by the command under its section, on the "
        f"weights with sha256 `{weights_sha256(source.model.params)[:16]}`, with seed "
        f"{source.seed}; it stands beside its interval, its control or its floor."
        + (" This is a quick report: samples are small." if source.quick else "")
    )
    for section in sections:
        for part in section.parts:
            if isinstance(part, Picture):
                write_atomic(out / "figures" / figure_name(section, part), part.png)
    write_atomic(out / "report.md", render_markdown(sections, title, abstract, command))
    write_atomic(out / "report.html", render_html(sections, title, abstract, command))


def report(
    checkpoint: Positional[str],
    *,
    out: Path | None = None,
    sections: tuple[str, ...] = (),
    quick: bool = False,
    workers: int = 2,
    seed: int = 0,
    recompute: bool = False,
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
    unknown = [name for name in sections if name not in CHAPTERS]
    if unknown:
        raise InputError(f"no section {unknown[0]!r}: known are {', '.join(CHAPTERS)}")
    if workers < 1:
        raise InputError(f"--workers is {workers}: it must be 1 or more")
    if not 0 <= seed < 2**31:
        raise InputError(f"--seed is {seed}: it must be 0 to {2**31 - 1}")
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
    try:
        (folder / "sections").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from error
    missing = find_sections(names, folder, origin, recompute=recompute)
    make_all(missing, source, folder, origin, workers)
    made = [read_back(name, folder, origin) for name in names]
    words = [checkpoint, "--out", str(folder), *(["--quick"] if quick else [])]
    words += ["--seed", str(seed)] + (["--sections", *names] if sections else [])
    write_report(made, read, folder, f"python -m analyses.report {shlex.join(words)}")
    for section in made:
        state = "made now" if section.name in missing else "read"
        console.print(
            f"[bold]{escape(section.title)}[/bold] ({state}, {section.seconds:.0f} s): "
            f"{escape(section.finding)}",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"{folder / 'report.html'}, {folder / 'report.md'}", highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        report,
        argv,
        prog="python -m analyses.report",
        example="python -m analyses.report 262p --out out/report/262p",
    )
