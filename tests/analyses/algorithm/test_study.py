import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch

from analyses.algorithm.__main__ import main
from analyses.algorithm.failure_prediction import failure_directions, predict_failures
from analyses.algorithm.figure import plot
from analyses.algorithm.hypotheses import HYPOTHESES, RIVALS
from analyses.algorithm.local_answers import N_CONTEXTS, Contexts, enumerate_contexts, sample_true
from analyses.algorithm.program import compile_program
from analyses.algorithm.scrubbing import choose_donors
from analyses.algorithm.study import Config, Result, run, tables_in
from analyses.algorithm.summary import summarise, summarise_controls
from model.adder import Adder
from model.checkpoint import load, save
from model.config import PRESETS
from model.decode import decode, tables_of
from model.factored import init_params
from model.handbuilt import Carry, handbuilt_adder
from model.task import hard_pairs

SMALL = Config(contexts=1_500, pairs=1_500, receivers=30, pool=400, programs=60, draws=30)


def flips(result: Result, account: str, site: str, population: str) -> float:
    table = result.scrubbing.set_index(["account", "site", "population"])
    return float(table.loc[(account, site, population), "flips"])


@pytest.mark.parametrize(
    ("carry", "winner", "is_rival"),
    [
        ("discrete", "carry bit", True),
        ("soft", "place value", True),
        ("ignored", "no carry", False),
    ],
)
def test_known_algorithms_win(carry: Carry, winner: str, is_rival: bool) -> None:
    network = handbuilt_adder(carry=carry)
    result = run(network, SMALL)
    assert result.verdict["winner"] == winner
    assert result.verdict["is_rival"] is is_rival
    assert result.verdict["agreement"] > 0.9
    said = summarise(tables_in(result), result.verdict, "hand")
    rows = {row.question: row.verdict for row in said.rows}
    assert rows["best account"] == (winner if is_rival else f"none ({winner})")
    assert rows["program, uniform pairs"] == "same answers"
    assert rows["ranks failing columns"] != ("none fail" if carry == "ignored" else "yes")
    assert ("No rival beats" in said.sentences[0]) != is_rival
    if is_rival:
        assert result.verdict["lead_low"] > 0
        assert flips(result, winner, "resid_mid", "any prefix") < 0.1
        assert flips(result, "at random", "resid_mid", "any prefix") > 0.7
    a, b = hard_pairs()
    add = compile_program(result.program)
    assert [add(int(x), int(y)) for x, y in zip(a, b, strict=True)] == decode(
        network, a, b
    ).sums.tolist()


def test_the_screen_of_controls_names_each_and_its_ceiling() -> None:
    verdict = {"winner": "no carry", "is_rival": False, "agreement": 0.5, "ceiling": 0.9}
    said = summarise_controls({"a name" * 20: verdict})
    assert said.rows[0].verdict == "none (no carry)"
    assert said.rows[0].control == "90.0 % any table"


def test_a_trained_network_is_told_from_an_untrained_one() -> None:
    trained = run(load("262p"), SMALL)
    assert trained.verdict["winner"] == "place value"
    assert trained.verdict["lead_low"] > 0
    assert trained.comparison["same"].min() == 1.0
    assert math.isnan(trained.failures["auc"].iloc[0])  # it never fails
    config = PRESETS["262p"]
    result = run(Adder(config, init_params(config, seed=0)), SMALL)
    assert not result.verdict["is_rival"]
    agree = result.agreement.query("prefix == 'all'").set_index("hypothesis")["agreement"]
    assert agree["place value"] < 0.2
    assert agree["carry bit"] < 0.2


def contexts(n: int = 4_000, seed: int = 0) -> Contexts:
    """Examples of columns 1 to 10 of true sums, with a fair share of every cell."""
    return sample_true(tables_of(load("262p")), n, seed)[0]


def test_contexts_are_what_they_say() -> None:
    found = enumerate_contexts(tables_of(load("262p")), 500, 0)
    counts = np.bincount(found.column)
    assert counts.tolist() == [100, *[500] * 9, 1_000]
    assert N_CONTEXTS == 100 * 100 * 10
    true = found.take(np.flatnonzero(found.prefix == 0))
    assert (true.answer == (true.S + true.carry) % 10).all()
    assert set(np.unique(true.x[true.column > 0])) <= {-1, 0, 9, 10}
    sampled = contexts(200)
    assert (sampled.prefix == 0).all()
    assert ((sampled.x - 10 * sampled.carry + sampled.carry_below) == 0).all()
    assert ((sampled.chain > 0) == (sampled.carry == 1)).all()


def test_every_account_is_right_on_what_it_generates() -> None:
    examples = enumerate_contexts(tables_of(load("262p")), 2_000, 0)
    for name in RIVALS:
        hypothesis = HYPOTHESES[name]
        fit = {
            "carry bit": {c: np.array([5]) for c in range(11)},
            "place value": {c: np.array([3]) for c in range(11)},
            "lookup": {c: np.arange(4096) * 7 % 10 for c in range(11)},
        }.get(name, {})
        made = dataclasses.replace(examples, answer=hypothesis.predict(examples, fit))
        again = hypothesis.fit(made)
        agreement = float((hypothesis.predict(made, again) == made.answer).mean())
        assert agreement == 1.0, name


def test_the_state_that_decides_failures_ranks_them_best() -> None:
    examples = contexts()
    rng = np.random.default_rng(0)
    bad = (examples.S == 9) & (examples.x == -1) & (rng.random(len(examples)) < 0.5)
    margin = np.where(bad, -1.0, 1.0)
    answer = np.where(bad, (examples.S + examples.carry - 1) % 10, examples.answer)
    failing = dataclasses.replace(examples, margin=margin, answer=answer)
    table = predict_failures(failing, 50, 0).set_index("account")
    assert table.loc["place value", "auc"] > table.loc["carry bit", "auc"] > 0.8
    assert table.loc["place value", "low"] > 0.95
    assert table.loc["place value", "bits"] > table.loc["lookup", "bits"]
    assert abs(table.loc["shuffled failures", "auc"] - 0.5) < 0.15
    directions = failure_directions(failing)
    assert directions[["carry_below", "error"]].to_numpy().tolist() == [[1, -1.0]]


def test_donors_share_the_state_and_leave_the_cell() -> None:
    rng = np.random.default_rng(0)
    state, cells = rng.integers(0, 5, 500), rng.integers(0, 20, 500)
    donors = choose_donors(state, cells, 100, rng)
    assert (donors >= 0).all()
    assert (state[donors] == state[:100]).all()
    assert (cells[donors] != cells[:100]).all()
    nested = choose_donors(cells, cells, 100, rng)
    found = nested >= 0
    assert (cells[nested[found]] == cells[:100][found]).all()
    assert (nested != np.arange(100)).all()
    alone = choose_donors(np.arange(50), np.arange(50), 10, rng)
    assert (alone == -1).all()


def test_the_command_writes_tables_figure_and_program(tmp_path, capsys) -> None:
    small = [f"--{x}={y}" for x, y in dataclasses.asdict(SMALL).items() if x != "seed"]
    folder = str(save(tmp_path / "m", load("262p-base"), {}))
    assert main([folder, *small, "--out", str(tmp_path / "out")]) == 0
    screen = capsys.readouterr().out
    printed = " ".join(screen.split())
    assert "The account place value gives" in printed
    assert f"files: {tmp_path / 'out' / 'm'}" in screen
    assert screen.count("\n") <= 36
    out = tmp_path / "out" / "m"
    names = ("agreement", "shifts", "scrubbing", "failures", "directions", "comparison")
    frames = {name: pd.read_csv(out / f"{name}.csv") for name in names}
    table = frames["agreement"]
    assert ((table["low"] <= table["agreement"]) & (table["agreement"] <= table["high"])).all()
    redrawn = plot(*(frames[x] for x in ("agreement", "shifts", "scrubbing", "failures")))
    assert len(redrawn.axes) == 4
    assert (out / "algorithm.pdf").exists()
    assert "agreement by kind of s_(i-1)" in (out / "details.txt").read_text()
    assert compile_program((out / "program.py").read_text())(9_999_999_999, 1) == 10**10


@pytest.mark.parametrize(
    ("flag", "message"),
    [("--pairs=1", "--pairs is 1"), ("--pool=20", "--pool is 20: it must be at least --receivers")],
)
def test_messages(flag, message, tmp_path, capsys) -> None:
    assert main(["262p", flag, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert torch.is_grad_enabled()
