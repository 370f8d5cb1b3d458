import base64
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from analyses.report.html import render_html
from analyses.report.image import SCREEN, compact, inches_wide
from analyses.report.inline import escape_markdown, inline_html, inline_markdown
from analyses.report.markdown import render_markdown
from analyses.report.numbers import format_column, format_number, is_numeric
from analyses.report.section import Heading, Listing, Picture, Section, Table, Text
from interp.output import PRINT, save_figure

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

MINUS, TIMES = "\u2212", "\u00d7"


def a_section(name: str = "first") -> Section:
    frame = pd.DataFrame({"what": ["<b>|", "w_i"], "rate": [0.123456789012345, 0.99999912]})
    return Section(
        name=name,
        title="Rates & <means>",
        finding="The rate is 0.12 (0.1 to 0.2) of a_i.",
        parts=(
            Text("Where a < b & **strong** `x_<y>` of 10^20 pairs, 1.2e-05 each."),
            Heading("Further"),
            Table("Some rates of <all>.", frame),
            Picture("some_figure", "A figure of W_QK.", PNG),
            Listing("A program", "if a < b:\n    print('```')"),
        ),
        commands=("python -m interp.certify 262p",),
        sources=("table.csv",),
    )


class Page(HTMLParser):
    """Collects what a browser would see: words, and everything that it would fetch."""

    VOID = ("meta", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "srcset", "data", "poster") or (name == "href" and tag != "a"):
                self.fetched.append(value or "")
            if name == "href" and tag == "a":
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:  # "<img />"
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read_page(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page


def test_the_page_is_well_formed_and_needs_nothing_else() -> None:
    text = render_html([a_section(), a_section("second")], "A <report>", "About it.", "python x")
    page = read_page(text)
    assert len(page.fetched) == 2
    assert all(x.startswith("data:image/png;base64,") for x in page.fetched)
    assert base64.b64decode(page.fetched[0].partition(",")[2]) == PNG
    assert text.count("<script") == 1
    assert "@import" not in text
    assert "url(" not in text
    assert not re.search(r"https?://", text)
    assert set(page.links) == {"#first", "#second"}
    assert set(page.ids) == {"first", "second"}
    assert "default-src 'none'" in text


def test_the_page_escapes_numbers_and_sets_formulas() -> None:
    text = render_html([a_section()], "A <report>", "About it.", "python x")
    words = "".join(read_page(text).words)
    assert "<b>|" in words  # as text: no such element was opened
    assert f"Where a < b & strong x_<y> of 1020 pairs, 1.2 {TIMES} 10{MINUS}5 each." in words
    assert "10<sup>20</sup>" in text
    assert "0.1235" in words
    assert "0.123456" not in words
    assert "0.99999912" in words  # rounded to four decimals it would be a lie
    assert "Table 1." in words
    assert "Figure 1." in words
    assert "python -m interp.certify 262p" in words


def test_markdown_reads_the_same_once_rendered() -> None:
    markdown_it = pytest.importorskip("markdown_it")
    text = render_markdown([a_section()], "A <report>", "About it.", "python x")
    rendered = markdown_it.MarkdownIt("commonmark").enable("table").render(text)
    words = "".join(read_page(rendered).words)
    assert "Where a < b & strong x_<y> of 10^20 pairs, 1.2e-05 each." in words
    assert "<b>|" in words
    assert "print('```')" in words
    assert 'src="figures/first-some_figure.png"' in rendered
    assert rendered.count("<table>") == 1
    assert rendered.count("<tr>") == 3
    assert '<td style="text-align:right">0.1235</td>' in rendered
    assert "A <report>" in words


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (0.25, "0.2500"),
        (0.123456789, "0.1235"),
        (3.6888787e-7, "3.69e-07"),
        (0.99999963, "0.99999963"),
        (1.11e-4, "1.11e-04"),
        (-0.738, "-0.7380"),
        (12.3456, "12.35"),
        (10_000_000.0, "10,000,000"),
        (1.5e8 + 0.5, "1.50e+08"),
        (math.nan, ""),
        (math.inf, "inf"),
    ],
)
def test_numbers_are_short_but_never_rounded_to_a_certainty(value: float, written: str) -> None:
    assert format_number(value) == written


def test_columns_share_their_decimals() -> None:
    assert format_column(pd.Series([0.5, 0.12345, math.nan])) == ["0.5000", "0.1235", ""]
    assert format_column(pd.Series([12.0, 3.14159])) == ["12.00", "3.14"]
    assert format_column(pd.Series([0.5, 1e-7])) == ["0.5000", "1.00e-07"]
    assert format_column(pd.Series([10_000_000, 1])) == ["10,000,000", "1"]
    assert format_column(pd.Series([True, False])) == ["yes", "no"]
    assert format_column(pd.Series(["0.10", None])) == ["0.10", ""]
    assert format_column(pd.Series([math.nan])) == [""]
    assert format_column(pd.Series([], dtype=float)) == []


def test_columns_of_numbers_are_told_from_texts() -> None:
    assert is_numeric(["1,000", "-0.5", "", "3.69e-07", "0.1 to 0.2"])
    assert not is_numeric(["1", "column 3"])
    assert not is_numeric(["", ""])


def test_formulas_are_set_only_where_there_are_some() -> None:
    assert (
        inline_html("a_(i-1) + b_{i-1}")
        == f"<i>a</i><sub>i{MINUS}1</sub> + <i>b</i><sub>i{MINUS}1</sub>"
    )
    assert inline_html("W_QK at resid_mid") == "<i>W</i><sub>QK</sub> at resid_mid"
    assert (
        inline_html("R^2 of -3.5, 2^-100") == f"R<sup>2</sup> of {MINUS}3.5, 2<sup>{MINUS}100</sup>"
    )
    assert inline_html("a factor of 5.5e+06.") == f"a factor of 5.5 {TIMES} 10<sup>6</sup>."
    assert inline_html("`a_i 1e-5`") == "<code>a_i 1e-5</code>"
    assert inline_html("262p-base, 2026-01-02") == "262p-base, 2026-01-02"


def test_markdown_escapes_only_what_it_must() -> None:
    assert escape_markdown("s_(i-1) * 2 | <EOS>") == r"s_(i-1) \* 2 \| \<EOS\>"
    assert escape_markdown("_x_") == r"\_x_"
    assert inline_markdown("**Dose.** at `resid_mid`") == "**Dose.** at `resid_mid`"


def test_a_figure_is_as_wide_on_the_page_as_it_was_drawn(tmp_path: Path) -> None:
    widths = []
    for dpi in (PRINT, SCREEN):
        figure = plt.figure(figsize=(4, 2))
        figure.add_axes((0, 0, 1, 1))
        (path,) = save_figure(figure, tmp_path / "figure", ("png",), dpi)
        for png in (path.read_bytes(), compact(path.read_bytes())):
            widths.append(inches_wide(png))
    assert widths == pytest.approx([widths[0]] * 4, abs=0.02)
    assert 4 < widths[0] < 5  # labels stand outside of the axes
    assert inches_wide(PNG) == 1 / SCREEN


def test_the_explorer_comes_first() -> None:
    text = render_html([a_section()], "A", "About it.", "python x", "<i>it runs</i>")
    assert text.index("<i>it runs</i>") < text.index("<h2><span class=number>1</span>")
    assert '<a href="#explorer">' in text
    assert 'href="#explorer"' not in render_html([a_section()], "A", "About it.", "python x")
