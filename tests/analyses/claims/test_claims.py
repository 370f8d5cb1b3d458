import json

import pandas as pd
import pytest

from analyses.claims.__main__ import main
from analyses.claims.check import COLUMNS, MEASURES, check, to_markdown
from analyses.claims.data import CLAIMS, Claim
from analyses.claims.world import World, describe_recipe, read_sweeps, read_world
from model.checkpoint import save
from model.config import PRESETS
from model.errors import InputError
from model.handbuilt import handbuilt_adder
from tests.support import random_adder
from train.config import PUBLISHED

EMPTY = World((), ())
NEEDS_WEIGHTS = {
    "official_errors",
    "official_at_least",
    "errors_by_seed",
    "true_accuracy",
    "perfect",
    "failing_pair",
    "failing_answer",
    "failing_column",
    "chain_error",
    "looks_ahead",
    "fundamental_limit",
    "grok_rate",
    "minimum_rank",
    "smaller_learns",
    "transition_step",
}


def verdict(statement: str, world: World = EMPTY) -> tuple[str, str]:
    claims = [claim for claim in CLAIMS if statement in claim.statement]
    assert len(claims) == 1, statement
    row = check(world, claims).iloc[0]
    return row["verdict"], row["measured"]


def write_sweep(folder, preset, best, *, steps=162_000, **changes):
    folder.mkdir(exist_ok=True)
    name = f"sweep-{preset}-{len(list(folder.glob('*.csv')))}"
    pd.DataFrame({"seed": range(len(best)), "best_exact": best}).to_csv(
        folder / f"{name}.csv", index=False
    )
    spec = {
        "model": PRESETS[preset].to_dict(),
        "train": PUBLISHED.to_dict() | {"steps": steps} | changes,
    }
    (folder / f"{name}.json").write_text(json.dumps({"spec": spec}))


def test_every_claim_names_a_measure_and_every_measure_has_a_claim():
    assert {claim.measure for claim in CLAIMS} == set(MEASURES)


def test_without_checkpoints_only_rows_that_need_none_have_a_verdict():
    table = check(EMPTY)
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == len(CLAIMS)
    untestable = table["verdict"] == "not testable here"
    assert untestable.tolist() == [claim.measure in NEEDS_WEIGHTS for claim in CLAIMS]
    assert (table["measured"].str.len() > 0).all()


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "582p"])
def test_every_stated_parameter_count_holds(preset):
    found, measured = verdict(f"The {preset} network has")
    assert (found, measured) == ("holds", preset.removesuffix("p"))


@pytest.mark.parametrize(
    ("statement", "expected", "words"),
    [
        ("The 456p column", "does not", "W_in 63, not 42; W_out 63, not 42"),
        ("The 456p column", "does not", "add to 414, not 456"),
        ("The 311p column", "holds", ""),
        ("The 262p table", "holds", ""),
        ("cuts the QKV", "does not", "25% less"),
        ("exactly 33 tokens", "does not", "34 tokens"),
        ("123 + 45 is written", "holds", ""),
        ("Position 1 of it", "holds", "6 + 6 + 0 = 12"),
        ("Position 2 of it", "does not", "6 + 8 + 1 = 15"),
        ("rank 2 instead of 3 cuts", "does not", "p = 0.27"),
        ("Only 1 of the seeds", "does not", "4 rows"),
        ("6 of the seeds", "holds", "6 rows"),
        ("56 in all", "does not", "58"),
        ("60 % reduction", "holds", "59.97"),
    ],
)
def test_what_the_write_ups_own_figures_decide(statement, expected, words):
    found, measured = verdict(statement)
    assert found == expected
    assert words in measured


def test_the_published_failing_case(published_311p):
    world = read_world([str(published_311p)], pairs=300_000)
    expected = {
        "1 error in the official": ("holds", "1 error in 100,000"),
        "free of errors but seed 100": ("holds", "seed 100: 1"),
        "The one error is": ("holds", "9304630660 + 8594408863 on seed 100"),
        "answers 17899039423": ("does not", "17999039523"),
        "off by 100": ("does not", "off by +100,000,000: digit 8 is 9 instead of 8"),
        "propagation error": ("does not", "a spurious carry in column 8"),
        "depends only on its own": ("does not", "12 of 18 edits"),
        "fundamental limit": ("not testable here", "no checkpoint of ours"),
    }
    for statement, (outcome, words) in expected.items():
        found, measured = verdict(statement, world)
        assert found == outcome, statement
        assert words in measured
    row = check(world, [c for c in CLAIMS if c.measure == "true_accuracy"]).iloc[0]
    assert row["interval_95"].startswith("error rate")


def test_a_clean_checkpoint_refutes_the_limit_and_a_wrong_one_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr("analyses.claims.world.OFFICIAL_SEEDS", (41,))
    adder = handbuilt_adder()
    save(tmp_path / "clean", adder, {})
    save(tmp_path / "wrong", random_adder(PRESETS["262p"]), {})
    folders = [str(tmp_path / "clean"), str(tmp_path / "wrong")]
    world = read_world(folders, pairs=1_000, results=tmp_path / "none")
    size = {"n_params": adder.config.n_params, "d_model": adder.config.d_model}
    claim = Claim("test", "", "no adder of that size is right", "fundamental_limit", size)
    row = check(world, [claim]).iloc[0]
    assert row["verdict"] == "does not"
    assert row["measured"].startswith("clean")
    assert row["interval_95"] == "error rate 0 to 0.0037"
    small = Claim("test", "", "", "fundamental_limit", {"n_params": 262, "d_model": 4})
    assert check(world, [small]).iloc[0]["verdict"] == "not testable here"
    least = {"field": "pos_rank", "rank": 3, "d_model": 4}
    row = check(world, [Claim("test", "", "", "minimum_rank", least)]).iloc[0]
    assert row["verdict"] == "not testable here"
    assert "wrong (pos_rank 2)" in row["measured"]


def test_grok_rates_come_from_sweeps_of_the_same_recipe_and_length(tmp_path):
    folder = tmp_path / "results"
    write_sweep(folder, "311p", [0.95, *[0.0] * 15])
    write_sweep(folder, "311p", [0.99] * 12, carry_heavy=0.8)
    write_sweep(folder, "303p", [0.97] * 16)
    world = World((), read_sweeps(folder))
    found, measured = verdict("seeds of 311p grok", world)
    assert found == "holds"
    assert measured.startswith("1 of 16 here")
    found, measured = verdict("seeds of 303p grok", world)
    assert found == "does not"
    found, measured = verdict("seeds of 295p grok", world)
    assert found == "not testable here"
    found, measured = verdict("viable rank of the attention output", world)
    assert found == "does not"
    assert "16 of 16" in measured


def test_recipes_are_described_by_what_differs():
    assert describe_recipe(PUBLISHED.to_dict() | {"steps": 1}) == "published recipe"
    mixed = PUBLISHED.to_dict() | {"carry_heavy": 0.8, "lr": 0.04}
    assert describe_recipe(mixed) == "lr 0.04, carry_heavy 0.8"


def test_other_tables_are_passed_over_and_a_damaged_sweep_is_refused(tmp_path):
    pd.DataFrame({"x": [1]}).to_csv(tmp_path / "other.csv", index=False)
    assert read_sweeps(tmp_path) == ()
    write_sweep(tmp_path, "311p", [0.5])
    next(tmp_path.glob("sweep*.json")).write_text("{")
    with pytest.raises(InputError, match="no readable"):
        read_sweeps(tmp_path)


def test_a_transition_is_read_from_a_log_of_the_published_recipe(tmp_path):
    folder = save(tmp_path / "ours", random_adder(PRESETS["262p"]), {"train": PUBLISHED.to_dict()})
    log = pd.DataFrame({"step": [1000, 390_000, 500_000], "exact": [0.0, 0.02, 0.9995]})
    log.to_csv(folder / "log.csv", index=False)
    world = read_world([str(folder)], pairs=100)
    assert verdict("near zero for about 400,000", world)[0] == "holds"
    found, measured = verdict("262p reaches 100 %", world)
    assert found == "holds"
    assert "step 500,000" in measured
    save(tmp_path / "ours", random_adder(PRESETS["262p"]), {"train": {"lr": 0.04}})
    assert verdict("262p reaches 100 %", read_world([str(folder)], 100))[0] == "not testable here"


def test_markdown_has_a_row_a_claim():
    lines = to_markdown(check(EMPTY)).splitlines()
    assert len(lines) == len(CLAIMS) + 2
    assert all(line.count(" | ") >= 5 for line in lines[2:])


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("analyses.claims.world.OFFICIAL_SEEDS", (41,))
    save(tmp_path / "ours", random_adder(PRESETS["456p"]), {})
    out = tmp_path / "out"
    assert main([str(tmp_path / "ours"), "--pairs", "100", "--out", str(out)]) == 0
    names = {"claims.csv", "claims.json", "claims.md", "manifest.json"}
    assert {p.name for p in out.iterdir()} == names
    assert "of ours, ours: 10,000 errors in 10,000" in (out / "claims.md").read_text()
    assert json.loads((out / "claims.json").read_text())["checkpoints"] == ["ours"]
    screen = capsys.readouterr().out
    table = pd.read_csv(out / "claims.csv")
    counts = table["verdict"].value_counts()
    said = f"{counts['holds']} hold, {counts['does not']} do not"
    assert f"Of {len(CLAIMS)} statements {said}" in " ".join(screen.split())
    assert screen.count("\n") <= 60  # the statements are quoted


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nothing"], "no checkpoint"),
        (["--pairs", "0"], "--pairs is 0"),
        (["--pears", "1"], "pears"),
    ],
)
def test_unusable_input_is_one_line_and_exit_2(arguments, complaint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert complaint in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()
