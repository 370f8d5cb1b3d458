import functools
import json
from xml.etree import ElementTree

import pandas as pd
import pytest

from interp.failure_diff.__main__ import main
from interp.failure_diff.columns import Focus
from interp.failure_diff.error_search import SearchConfig
from interp.failure_diff.explain import error_kind
from interp.failure_diff.instrument import Config, plot, run
from interp.failure_diff.result import read_result, save_result
from interp.failure_diff.summary import summarise
from model.adder import Adder
from model.checkpoint import load, save
from model.config import PRESETS
from model.errors import InputError
from model.factored import init_params
from model.handbuilt import handbuilt_adder

QUICK = SearchConfig(completions=1, attacked=10, steps=1, listed=5, samples=20)
FAILING = (9304630660, 8594408863)


def config_of(a: int, b: int) -> Config:
    return Config(a=a, b=b, samples=100, patched=5, search=QUICK)


@pytest.fixture
def random_checkpoint(tmp_path):
    preset = PRESETS["512p"]
    return save(tmp_path / "random", Adder(preset, init_params(preset, 0)), {})


def test_the_published_case_is_explained_from_its_numbers(published_311p, tmp_path):
    result = run(load(published_311p), config_of(*FAILING), "published")
    assert result.answer == 17999039523
    assert (result.focus.column, result.focus.true, result.focus.rival) == (8, 8, 9)
    assert len(result.tables["single_edits"]) == 180
    scale = result.scale
    assert scale is not None
    assert 0 < scale.boundary < scale.position < 0.3
    evidence = result.tables["evidence"].set_index("player")["contribution"]
    assert evidence.idxmax() == "column below"
    assert evidence["column above"] > 10 * evidence[["two below", "all others"]].abs().max()
    for clause in (
        "17999039523 for 9304630660 + 8594408863 = 17899039523, off by +100000000",
        "column 8 (3 + 5 + carry 0 = 8): it answers 9 for 8, by 0.738 logits",
        "a spurious carry",
        "What the model took for a carry is column 7 (0 + 9, answer digit 9)",
        "58 pass",
        "The commuted pair fails",
        "10000001/20000000000000",
    ):
        assert clause in result.why
    save_result(result, tmp_path)
    again = read_result(tmp_path)
    assert again.why == result.why
    assert again.focus == result.focus
    assert again.scale == result.scale
    assert set(plot(again)) == {"carry_flow", "margins", "patching"}
    pd.testing.assert_frame_equal(again.columns, result.columns)


def screen(result):
    """The summary's verdicts by question, and its sentences in one string."""
    said = summarise(result)
    return {row.question: row.verdict for row in said.rows}, " ".join(said.sentences)


def test_a_right_adder_shows_its_thinnest_column_on_any_pair():
    result = run(handbuilt_adder(), config_of(9999999999, 1), "hand-built")
    assert not result.focus.wrong
    assert result.why.startswith("The model is right: 9999999999 + 1 = 10000000000.")
    assert "180 pass" in result.why
    verdicts, text = screen(result)
    assert verdicts["sum right?"] == "yes"
    assert "Of 180 single-digit edits 180 are right" in text
    assert "no failure, which proves nothing" in text
    assert "found no failing one" in result.why
    assert result.tables["single_edits"]["passes"].all()
    assert set(plot(result)) == {"carry_flow", "margins", "patching"}


def test_a_missed_carry_is_called_one():
    result = run(handbuilt_adder(carry="ignored"), config_of(150, 70), "no carries")
    assert result.focus == Focus(2, 2, 1, result.focus.gap, True)
    assert "this is a missed carry" in result.why
    verdicts, text = screen(result)
    assert verdicts["sum right?"] == "no"
    assert verdicts["first wrong column"] == "column 2"
    assert ": a missed carry." in text
    assert "pushed by" not in verdicts
    # This model reads no carry anywhere, so no other column can have hidden it.
    assert "Shapley" not in result.why


@pytest.mark.parametrize("name", ["262p", "777p"])
def test_an_untrained_model_has_no_control_and_is_still_described(name):
    model = Adder(PRESETS[name], init_params(PRESETS[name], 1))
    result = run(model, config_of(1234567890, 9876543210), name)
    assert result.focus.wrong
    assert result.controls == ()
    assert "nothing was patched" in result.why
    assert screen(result)[0]["smallest patch that mends it"] == "nothing to patch from"
    assert set(plot(result)) == {"carry_flow", "margins", "patching"}


@pytest.mark.parametrize(
    ("true", "rival", "carry_in", "words"),
    [
        (8, 9, 0, "a spurious carry"),
        (9, 0, 0, "a spurious carry"),
        (9, 8, 1, "a missed carry"),
        (0, 9, 1, "a missed carry"),
        (8, 9, 1, "one too many"),
        (8, 7, 0, "one too few"),
        (8, 5, 0, "7 apart"),
        (8, 11, 0, "no digit"),
    ],
)
def test_error_kinds(true, rival, carry_in, words):
    assert words in error_kind(Focus(3, true, rival, 1.0, True), carry_in)


def test_the_command_writes_everything(published_311p, tmp_path, capsys, monkeypatch):
    quick = functools.partial(Config, search=QUICK, samples=50, patched=3)
    monkeypatch.setattr("interp.failure_diff.instrument.Config", quick)
    monkeypatch.chdir(tmp_path)
    assert main([str(published_311p)]) == 0
    folder = tmp_path / "out/failure_diff/best_311p_s34/9304630660_8594408863"
    names = {path.name for path in folder.iterdir()}
    for stem in ("carry_flow", "margins", "patching"):
        assert {f"{stem}.{kind}" for kind in ("png", "svg", "pdf")} <= names
    assert {"columns.csv", "patching.csv", "attribution.csv", "why.txt", "result.json"} <= names
    ElementTree.parse(folder / "carry_flow.svg")
    attribution = pd.read_csv(folder / "attribution.csv")
    own = attribution[attribution["input"] == "input"]["contribution"].sum()
    assert own == pytest.approx(json.loads((folder / "result.json").read_text())["focus"]["gap"])
    printed = capsys.readouterr()
    assert "spurious carry" in printed.out


def test_the_search_command_groups_failures(random_checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("interp.failure_diff.error_search.SearchConfig", lambda seed: QUICK)
    assert main([str(random_checkpoint), "--search", "--out", str(tmp_path / "found")]) == 0
    assert {p.name for p in (tmp_path / "found").iterdir()} == {
        "columns.csv",
        "contexts.csv",
        "groups.csv",
        "manifest.json",
        "search.json",
        "details.txt",
    }
    assert "failing contexts" in (tmp_path / "found" / "details.txt").read_text()
    printed = capsys.readouterr().out
    assert "hold a failing pair" in " ".join(printed.split())
    assert printed.count("\n") <= 36


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nothing-of-that-name"], "no checkpoint"),
        (["{}", "10000000000", "1"], "must be 0 to 9999999999"),
        (["{}", "--", "-1", "1"], "must be 0 to 9999999999"),
        (["{}", "twelve", "1"], "twelve"),
        (["{}", "1", "2", "--serach"], "serach"),
        ([], "missing"),
    ],
)
def test_unusable_input_is_one_line_and_exit_2(
    arguments, complaint, random_checkpoint, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main([x.format(random_checkpoint) for x in arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert complaint.lower() in error.lower()
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_incomplete_result_is_refused(tmp_path):
    (tmp_path / "result.json").write_text('{"tables": []}')
    with pytest.raises(InputError, match="no complete failure diff"):
        read_result(tmp_path)
