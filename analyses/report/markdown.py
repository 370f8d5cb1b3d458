"""A report as one Markdown file, its figures as files beside it."""

from collections.abc import Iterator, Sequence

from analyses.report.inline import escape_markdown, inline_markdown
from analyses.report.numbers import format_column, is_numeric
from analyses.report.section import Heading, Listing, Part, Picture, Section, Table, Text


def render_markdown(
    sections: Sequence[Section], title: str, abstract: str, command: str, figures: str = "figures"
) -> str:
    """Write the text; figures are referred to as FIGURES/SECTION-STEM.png.

    Args:
        sections: In reading order.
        title: Heading.
        abstract: Paragraph under it.
        command: What makes the report again.
        figures: Folder of the figures, relative to the file.
    """
    counters = {"Figure": 0, "Table": 0}
    blocks = [f"# {inline_markdown(title)}", inline_markdown(abstract), _code(command)]
    blocks.append("\n".join(_findings(sections)))
    for number, section in enumerate(sections, 1):
        blocks.append(f"## {number}. {inline_markdown(section.title)}")
        blocks += [_part(part, section, counters, figures) for part in section.parts]
        blocks += _origin(section)
    return "\n\n".join(blocks) + "\n"


def figure_name(section: Section, part: Picture) -> str:
    """Name the file of a figure."""
    return f"{section.name}-{part.stem}.png"


def _findings(sections: Sequence[Section]) -> Iterator[str]:
    for section in sections:
        yield f"- **{inline_markdown(section.title)}.** {inline_markdown(section.finding)}"


def _part(part: Part, section: Section, counters: dict[str, int], figures: str) -> str:
    match part:
        case Text(text):
            return inline_markdown(text)
        case Heading(text):
            return f"### {inline_markdown(text)}"
        case Listing(caption, text):
            return f"{inline_markdown(caption)}:\n\n{_code(text)}"
        case Table(caption, _):
            counters["Table"] += 1
            label = f"**Table {counters['Table']}.** {inline_markdown(caption)}"
            return f"{label}\n\n{_table(part)}"
        case Picture(stem, caption, _):
            counters["Figure"] += 1
            image = f"![{stem.replace('_', ' ')}]({figures}/{figure_name(section, part)})"
            return f"{image}\n\n**Figure {counters['Figure']}.** {inline_markdown(caption)}"


def _table(table: Table) -> str:
    columns = [format_column(table.frame[name]) for name in table.frame]
    names = [inline_markdown(str(name)) for name in table.frame.columns]
    rule = ["---:" if is_numeric(cells) else "---" for cells in columns]
    body = [[escape_markdown(cell) for cell in row] for row in zip(*columns, strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [names, rule, *body])


def _origin(section: Section) -> Iterator[str]:
    if section.commands:
        yield "Made again by"
        yield _code("\n".join(section.commands))
    files = ", ".join(f"`{name}`" for name in section.sources)
    if files:
        yield f"Complete tables: {files}."


def _code(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text.rstrip()}\n{fence}"
