"""A report as one HTML page that needs nothing else: figures inlined, no network."""

import base64
import html
from collections.abc import Iterator, Sequence

from analyses.report.behaviour import SCRIPT
from analyses.report.image import inches_wide
from analyses.report.inline import inline_html, set_formulas
from analyses.report.numbers import format_column, is_numeric
from analyses.report.section import Heading, Listing, Part, Picture, Section, Table, Text
from analyses.report.style import STYLE

ENLARGED = 1.3
"""A figure made for a column of a paper is shown this much larger on a screen."""
LONG = 44
"""Texts of more characters than this are wrapped in a table."""
# The browser itself refuses whatever is not in the file.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def render_html(
    sections: Sequence[Section], title: str, abstract: str, command: str, explorer: str = ""
) -> str:
    """Write the page.

    Args:
        sections: In reading order.
        title: Heading of the page.
        abstract: Paragraph under it.
        command: What makes the report again.
        explorer: The network itself, as a part of the page that comes before the sections.
    """
    counters = {"Figure": 0, "Table": 0}
    body = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{html.escape(title)}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        *_contents(sections, bool(explorer)),
        "<main>",
        f"<header><h1>{inline_html(title)}</h1><p class=abstract>{inline_html(abstract)}</p>",
        f"<pre class=command>{html.escape(command)}</pre></header>",
        *_findings(sections),
        *([_EXPLORER, explorer, "</section>"] if explorer else []),
    ]
    for number, section in enumerate(sections, 1):
        body.append(f'<section id="{section.name}">')
        body.append(f"<h2><span class=number>{number}</span>{inline_html(section.title)}</h2>")
        for part in section.parts:
            body.append(_part(part, counters))
        body += [*_origin(section), "</section>"]
    script = f"<script type=module>{SCRIPT}</script>"
    return "\n".join([*body, "</main>", script, "</body>", "</html>", ""])


_EXPLORER = (
    '<section id="explorer"><h2>The network itself</h2>'
    "<p>It runs here: type two numbers, choose a column, switch parts off.</p>"
)


def _contents(sections: Sequence[Section], has_explorer: bool) -> Iterator[str]:
    yield '<nav aria-label="Contents">'
    if has_explorer:
        yield '<p><a href="#explorer">The network itself</a></p>'
    yield "<ol>"
    for section in sections:
        yield f'<li><a href="#{section.name}">{inline_html(section.title)}</a></li>'
    yield "</ol></nav>"


def _findings(sections: Sequence[Section]) -> Iterator[str]:
    yield "<dl class=findings>"
    for section in sections:
        link = f'<a href="#{section.name}">{inline_html(section.title)}</a>'
        yield f"<dt>{link}</dt><dd>{inline_html(section.finding)}</dd>"
    yield "</dl>"


def _part(part: Part, counters: dict[str, int]) -> str:
    match part:
        case Text(text):
            return f"<p>{inline_html(text)}</p>"
        case Heading(text):
            return f"<h3>{inline_html(text)}</h3>"
        case Listing(caption, text):
            return (
                f"<details><summary>{inline_html(caption)}</summary>"
                f"<pre>{html.escape(text)}</pre></details>"
            )
        case Table(caption, _):
            counters["Table"] += 1
            label = f"<b>Table {counters['Table']}.</b> {inline_html(caption)}"
            return (
                f"<figure class=table><figcaption>{label}</figcaption>"
                f"<div class=scroll>{_table(part)}</div></figure>"
            )
        case Picture(stem, caption, png):
            counters["Figure"] += 1
            width = round(inches_wide(png) * 96 * ENLARGED)
            data = base64.b64encode(png).decode("ascii")
            label = f"<b>Figure {counters['Figure']}.</b> {inline_html(caption)}"
            return (
                f'<figure><img alt="{html.escape(stem.replace("_", " "))}" width={width} '
                f'src="data:image/png;base64,{data}"><figcaption>{label}</figcaption></figure>'
            )


def _table(table: Table) -> str:
    columns = [format_column(table.frame[name]) for name in table.frame]
    kinds = [_kind_of(cells) for cells in columns]
    heads = zip(table.frame.columns, kinds, strict=True)
    head = "".join(f"<th{kind}>{inline_html(str(name))}</th>" for name, kind in heads)
    rows = (
        "<tr>"
        + "".join(
            f"<td{kind}>{set_formulas(html.escape(cell))}</td>"
            for cell, kind in zip(row, kinds, strict=True)
        )
        + "</tr>"
        for row in zip(*columns, strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _kind_of(cells: list[str]) -> str:
    """Class of a column: numbers, long texts that need room, or short ones that must not break."""
    if is_numeric(cells):
        return " class=n"
    return " class=long" if max(map(len, cells), default=0) > LONG else ""


def _origin(section: Section) -> Iterator[str]:
    yield '<footer class="origin">'
    if section.commands:
        commands = html.escape("\n".join(section.commands))
        yield f"<p>Made again by</p><pre class=command>{commands}</pre>"
    files = ", ".join(f"<code>{html.escape(name)}</code>" for name in section.sources)
    if files:
        yield f"<p>Complete tables: {files}.</p>"
    yield "</footer>"
