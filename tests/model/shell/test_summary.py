import doctest
import io
from itertools import product

import pytest
from rich.console import Console

from model.shell import (
    Row,
    Summary,
    percent,
    print_summary,
    show_files,
    some_of,
    words,
    write_details,
)
from model.shell.summary import CELL, ROWS, SENTENCES, WORDS, count_words

ROW = Row("is it right?", "yes", "100 %", "9.8 % at random")


def test_a_summary_at_its_limits_is_accepted_and_fits_a_screen():
    sentence = " ".join(["word"] * WORDS) + "."
    summary = Summary("262p: is it right?", (ROW,) * ROWS, (sentence,) * SENTENCES)
    text = write_details(lambda to: print_summary(summary, to=to), width=100)
    assert text.count("\n") <= 24
    assert text.count("is it right?") == ROWS + 1


@pytest.mark.parametrize(
    ("rows", "sentences", "message"),
    [
        ((ROW,) * (ROWS + 1), (), "9 rows"),
        ((Row("x" * (CELL + 1), "", ""),), (), "45 characters"),
        ((), ("One.",) * (SENTENCES + 1), "7 sentences"),
        ((), (" ".join(["word"] * (WORDS + 1)) + ".",), "more than 20 words"),
        ((), ("No full stop",), "not one sentence"),
        ((), ("It is. It was.",), "not one sentence"),
        ((), ("It is; it was.",), "not one sentence"),
    ],
)
def test_a_limit_that_is_passed_is_named(rows, sentences, message):
    with pytest.raises(ValueError, match=message):
        Summary("title", rows, sentences)


def test_what_a_person_named_is_no_markup():
    text = io.StringIO()
    row = Row("[bold]", "[/x]", "[T - s >= h]")
    summary = Summary("[red]name", (row,), ("The [link] is shown.",))
    print_summary(summary, to=Console(file=text, width=60))
    for part in ("[red]name", "[bold]", "[/x]", "The [link] is shown."):
        assert part in text.getvalue()


def test_the_files_stay_on_one_line(tmp_path, capsys):
    folder = tmp_path / ("long" * 30)
    show_files(folder)
    assert capsys.readouterr().out == f"files: {folder}\n"


def test_words_say_what_is_true():
    assert not doctest.testmod(words).failed
    assert count_words("It is 12.3 % of s_(i-1) = 4.") == 6
    for hits in range(1, 5000):
        assert percent(hits / 5000) not in ("0 %", "100 %", "0.0 %", "100.0 %")


def test_columns_are_named_in_few_words_whatever_they_are():
    among = range(11)
    said = {}
    for chosen in product((False, True), repeat=11):
        picked = [column for column in among if chosen[column]]
        text = some_of(picked, among)
        assert count_words(text) <= 4
        said.setdefault(text, set()).add(len(picked))
    assert all(len(sizes) == 1 for sizes in said.values())
    assert said["every column"] == {11}
    assert said["no column"] == {0}
