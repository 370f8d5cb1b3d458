import json
from pathlib import Path

import pytest
import torch

from model.adder import Adder
from model.checkpoint import save
from model.config import PRESETS
from model.decode import decode, decode_exactly
from model.evaluate import main
from model.evaluation import (
    CHUNK,
    MAX_KEPT,
    evaluate,
    official_chunks,
    stratified_chunks,
    uniform_chunks,
)
from model.factored import init_params
from model.handbuilt import handbuilt_adder
from model.intervals import clopper_pearson
from model.task import HARD_CASES, hard_pairs, uniform_pairs


@pytest.fixture(scope="module")
def perfect(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save(tmp_path_factory.mktemp("models") / "perfect", handbuilt_adder(), {}))


@pytest.fixture(scope="module")
def carryless(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "carryless"
    return str(save(folder, handbuilt_adder(carry="ignored"), {}))


def read_json(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out)


def test_counts_equal_a_plain_count() -> None:
    model = handbuilt_adder(carry="ignored")
    pairs = uniform_pairs(2000, torch.Generator().manual_seed(3))
    result = evaluate(model, [pairs], name="pairs")
    reference = decode_exactly(model, *pairs)
    assert (result.n, result.errors) == (2000, int((~reference.exact).sum()))
    assert result.column_errors == tuple(reference.wrong[:, :11].sum(0).tolist())
    assert sum(result.first_errors) == result.errors
    assert result.eos_errors == 0
    assert result.interval == clopper_pearson(2000 - result.errors, 2000)
    assert result.exact_match == pytest.approx(float(reference.exact.double().mean()))


def test_untrained_model_fails_everywhere_and_keeps_a_bounded_list() -> None:
    model = Adder(PRESETS["262p"], init_params(PRESETS["262p"], seed=0))
    result = evaluate(model, uniform_chunks(3000, 0), name="pairs")
    assert result.errors == result.n == 3000
    assert len(result.failures) == MAX_KEPT
    assert result.smallest_margin < 0


def test_chunks_do_not_change_the_counts() -> None:
    model = handbuilt_adder(carry="ignored")
    a, b = uniform_pairs(900, torch.Generator().manual_seed(8))
    whole = evaluate(model, [(a, b)], name="x")
    parts = evaluate(
        model, [(a[i : i + 128], b[i : i + 128]) for i in range(0, 900, 128)], name="x"
    )
    assert whole == parts


def test_smallest_margin_is_found_and_belongs_to_its_pair() -> None:
    model = handbuilt_adder()
    result = evaluate(model, [hard_pairs()], name="hard", sampled=False)
    assert result.errors == 0
    assert result.interval is None
    assert result.smallest_at is not None
    a, b, column = result.smallest_at
    again = decode(model, torch.tensor([a]), torch.tensor([b]))
    assert float(again.margin[0, column]) == result.smallest_margin


@pytest.mark.parametrize("chunks", [uniform_chunks, stratified_chunks])
def test_random_sets_have_their_size_and_follow_their_seed(chunks) -> None:
    n = CHUNK + 10
    sizes = [len(a) for a, _ in chunks(n, 1)]
    assert sizes == [CHUNK, 10]
    first, again, other = (next(iter(chunks(100, seed)))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_official_protocol_is_ten_times_ten_thousand_distinct_pairs() -> None:
    sets = list(official_chunks())
    assert [len(a) for a, _ in sets] == [10_000] * 10
    a, b = sets[1]
    assert len(set(zip(a.tolist(), b.tolist(), strict=True))) == 10_000
    assert (9304630660, 8594408863) in set(zip(a.tolist(), b.tolist(), strict=True))


def test_published_checkpoint_errs_once_on_the_official_protocol(
    published_311p: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(published_311p), "--official", "--hard", "--json"]) == 0
    official, hard = read_json(capsys)["sets"]
    assert (official["n"], official["errors"]) == (100_000, 1)
    failure = official["failures"][0]
    assert (failure["a"], failure["b"]) == HARD_CASES["published failing case"]
    assert (failure["predicted"], failure["true"]) == (17999039523, 17899039523)
    assert failure["parts"] == "column 8: 9 for 8 (+100000000)"
    assert failure["margin"] == pytest.approx(-0.738, abs=6e-4)  # as published, three digits
    assert official["first_errors"][8] == 1
    assert official["interval"] == pytest.approx([0.9999443, 0.9999997], abs=1e-6)
    assert hard["errors"] == 2  # the failing case in both orders


def test_json_has_every_set_that_was_asked_for(
    perfect: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--pairs", "500", "--seed", "4", "--stratified", "300", "--hard", "--json"]
    assert main([perfect, *options]) == 0
    document = read_json(capsys)
    assert document["checkpoint"] == "perfect"
    assert [s["name"] for s in document["sets"]] == ["uniform 4", "stratified 4", "hard"]
    assert [s["n"] for s in document["sets"]] == [500, 300, len(hard_pairs()[0])]
    assert all(s["errors"] == s["eos_errors"] == 0 for s in document["sets"])


def test_default_is_a_hundred_thousand_uniform_pairs(
    perfect: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([perfect]) == 0
    printed = capsys.readouterr().out
    assert "uniform 0" in printed
    assert "100,000" in printed
    assert "99.996311 to 100.000000" in printed
    assert "failing" not in printed


def test_table_lists_failing_pairs_and_says_how_many_more(
    carryless: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([carryless, "--pairs", "200", "--show", "2"]) == 0
    printed = capsys.readouterr().out
    assert "failing pairs, uniform 0" in printed
    assert "where they part" in printed
    assert "more failing pairs" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pairs", "0"], "--pairs is 0: it must be 1 to"),
        (["--stratified", "-5"], "--stratified is -5: it must be 1 to"),
        (["--show", "-1"], "--show is -1: it must be 0 to"),
        (["--seed", "-1"], "--seed is -1"),
        (["--pairs", "many"], "--pairs"),
        (["--bogus"], "--bogus"),
    ],
)
def test_bad_options_are_one_line_and_exit_2(
    perfect: str, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main([perfect, *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_unknown_checkpoint_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no-such-model"]) == 2
    error = capsys.readouterr().err
    assert "no-such-model" in error
    assert error.count("\n") == 1
