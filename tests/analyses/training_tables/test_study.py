import dataclasses
import json
import shutil

import pandas as pd
import pytest

from analyses.claims import RESULTS
from analyses.claims.world import PUBLISHED_RECIPE, read_sweeps
from analyses.training_tables import studies as training_studies
from analyses.training_tables.__main__ import main
from analyses.training_tables.published import (
    RATE_262,
    SEEDS_262,
    STEPS,
    TABLE_1,
    TABLE_6,
    TABLE_7,
    PublishedRate,
)
from analyses.training_tables.summary import summarise
from analyses.training_tables.sweeps import (
    RESTARTS,
    STOP_RULE,
    Settings,
    compare_rate,
    examples_drawn,
    keep_rows,
    list_specs,
    plan_published,
    plan_restarts,
    rate,
    read_rows,
)
from model.checkpoint import save
from model.config import PRESETS
from model.errors import InputError
from tests.support import random_adder
from train.config import PUBLISHED

TINY = ["--seeds", "0-1", "--steps-scale", "0.00004", "--workers", "1"]


@pytest.fixture
def few_pairs(few_pairs, monkeypatch) -> None:
    """As everywhere, and few of the fresh pairs too."""
    monkeypatch.setattr("analyses.training_tables.studies.N_FRESH", 500)


def make(folder, *words: str) -> int:
    return main([*words, *TINY, "--out", str(folder / "out"), "--runs", str(folder / "runs")])


def test_the_plans_are_the_published_ones(tmp_path) -> None:
    settings = Settings(out=tmp_path, runs=tmp_path)
    specs = list_specs(plan_published("311p", range(56)), settings)
    assert len(specs) == 56
    assert specs[0].train.to_dict() == PUBLISHED.to_dict() | {"steps": 162_000}
    assert list_specs(plan_published("262p", [256]), settings)[0].train == PUBLISHED
    restarts = list_specs(plan_restarts("262p", [0]), settings)[0]
    assert (restarts.train, restarts.every) == (RESTARTS, 5_000)
    assert [run.seed for run in SEEDS_262] == [1, 7, 13, 23, 37, 51, 77, 99, 123, 256]
    assert sum(run.exact > 0.9 for run in TABLE_6) == TABLE_7[0].grokked
    assert sum(run.exact > 0.9 for run in SEEDS_262) == RATE_262.grokked
    ours = {record.preset for record in TABLE_1 if record.trained_by != "prior art"}
    assert ours <= set(STEPS)


def test_rates_stand_beside_the_published_ones() -> None:
    table = pd.DataFrame({"best_exact": [0.95, 0.2, 1.0, 0.9]})
    found = compare_rate(table, PublishedRate("311p", 6, 56))
    assert (found["grokked"], found["runs"], found["best"]) == (2, 4, 1.0)
    assert (found["published_low"], found["published_high"]) == pytest.approx(
        (0.040, 0.219), abs=1e-3
    )
    assert 0.08 < found["p_value"] < 0.1
    assert rate(0, 4)["low"] == 0.0
    ended = pd.DataFrame({"steps_taken": [100, 120_100]})
    assert examples_drawn(ended, RESTARTS).tolist() == [12_800, 120_100 * 128]


def test_rows_of_other_seeds_are_kept_unless_the_recipe_changed(tmp_path) -> None:
    path = tmp_path / "311p.csv"
    settings = Settings(out=tmp_path, runs=tmp_path)
    ours = list_specs(plan_published("311p", [0]), settings)[0]
    other = dataclasses.replace(ours, train=dataclasses.replace(ours.train, lr=0.01))
    for seeds in ([3, 1], [2, 3]):
        table = pd.DataFrame({"seed": seeds, "best_exact": 0.95})
        keep_rows(table, {"spec": ours.to_dict()}, path)
    assert pd.read_csv(path)["seed"].tolist() == [1, 2, 3]
    assert json.loads(path.with_suffix(".json").read_text())["grokked"] == 3
    assert read_rows(path, ours)["seed"].tolist() == [1, 2, 3]
    assert len(read_rows(path, other)) == 0
    keep_rows(pd.DataFrame({"seed": [7], "best_exact": 0.0}), {"spec": other.to_dict()}, path)
    assert pd.read_csv(path)["seed"].tolist() == [7]
    path.with_suffix(".json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        read_rows(path, ours)


def test_seeds_that_results_have_are_not_trained_again(few_pairs, tmp_path, monkeypatch) -> None:
    assert make(tmp_path, "table6") == 0
    before = (tmp_path / "out" / "table6.csv").read_bytes()
    shutil.rmtree(tmp_path / "runs")
    monkeypatch.setattr("analyses.training_tables.sweeps.watch_sweep", None)
    assert make(tmp_path, "table6") == 0
    assert (tmp_path / "out" / "table6.csv").read_bytes() == before


def test_hopeless_runs_stop_by_the_declared_rule(tmp_path) -> None:
    settings = Settings(out=tmp_path, runs=tmp_path)
    plan = plan_published("311p", [0])
    assert list_specs(plan, settings)[0].stop_rule == STOP_RULE
    whole = dataclasses.replace(settings, full_length=True)
    assert list_specs(plan, whole)[0].stop_rule == ()
    assert list_specs(plan_published("456p", [0]), settings)[0].stop_rule == ()


def test_seed_sweep_is_written_read_by_the_claims_and_resumed(few_pairs, tmp_path, capsys) -> None:
    assert make(tmp_path, "table6") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Above 90% are 0 of 2 seeds here, 6 of 56 in print (p = 1)." in printed
    out = tmp_path / "out"
    table = pd.read_csv(out / "table6.csv")
    assert table["source"].value_counts().to_dict() == {"published": 8, "ours": 2}
    assert json.loads((out / "table6.json").read_text())["rates"][0]["runs"] == 2
    assert all((out / f"figure5.{kind}").stat().st_size > 1_000 for kind in ("png", "svg", "pdf"))
    sweeps = read_sweeps(out)
    assert [(s.preset, len(s.best)) for s in sweeps] == [("311p", 2)]
    assert PUBLISHED_RECIPE not in {s.recipe for s in sweeps}, "a trial passes for the real recipe"
    before = (out / "table6.csv").read_bytes()
    (out / "figure5.png").unlink()
    assert main(["figure5", "--out", str(out)]) == 0
    assert (out / "figure5.png").exists()
    assert make(tmp_path, "table6") == 0
    assert (out / "table6.csv").read_bytes() == before


def test_configurations_and_recipes(few_pairs, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(training_studies, "TABLE_7", (TABLE_7[0], TABLE_7[-1]))
    restarts = dataclasses.replace(RESTARTS, restarts=2)
    monkeypatch.setattr("analyses.training_tables.sweeps.RESTARTS", restarts)
    assert make(tmp_path, "table7", "recipe") == 0
    out = tmp_path / "out"
    table = pd.read_csv(out / "table7.csv")
    assert table["n_params"].tolist() == [311, 271]
    assert table["published_runs"].tolist() == [56, 14]
    recipe = pd.read_csv(out / "recipe.csv")
    assert list(zip(recipe["preset"], recipe["recipe"], strict=True)) == [
        (preset, name) for preset in ("262p", "311p") for name in ("published", "restarts")
    ]
    assert recipe["mean_attempts"].tolist() == [1, 3, 1, 3]
    assert (out / "figure6.svg").exists()
    assert (out / "recipe.svg").exists()
    printed = " ".join(capsys.readouterr().out.split())
    assert "For 262p the two recipes do not differ clearly (Fisher's exact test, p = 1)." in printed


@pytest.mark.parametrize("name", list(training_studies.STUDIES))
def test_the_committed_tables_fit_a_screen_and_are_quoted_as_they_are(name: str) -> None:
    table = pd.read_csv(RESULTS / f"{name}.csv")
    facts = json.loads((RESULTS / f"{name}.json").read_text())
    said = summarise(name, table, facts)
    text = " ".join(said.sentences)
    if name == "table7":
        assert "Of 4 printed rates none differs clearly from ours" in text
        assert said.rows[0].number.startswith("3 of 56 (")
        assert said.rows[0].control.startswith("6 of 56 (")
    if name == "table5":
        assert "in print from 2,780 to 1." in text


def test_rounds_and_records(few_pairs, tmp_path, monkeypatch) -> None:
    save(tmp_path / "base", random_adder(PRESETS["262p"]), {})
    assert make(tmp_path, "table5", "--base", str(tmp_path / "base")) == 0
    rounds = pd.read_csv(tmp_path / "out" / "table5.csv")
    assert rounds["stage"].tolist() == ["base", "round 1", "round 2", "round 3"]
    assert rounds["published_errors"].tolist() == [2780, 28, 9, 1]
    assert (rounds["official_pairs"] == 100_000).all()
    monkeypatch.setattr(training_studies, "TABLE_1", [TABLE_1[0], TABLE_1[-1]])
    assert make(tmp_path, "table1") == 0
    records = pd.read_csv(tmp_path / "out" / "table1.csv")
    assert records["preset"].tolist() == ["973p", "262p", "262p"]
    assert records["recipe"].tolist()[1:] == ["published", "restarts"]
    assert pd.isna(records["runs"][0])
    assert all(records["fine_tuned"][1:])
    assert (records["official_errors"][1:] > 90_000).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "no table"),
        ("table9", "table9"),
        ("table6 --steps-scale 0", "--steps-scale is 0"),
        ("table6 --steps-scale 0.5", "--out"),
        ("table6 --seeds x", "neither a number"),
        ("table6 --device tpu", "--device"),
        ("figure5 --out {}", "is not there"),
        ("table5 --base nowhere --out {}", "nowhere"),
    ],
)
def test_bad_commands_are_one_clear_line(tmp_path, capsys, words: str, message: str) -> None:
    assert main([word.format(tmp_path) for word in words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
