import dataclasses
import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analyses.curves.study import COLUMNS, keep
from analyses.figures import study as figures
from analyses.figures.__main__ import main
from analyses.gallery import figure_list
from analyses.gallery.curves import first_step
from analyses.gallery.figure import (
    GalleryFigure,
    Source,
    describe_origin,
    load_tables,
    make_figure,
    place,
    save_tables,
)
from analyses.gallery.figure_list import FIGURES, choose_figures
from analyses.gallery.journey import describe_change, read_printed
from analyses.training_tables.published import SEEDS_262, TABLE_5, TABLE_6, TABLE_7
from analyses.training_tables.sweeps import p_value_between, rate
from model.checkpoint import read_checkpoint, weights_sha256
from model.config import PRESETS
from model.errors import InputError
from model.intervals import clopper_pearson
from train.config import PUBLISHED

WRITE_UPS = [figure for figure in FIGURES if figure.group == "write-ups"]
ROUNDS = ((31, 343), (2, 18), (0, 3), (0, 0))
"""Errors on 100,000 official and 1,000,000 fresh pairs, by stage."""
CONFIGURATIONS = (3, 4, 0, 0)


def write(folder, name: str, table: pd.DataFrame, facts: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / f"{name}.csv", index=False)
    (folder / f"{name}.json").write_text(json.dumps(facts))


def compare(ours: int, runs: int, theirs: int, published_runs: int) -> dict:
    p_value = p_value_between((ours, runs), (theirs, published_runs))
    return {
        **rate(ours, runs),
        **rate(theirs, published_runs, "published_"),
        "p_value": p_value,
    }


def write_seeds(folder, name: str, exact: list[float], published, n_published: int) -> None:
    ours = pd.DataFrame({"source": "ours", "seed": range(len(exact)), "exact": exact})
    rows = [{"source": "published", "seed": run.seed, "exact": run.exact} for run in published]
    table = pd.concat([ours, pd.DataFrame(rows)]).assign(step=1000.0, status="finished")
    table.loc[table["exact"] == 0, "status"] = "stopped"
    counts = sum(x > 0.9 for x in exact), sum(run.exact > 0.9 for run in published)
    rates = [{"above": 0.9, **compare(counts[0], len(exact), counts[1], n_published)}]
    write(folder, name, table, {"rates": rates, "recipe": {"steps": 162_000}})


def write_curves(folder, name: str, runs: list[dict]) -> None:
    """Keep curves that move at a known step: loss at half of it, exact match at it."""
    listed, tables = [], []
    for run in runs:
        step = np.arange(1_000, run["steps"] + 1, 1_000)
        exact = np.where(step >= run["moves"], 0.95, 0.0)
        loss = np.where(step >= run["moves"] / 2, 0.2, 0.9)
        table = pd.DataFrame({"step": step, "loss": loss, "exact": exact, "exact_hard": exact})
        head = {"run": run["run"], "stage": run["stage"], "seed": run["seed"]}
        table = table.assign(**head, lr=0.01, margin=-1.0)
        tables.append(table[list(COLUMNS)])
        known = {"n_params": 311, "status": "finished", "attempts": 1, "command": "", "lineage": []}
        best = {"best_step": run["moves"], "best_exact": 0.95, "best_exact_hard": 0.95}
        listed.append(PUBLISHED.to_dict() | known | best | head | run)
    facts = {"pairs_uniform": 5_000, "pairs_hard": 50_124, "runs": listed}
    keep(facts, pd.concat(tables), folder / "curves" / f"{name}.csv")


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    stages = [
        {
            "stage": stage.name,
            "official_errors": official,
            "official_pairs": 100_000,
            "fresh_errors": fresh,
            "fresh_pairs": 1_000_000,
            "published_errors": stage.errors,
        }
        for stage, (official, fresh) in zip(TABLE_5, ROUNDS, strict=True)
    ]
    write(folder, "table5", pd.DataFrame(stages), {"base": "311p-base", "seeds": [0, 1]})
    write_seeds(folder, "table6", [0.99, 0.95, 0.3] + [0.0] * 17, TABLE_6, 56)
    write_seeds(folder, "seeds262", [0.0] * 10, SEEDS_262, 10)
    rows = [
        {
            "preset": row.preset,
            "recipe": "published",
            "n_params": PRESETS[row.preset].n_params,
            **compare(grokked, row.runs, row.grokked, row.runs),
        }
        for row, grokked in zip(TABLE_7, CONFIGURATIONS, strict=True)
    ]
    write(folder, "table7", pd.DataFrame(rows), {})
    restarts = {"preset": "311p", "recipe": "restarts", "n_params": 311, **rate(13, 16)}
    write(
        folder,
        "recipe",
        pd.DataFrame([rows[0], restarts]),
        {"p_value_between_recipes": {"311p": 1e-4}},
    )
    row = {"preset": "512p", "n_params": 512, "fresh_pairs": 1e6}
    counts = {"published": 30.0, "restarts": 20.0}
    fresh = [row | {"recipe": name, "fresh_errors": n} for name, n in counts.items()]
    prior = {"preset": "973p", "n_params": 973}
    write(folder, "table1", pd.DataFrame([prior, *fresh]), {})
    run = {"run": "sweep/s34", "stage": 0, "seed": 34, "steps": 60_000, "moves": 40_000}
    write_curves(folder, "training", [run])
    rounds = [
        {"run": f"r{i}/s0", "stage": i, "seed": 0, "steps": 10_000, "moves": 2_000, "lr": 1e-3}
        for i in (1, 2)
    ]
    write_curves(folder, "pipeline", [run, *rounds])
    pair = [
        run | {"run": f"{n}p/s{seed}", "n_params": n, "seed": seed, "moves": moves}
        for n, seed, moves in ((262, 0, 50_000), (262, 1, 90_000), (274, 0, 20_000))
    ]
    write_curves(folder, "transition", pair)
    return folder


def read_caption(figure: GalleryFigure, results, out) -> str:
    """Word a figure from what its CSV files give back; all are drawn by the test of the command."""
    save_tables(figure.name, figure.compute(source_of(results)), {}, out)
    tables = load_tables(figure.name, {}, out)
    assert tables is not None
    return figure.caption(tables)


def source_of(results) -> Source:
    return Source(checkpoint="262p", results=results)


def named(name: str) -> GalleryFigure:
    return choose_figures((name,))[0]


def test_names_are_unique_and_titles_are_there() -> None:
    names = [figure.name for figure in FIGURES]
    assert len(set(names)) == len(names)
    assert all(figure.title for figure in FIGURES)
    assert "index" not in names
    assert [figure.name for figure in choose_figures(())] == names


def test_every_write_up_figure_is_drawn_with_data_and_caption(results, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    names = [figure.name for figure in WRITE_UPS]
    folders = ["--results", str(results), "--out", str(out)]
    assert main([*names, *folders, "--format", "svg"]) == 0
    assert "computed" in capsys.readouterr().out
    assert main([names[-1], *folders]) == 0
    assert "redrawn" in capsys.readouterr().out
    index = json.loads((out / "index.json").read_text())["figures"]
    assert [figure["name"] for figure in index] == names
    for figure in index:
        assert figure["caption"] == (out / f"{figure['name']}.txt").read_text().strip()
        assert figure["data"]
        assert all((out / path).exists() for path in figure["data"])
        kinds = ["png", "svg", "pdf"] if figure["name"] == names[-1] else ["svg"]
        assert [path.rsplit(".")[-1] for path in figure["files"]] == kinds
        assert all((out / path).stat().st_size > 5_000 for path in figure["files"])
        image = f"{figure['name']}.{kinds[0]}"
        assert f"![{figure['title']}]({image})" in (out / "index.md").read_text()
    svg = (out / "seed_sweep.svg").read_text()
    assert "<text" in svg, "text became outlines"


def test_redrawing_computes_nothing_unless_something_changed(results, tmp_path) -> None:
    calls = []

    def compute(source: Source):
        calls.append(source)
        return named("errors_by_round").compute(source)

    def plot(tables):
        return plt.subplots()[0]

    figure = dataclasses.replace(named("errors_by_round"), compute=compute, plot=plot)
    out, source = tmp_path / "out", source_of(results)
    first, reused = make_figure(figure, source, out, formats=("png",))
    assert (len(calls), reused) == (1, False)
    (out / "errors_by_round.png").unlink()
    assert make_figure(figure, source, out, formats=("png",)) == (first, True)
    assert len(calls) == 1
    assert (out / "errors_by_round.png").exists()
    make_figure(figure, source, out, formats=("png",), recompute=True)
    make_figure(figure, dataclasses.replace(source, seed=1), out, formats=("png",))
    assert len(calls) == 3
    table = pd.read_csv(results / "table5.csv")
    table.loc[0, "official_errors"] = 77
    table.to_csv(results / "table5.csv", index=False)
    caption, reused = make_figure(figure, source, out, formats=("svg",))
    assert not reused
    assert not (out / "errors_by_round.png").exists(), "a drawing of other data is left"
    assert "77 of 100,000" in caption


def test_errors_by_round_have_their_intervals_and_zero_has_a_bound(results, tmp_path) -> None:
    caption = read_caption(named("errors_by_round"), results, tmp_path)
    errors = pd.read_csv(place("errors_by_round", "errors", tmp_path))
    assert len(errors) == 12
    for row in errors.to_dict("records"):
        assert (row["low"], row["high"]) == pytest.approx(
            clopper_pearson(row["errors"], row["pairs"])
        )
        assert f"{row['errors']:,} of {row['pairs']:,} ({row['series']})" in caption
    assert "no error, drawn at its upper bound" in caption
    figure = named("errors_by_round").plot({"errors": errors})
    axis = figure.axes[0]
    none = errors[errors["errors"] == 0]
    open_marks = [
        line.get_ydata()[0]
        for line in axis.lines
        if line.get_markerfacecolor() == "white" and len(line.get_ydata())
    ]
    assert sorted(open_marks) == pytest.approx(sorted(100_000 * none["high"]))


def test_seed_sweeps_count_the_seeds_that_are_not_named(results, tmp_path) -> None:
    caption = read_caption(named("seed_sweep"), results, tmp_path)
    assert "20 seeds of ours" in caption
    assert "2 of 20 of ours (1% to 32%), 6 of 56 published (4% to 22%)" in caption
    assert "the 48 seeds" in caption
    assert "17 stopped early" in caption
    assert "seed, 0, reaches 99.00%" in caption
    assert "does not name" not in read_caption(named("seed_sweep_262p"), results, tmp_path)


def test_rates_stand_beside_the_published(results, tmp_path) -> None:
    caption = read_caption(named("configurations"), results, tmp_path)
    for row, grokked in zip(TABLE_7, CONFIGURATIONS, strict=True):
        assert f"{row.preset} (published recipe) {grokked} of {row.runs}" in caption
    recipes = read_caption(named("recipes"), results, tmp_path)
    assert "311p (restarts recipe) 13 of 16 (54% to 96%)" in recipes
    assert "Between the two recipes: 311p p = 0.0001" in recipes


def test_curves_say_when_what_moved(results, tmp_path) -> None:
    training = read_caption(named("training_curve"), results, tmp_path)
    assert "first above 10 % at step 40,000" in training
    assert "until step 2,000, up to 6 until 7,000" in training
    assert "95.00% (95 % interval 94.36% to 95.59%)" in training
    transition = read_caption(named("transition"), results, tmp_path)
    assert "262p (60,000 steps): 1 of 2 seeds above 90%" in transition
    assert "loss below 0.5 at 25,000, exact match above 10 % at 50,000" in transition
    assert "274p (60,000 steps): 1 of 1 seeds" in transition
    dates = pd.read_csv(place("transition", "dates", tmp_path))
    assert dates.groupby("run")["step"].max().to_dict() == {"262p/s0": 5e4, "262p/s1": 4.5e4,
                                                            "274p/s0": 2e4}  # fmt: skip
    pipeline = read_caption(named("pipeline"), results, tmp_path)
    assert "2 rounds of fine-tuning, 80,000 steps in all" in pipeline
    curves = pd.read_csv(place("pipeline", "curves", tmp_path))
    assert curves.groupby("run")["total_step"].max().to_dict() == {
        "sweep/s34": 60_000,
        "r1/s0": 70_000,
        "r2/s0": 80_000,
    }


def test_curriculum_does_not_count_as_transition() -> None:
    curve = pd.DataFrame({"step": [1, 2, 3, 4], "loss": [0.1, 0.9, 0.3, 0.2], "exact": [0.0] * 4})
    assert first_step(curve, "loss", 0.5) == 1
    assert first_step(curve, "loss", 0.5, after=1) == 3
    assert first_step(curve, "exact", 0.5) is None


def test_runs_of_different_recipes_are_not_compared(results, tmp_path) -> None:
    run = {"run": "a/s0", "stage": 0, "seed": 0, "steps": 5_000, "moves": 2_000}
    other = run | {"run": "b/s0", "carry_heavy": 0.8}
    write_curves(results, "transition", [run, other])
    with pytest.raises(InputError, match="differ in recipe"):
        make_figure(named("transition"), source_of(results), tmp_path)


def test_journey_counts_parameters_and_names_changes(results, tmp_path) -> None:
    caption = read_caption(named("parameter_journey"), results, tmp_path)
    networks = pd.read_csv(place("parameter_journey", "networks", tmp_path))
    counts = networks["n_params"].tolist()
    assert counts == sorted(counts, reverse=True)
    assert {973, 777, 512, 491, 456, 311, 274, 262} <= set(counts)
    assert f"From {counts[0]} to {counts[-1]} parameters" in caption
    assert "published recipe, best seed, tuned where it errs: 512p 30 wrong" in caption
    assert "our recipe, best seed, tuned where it errs: 512p 20 wrong" in caption
    assert "973p" not in caption
    errors = pd.read_csv(place("parameter_journey", "errors", tmp_path))
    assert "262p" in set(errors["network"][errors["proved_right"]])
    assert describe_change(PRESETS["512p"], PRESETS["491p"]) == "RMSNorm"
    assert describe_change(PRESETS["274p"], PRESETS["262p"]) == "$d_{ff}$ 8 to 6"
    (results / "table1.csv").unlink()
    assert "training_tables table1" in read_caption(named("parameter_journey"), results, tmp_path)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("99.69%", 0.00305, 0.00315), ("100%", 0, 0.005), (">= 99.97%", 0, 0.0003)],
)
def test_printed_accuracies_keep_what_rounding_leaves(text: str, low: float, high: float) -> None:
    assert read_printed(text)[1:] == pytest.approx((low, high))


def test_published_files_have_an_origin(published_311p, results) -> None:
    figure = dataclasses.replace(named("recipes"), of_checkpoint=True)
    origin = describe_origin(figure, Source(checkpoint=str(published_311p), results=results))
    params = read_checkpoint(published_311p).model.params
    assert origin["sha256"] == weights_sha256(params)
    assert set(origin["files"]) == {"results/recipe.csv", "results/recipe.json"}


def simple_figure(name: str) -> GalleryFigure:
    def plot(tables):
        return plt.subplots()[0]

    return dataclasses.replace(
        named("recipes"),
        name=name,
        compute=lambda source: {"only": pd.DataFrame({"x": [1.5]})},
        plot=plot,
        caption=lambda tables: f"x is {tables['only']['x'][0]}",
        reads=lambda source: [],
    )


def test_all_figures_skip_what_has_not_been_made(results, tmp_path, capsys, monkeypatch) -> None:
    chosen = (simple_figure("simple"), *WRITE_UPS[-1:])
    monkeypatch.setattr(figure_list, "FIGURES", chosen)
    monkeypatch.setattr(figures, "FIGURES", chosen)
    words = ["--results", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert main([*words, "--format", "svg"]) == 0
    printed = capsys.readouterr().out
    assert "skipped" in printed
    assert "run python -m analyses.training_tables table1" in printed.replace("\n", " ")
    assert (tmp_path / "out" / "simple.txt").read_text() == "x is 1.5\n"
    assert not (tmp_path / "out" / "simple.png").exists()
    assert main([WRITE_UPS[-1].name, *words]) == 2


def test_damaged_data_is_said_and_mended_by_recomputing(results, tmp_path, capsys) -> None:
    words = ["recipes", "--results", str(results), "--out", str(tmp_path), "--format", "png"]
    assert main(words) == 0
    file = place("recipes", "rates", tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    capsys.readouterr()
    assert main(words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "damaged" in error
    assert "--recompute" in error
    assert main([*words, "--recompute"]) == 0
    assert file.read_bytes() == whole


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("no_such_figure", "no_such_figure"),
        ("recipes --checkpoint nowhere", "nowhere"),
        ("recipes --format gif", "gif"),
        ("recipes --format", "no format"),
        ("recipes --results nowhere --out {}", "run python -m analyses.training_tables recipe"),
        ("recipes --seed x", "seed"),
    ],
)
def test_bad_commands_are_one_clear_line(tmp_path, capsys, words: str, message: str) -> None:
    assert main([word.format(tmp_path) for word in words.split()]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert message in error[0]


@pytest.mark.parametrize("name", ["table5", "table6", "table7", "curves/training"])
@pytest.mark.parametrize("kind", ["csv", "json"])
def test_damaged_results_are_one_clear_line(results, tmp_path, capsys, name, kind) -> None:
    figure = {"table5": "errors_by_round", "table6": "seed_sweep", "table7": "configurations"}
    (results / f"{name}.{kind}").write_text("oops")
    words = [figure.get(name, "training_curve"), "--results", str(results), "--out", str(tmp_path)]
    assert main(words) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert "run python -m" in error[0] or "again" in error[0]
    assert not (tmp_path / f"{words[0]}.json").exists()


def test_list_and_help_name_every_figure(capsys) -> None:
    for word in ("--list", "--help"):
        assert main([word]) == 0
        printed = "".join(capsys.readouterr().out.split())
        assert all(figure.name in printed for figure in FIGURES)
