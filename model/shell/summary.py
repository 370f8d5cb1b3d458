"""What did the run find? One screen: a short table and at most six plain sentences.

A reader has thirty seconds. Each row is a question with its verdict, the number behind it, and
what that number is without the claim: a floor or a control. Paragraphs, tables and every further
number go to the files. The limits are checked when a summary is made, so that no run of an
instrument can print more than a screen.
"""

import io
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from model.shell.cli import console

ROWS, SENTENCES, WORDS, CELL = 8, 6, 20, 44
"""At most so many rows, sentences, words in a sentence, and characters in a cell."""
DETAILS = "details.txt"
"""The file of what no longer fits on the screen, as text."""
_SECOND = re.compile(r"[.!?;] ")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        question: What was asked, short.
        verdict: The answer.
        number: The number behind the answer.
        control: What the number is without the claim: a floor, a control, an interval.
    """

    question: str
    verdict: str
    number: str
    control: str = ""


@dataclass(frozen=True)
class Summary:
    """What a run ends on.

    Attributes:
        title: What was looked at, and the question.
        rows: The table, at most `ROWS` lines.
        sentences: What it means, at most `SENTENCES` sentences of at most `WORDS` words.

    Raises:
        ValueError: A limit is passed; the message names it and quotes the text.
    """

    title: str
    rows: tuple[Row, ...]
    sentences: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check every limit."""
        if len(self.rows) > ROWS:
            raise ValueError(f"{len(self.rows)} rows: a summary has at most {ROWS}")
        if len(self.sentences) > SENTENCES:
            raise ValueError(f"{len(self.sentences)} sentences: at most {SENTENCES}")
        for row in self.rows:
            for cell in (row.question, row.verdict, row.number, row.control):
                if len(cell) > CELL:
                    raise ValueError(f"a cell has {len(cell)} characters, at most {CELL}: {cell!r}")
        for sentence in self.sentences:
            if count_words(sentence) > WORDS:
                raise ValueError(f"more than {WORDS} words: {sentence!r}")
            if not sentence.endswith(".") or _SECOND.search(sentence):
                raise ValueError(f"not one sentence: {sentence!r}")


def count_words(sentence: str) -> int:
    """Count what is read as a word: signs such as % or = alone are not."""
    return sum(any(c.isalnum() for c in word) for word in sentence.split())


def print_summary(summary: Summary, to: Console = console) -> None:
    """Print a summary; `show_files` says where the files are."""
    heads = ("question", "verdict", "number", "floor or control")
    view = Table(
        title=Text(summary.title, style="bold"),
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for head in heads:
        view.add_column(head, overflow="fold")
    for row in summary.rows:
        cells = (row.question, row.verdict, row.number, row.control)
        view.add_row(*(Text(cell) for cell in cells))
    to.print(view)
    for sentence in summary.sentences:
        # textwrap, unlike rich, keeps a number and its sign on one line.
        kept = sentence.replace(" %", "\N{NO-BREAK SPACE}%")
        lines = textwrap.fill(kept, to.width).replace("\N{NO-BREAK SPACE}", " ")
        to.print(Text(lines), soft_wrap=True)


def write_details(show: Callable[[Console], None], width: int = 140) -> str:
    """Let a function print to a console that is a text, wide enough for tables."""
    text = io.StringIO()
    show(Console(file=text, width=width, color_system=None, highlight=False))
    return text.getvalue()
