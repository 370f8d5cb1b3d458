"""Everything that is known of a checkpoint, as one page: python -m analyses.report CHECKPOINT.

A report is a list of sections. Each runs an instrument or a study, keeps its tables and figures in
OUT/sections/NAME, and is read back from there if it was made for the same weights and settings, so
that an interrupted report goes on where it stopped. Sections that share what they compute are made
by one process. OUT/report.html needs nothing but itself; OUT/report.md has its figures in
OUT/figures. Both are written when all sections are there. The command under a section draws its
figures for print.

    python -m analyses.report 262p
    python -m analyses.report 311p-base --sections accuracy failure --quick
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analyses.explorer import build_part, describe
from analyses.report.html import render_html
from analyses.report.markdown import figure_name, render_markdown
from analyses.report.section import Picture, Section, load_section, shorten
from analyses.report.source import Source
from model.anyone import read_network
from model.checkpoint import weights_sha256
from model.errors import InputError
from model.shell import write_atomic

PAIRS = 20_000
"""Pairs of either kind that are searched for wrong sums to show in the explorer."""


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
    """Render sections, figures first and the page last; long tables stay in their files."""
    sections = [shorten(section) for section in sections]
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
    explorer = build_part([describe(read_network(source.reference), pairs=PAIRS)])
    page = render_html(sections, title, abstract, command, explorer)
    write_atomic(out / "report.html", page)
