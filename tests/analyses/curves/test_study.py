import dataclasses
import json

import pandas as pd
import pytest

from analyses.curves.__main__ import main
from analyses.curves.study import CURVE_SETS, ROWS, find_runs, how_to, read_curves
from model.config import PRESETS
from model.errors import InputError
from train.config import PUBLISHED
from train.finetune.rounds import run_rounds
from train.spec import FINETUNE, RunSpec
from train.sweep.seeds import run_sweep
from train.validation import validation_pairs

TRAIN = dataclasses.replace(PUBLISHED, steps=8, batch=16, warmup=1, phase_1=2, phase_2=4)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A sweep of two seeds and a round of fine-tuning from one of them, a few steps each."""
    folder = tmp_path_factory.mktemp("runs")
    validation_pairs.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.validation.N_HARD", 200)
        patch.setattr("train.run.N_TEST", 200)
        specs = [RunSpec(model=PRESETS["262p"], train=TRAIN, seed=seed, every=2) for seed in (0, 1)]
        run_sweep(specs, folder / "sweep", workers=1)
        tune = dataclasses.replace(FINETUNE, steps=8, batch=16)
        run_rounds(str(folder / "sweep/s1"), [tune], [5, 6], folder / "rounds", workers=1)
    validation_pairs.cache_clear()
    return folder


def test_of_a_sweep_the_best_run_or_all(runs) -> None:
    assert [name for name, _ in find_runs(str(runs / "sweep"), all_seeds=True)] == [
        "sweep/s0",
        "sweep/s1",
    ]
    (name, folder), *more = find_runs(str(runs / "sweep"))
    assert not more
    assert folder == runs / name
    assert find_runs(str(runs / "sweep/s1")) == [("sweep/s1", runs / "sweep/s1")]


def test_rounds_begin_at_their_start(runs) -> None:
    names = [name for name, _ in find_runs(str(runs / "rounds"))]
    best = pd.read_csv(runs / "rounds/rounds.csv").query("best")["seed"].iloc[0]
    assert names == ["sweep/s1", f"rounds/round-1/s{best}"]


def test_curves_are_the_log_with_the_recipe_beside(runs, tmp_path, capsys) -> None:
    words = ["pipeline", "--take", str(runs / "rounds"), "--out", str(tmp_path)]
    assert main(words) == 0
    assert ".csv: 2 runs, 5 rows" in capsys.readouterr().out
    facts, table = read_curves(tmp_path / "pipeline.csv")
    log = pd.read_csv(runs / "sweep/s1/log.csv")
    mine = table[table["run"] == "sweep/s1"]
    assert mine["step"].tolist() == log["step"].tolist() == [2, 4, 6, 8]
    # Six digits are kept: at most half a unit of the sixth is lost.
    assert mine["loss"].to_numpy() == pytest.approx(log["loss"].to_numpy(), rel=5.1e-6)
    assert [run["stage"] for run in facts["runs"]] == [0, 1]
    assert facts["runs"][0]["phase_2"] == 4
    assert facts["runs"][0]["command"].startswith("python -m train --preset 262p")
    assert facts["runs"][1]["lr"] == FINETUNE.lr
    assert facts["pairs_uniform"] == 5_000
    assert table["stage"].unique().tolist() == [0, 1]


def test_shipped_logs_are_thinned_to_their_end(tmp_path) -> None:
    assert main(["training", "--take", "262p-base", "--out", str(tmp_path)]) == 0
    facts, table = read_curves(tmp_path / "training.csv")
    assert len(table) <= ROWS
    assert table["step"].iloc[-1] == facts["runs"][0]["steps"] == 200_000
    assert facts["runs"][0]["n_params"] == 262


def test_how_to_names_both_commands(tmp_path) -> None:
    for name, kept in CURVE_SETS.items():
        text = how_to(tmp_path / f"{name}.csv")
        assert kept.trained_by in text
        assert f"python -m analyses.curves {name} --out {tmp_path}" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "no figure named: choose from training"),
        ("losses", "losses"),
        ("training pipeline --take 262p", "--take is for one figure"),
        ("training --runs {}/none", "run python -m analyses.training_tables table6 first"),
        ("training --take {}/none", "none"),
        ("training --take {}", "no finished run"),
    ],
)
def test_bad_commands_are_one_clear_line(tmp_path, capsys, words: str, message: str) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert main([*(word.format(tmp_path) for word in words.split()), *out]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", ["run.json", "log.csv"])
def test_damaged_runs_are_said(runs, tmp_path, capsys, file: str) -> None:
    folder = tmp_path / "s1"
    folder.mkdir()
    for path in (runs / "sweep/s1").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / file).write_text("{}")
    assert main(["training", "--take", str(folder), "--out", str(tmp_path / "out")]) == 2
    assert "s1" in capsys.readouterr().err


def test_table_and_json_must_belong_together(tmp_path) -> None:
    assert main(["training", "--take", "262p-base", "--out", str(tmp_path)]) == 0
    beside = tmp_path / "training.json"
    facts = json.loads(beside.read_text())
    beside.write_text(json.dumps(facts | {"runs": []}))
    with pytest.raises(InputError, match="do not belong together"):
        read_curves(tmp_path / "training.csv")
