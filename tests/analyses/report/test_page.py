import base64
import dataclasses
import functools
import importlib
import pickle
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from analyses.report import accuracy as report_accuracy
from analyses.report import failure as report_failure
from analyses.report import history as report_history
from analyses.report.__main__ import main
from analyses.report.chapters import CHAPTERS, Chapter, group_sections, in_worker, make_section
from analyses.report.section import (
    Heading,
    Listing,
    Picture,
    Section,
    Table,
    Text,
    load_section,
    save_section,
)
from analyses.report.source import Source, options_of
from interp.certify.count import TOTAL
from interp.failure_diff import instrument as failure_instrument
from interp.failure_diff.error_search import SearchConfig, SearchResult, search
from interp.rank_ablation.instrument import Config as AblationConfig
from model.adder import Adder
from model.checkpoint import SHIPPED, save
from model.config import ModelConfig
from model.errors import InputError
from model.evaluation import Evaluation, evaluate
from model.handbuilt import handbuilt_adder
from model.task import hard_pairs
from tests.support import random_adder

LARGEST = 3_000_000
"""Bytes of a page."""

FRAME = pd.DataFrame(
    {
        "": ["0.10", "", "NA"],
        "rate": [0.1, float("nan"), 1 / 3],
        "n": [1, 2, 10**12],
        "right": [True, False, True],
        "share": ["100000000000000000000", "1,2", 'a "b"'],
    }
)


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def a_section(name: str, words: str = "It is so.") -> Section:
    return Section(
        name=name,
        title=name.capitalize(),
        finding=words,
        parts=(
            Text(words),
            Heading("More"),
            Table("A table.", FRAME),
            Picture("line", "A line.", PNG),
            Listing("A list", "x\ny"),
        ),
        commands=("python -m x",),
        sources=("table.csv",),
    )


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace every builder by a light one, and list which were called."""
    called: list[str] = []

    def build(self: Chapter, source: Source, folder: Path) -> Section:
        name = folder.name
        called.append(name)
        return a_section(name, f"{name} of {source.name}.")

    monkeypatch.setattr(Chapter, "build", build)
    return called


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., int]:
    def call(*words: str) -> int:
        return main(["262p", "--out", str(tmp_path / "out"), "--workers", "1", *words])

    return call


def test_a_section_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    section = a_section("probe")
    save_section(section, {"sha256": "x"}, tmp_path)
    found = load_section(tmp_path, {"sha256": "x"})
    assert found is not None
    assert found.parts[:2] == section.parts[:2]
    assert found.parts[3:] == section.parts[3:]
    table = found.parts[2]
    assert isinstance(table, Table)
    pd.testing.assert_frame_equal(table.frame, FRAME, check_dtype=False)
    assert load_section(tmp_path, {"sha256": "y"}) is None
    assert load_section(tmp_path / "nothing", {"sha256": "x"}) is None


def test_a_second_run_computes_nothing(
    built: list[str], run: Callable[..., int], tmp_path: Path
) -> None:
    assert run() == 0
    assert sorted(built) == sorted(CHAPTERS)
    first = (tmp_path / "out/report.html").read_bytes()
    built.clear()
    assert run() == 0
    assert built == []
    assert (tmp_path / "out/report.html").read_bytes() == first
    assert run("--seed", "1", "--sections", "probe") == 0
    assert built == ["probe"]
    assert run("--seed", "1", "--sections", "probe", "--recompute") == 0
    assert built == ["probe", "probe"]


def test_an_interrupted_report_goes_on_and_writes_no_page_before(
    built: list[str],
    run: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    light = Chapter.build

    def build(self: Chapter, source: Source, folder: Path) -> Section:
        if folder.name == "algorithm":
            raise InputError("the instrument is out of order")
        return light(self, source, folder)

    with monkeypatch.context() as patch:
        patch.setattr(Chapter, "build", build)
        assert run() == 2
    error = capsys.readouterr().err
    assert error.strip() == "python -m analyses.report: the instrument is out of order"
    assert not (tmp_path / "out/report.html").exists()
    assert not (tmp_path / "out/report.md").exists()
    finished = list(built)
    built.clear()
    assert run() == 0
    assert not set(finished) & set(built)
    assert set(finished) | set(built) == set(CHAPTERS)


@pytest.mark.parametrize("file", ["section.json", "line.png", "table-02.csv"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_section_is_made_again(
    file: str,
    damage: str,
    built: list[str],
    run: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--sections", "probe", "ranks") == 0
    built.clear()
    path = tmp_path / "out/sections/probe" / file
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:40])
    assert run("--sections", "probe", "ranks") == 0
    assert built == ["probe"]
    gone = damage == "gone" and file == "section.json"
    assert ("damaged" in capsys.readouterr().err) != gone


def test_the_page_holds_the_sections_that_were_asked_for(
    built: list[str], run: Callable[..., int], tmp_path: Path
) -> None:
    assert run("--sections", "failure", "model") == 0
    page = (tmp_path / "out/report.html").read_text()
    assert page.index('<section id="model">') < page.index('<section id="failure">')
    assert page.count("<section") == 3  # the explorer is one, whatever was asked for
    names = page.replace("http-equiv", "").replace(
        "http://www.w3.org/", ""
    )  # of SVG, not asked for
    assert "http" not in names
    text = (tmp_path / "out/report.md").read_text()
    for name in ("model", "failure"):
        assert f"figures/{name}-line.png" in text
        assert (tmp_path / f"out/figures/{name}-line.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["262p", "--sections", "poetry"], "poetry"),
        (["262p", "--workers", "0"], "--workers is 0"),
        (["262p", "--seed", "-1"], "--seed is -1"),
        (["no-such-model"], "no checkpoint 'no-such-model'"),
        (["262p", "--frobnicate"], "--frobnicate"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str],
    message: str,
    built: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert built == []
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_found_out_first(
    built: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    assert main(["262p", "--out", str(tmp_path / "file")]) == 2
    assert "is a file, not a folder" in capsys.readouterr().err
    assert built == []


def test_chapters_name_builders_that_exist() -> None:
    for chapter in CHAPTERS.values():
        assert callable(getattr(importlib.import_module(chapter.module), chapter.builder))


def test_options_say_what_differs() -> None:
    config = AblationConfig(kind=("zero", "mean"), pairs=500, pairwise=True)
    words = ["--kind", "zero", "mean", "--pairwise", "--pairs", "500", "--seed", "0"]
    assert options_of(config) == words


def test_a_whole_report(tmp_path: Path) -> None:
    config = ModelConfig(d_ff=1, pos_rank=1, qkv_rank=1, attn_out_rank=1, ffn_rank=1)
    folder = save(tmp_path / "small", random_adder(config), {})
    out = tmp_path / "out"
    words = ["--quick", "--workers", "1", "--sections", "model", "dynamics"]
    assert main([str(folder), "--out", str(out), *words]) == 0
    page = (out / "report.html").read_text()
    assert f"stores {config.n_params} parameters" in page
    assert "keeps no snapshots of its training" in page
    assert "data:image/png;base64," in page
    assert (out / "sections/model/ranks.json").exists()
    assert (out / "figures/model-spectrum.png").exists()
    assert len(page.encode()) < LARGEST
    with Image.open(out / "figures/model-spectrum.png") as image:
        assert image.mode == "P"


def test_long_tables_stay_in_their_files(
    built: list[str], run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(self: Chapter, source: Source, folder: Path) -> Section:
        long = pd.DataFrame({"n": range(10**6, 10**6 + 250)})
        tables = (Table("Long.", long), Table("Short.", FRAME))
        return dataclasses.replace(a_section(folder.name), parts=(Text("x"), *tables))

    monkeypatch.setattr(Chapter, "build", build)
    assert run("--sections", "ranks") == 0
    for name in ("report.html", "report.md"):
        page = (tmp_path / "out" / name).read_text()
        assert "The first 100 of 250 rows" in page
        assert page.count("sections/ranks/table-") == 1
        assert "1,000,099" in page
        assert "1,000,249" not in page
    assert len(pd.read_csv(tmp_path / "out/sections/ranks/table-01.csv")) == 250


def test_each_section_is_made_once_and_the_longest_begins() -> None:
    groups = group_sections(list(CHAPTERS))
    assert ("accuracy", "failure") in groups
    assert sorted(name for group in groups for name in group) == sorted(CHAPTERS)
    share = [sum(CHAPTERS[name].share for name in group) for group in groups]
    assert share == sorted(share, reverse=True)
    assert group_sections(["model", "failure"]) in (
        [("failure",), ("model",)],
        [("model",), ("failure",)],
    )


def test_sections_compute_once_what_they_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairs are decoded once for both sections, and contexts are searched once for one."""
    calls: list[str] = []

    def few(source: Source) -> list[Evaluation]:
        calls.append("decode")
        return [evaluate(source.model, [hard_pairs()], name="few")] * 4

    def look(network: Adder, config: SearchConfig) -> SearchResult:
        calls.append("search")
        return search(network, dataclasses.replace(config, completions=1), range(2))

    monkeypatch.setattr(report_accuracy, "decode_sets", few)
    monkeypatch.setattr(report_failure, "search", look)
    monkeypatch.setattr(failure_instrument, "search", look)
    folder = save(tmp_path / "right", handbuilt_adder(), {})
    source = Source(reference=str(folder), quick=True)
    assert report_accuracy.measure(source) == report_accuracy.measure(source)
    section = report_failure.build_failure(source, tmp_path / "failure")
    assert "a search over contexts found none either" in str(section.parts[0])
    assert calls == ["decode", "search"]
    report_accuracy.measure(Source(reference=str(folder), quick=True))
    assert calls == ["decode", "search", "decode"]  # another source, another sample


def test_a_wrong_sum_is_chosen_where_there_is_one() -> None:
    wrong = Source(reference=str(SHIPPED / "262p-base"), quick=True)
    choice = report_failure.choose_pair(wrong, SearchConfig())
    measured = report_accuracy.measure(wrong)
    failing = {(f.a, f.b) for result in measured for f in result.failures}
    assert (choice.a, choice.b) in failing


def test_a_certificate_is_checked_and_of_other_weights_refused(tmp_path: Path) -> None:
    source = Source(reference="226p")
    content, made, atlas = report_accuracy.certificate_of(source, tmp_path)
    assert not made
    assert atlas == []
    assert report_accuracy.read_count(content, "real").lower == TOTAL
    other = Source(reference="242p")
    with pytest.raises(InputError, match="does not hold"):
        report_accuracy.check_certificate(other, content)


def test_a_fine_tuned_checkpoint_is_followed_from_its_start() -> None:
    assert report_history.runs_of(Source(reference="262p")) == ("262p-base", "262p")
    assert report_history.runs_of(Source(reference="262p-base")) == ("262p-base",)


def test_the_work_on_a_section_can_go_to_another_process(tmp_path: Path) -> None:
    work = functools.partial(make_section, source=Source(reference="262p"), out=tmp_path, origin={})
    sent = pickle.loads(pickle.dumps(functools.partial(in_worker, work)))
    assert sent.args[0].keywords["source"] == Source(reference="262p")


def test_one_error_in_many_pairs_does_not_read_as_none(published_311p: Path) -> None:
    official = report_accuracy.measure(Source(reference=str(published_311p), quick=True))[:1]
    table = report_accuracy.tabulate_sets(official)
    assert table["exact match"].tolist() == ["0.999990"]
    assert table["errors"].tolist() == [1]
    assert report_accuracy.tabulate_margins(official)["a"].tolist() == ["9304630660"]
