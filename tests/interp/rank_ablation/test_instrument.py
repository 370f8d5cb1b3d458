import json
from functools import partial

import pandas as pd
import pytest
import torch

from interp.output import save_figure
from interp.rank_ablation import instrument
from interp.rank_ablation.__main__ import main
from interp.rank_ablation.figures import plot
from interp.rank_ablation.instrument import Config, job_folder, run
from interp.rank_ablation.metrics import select
from interp.rank_ablation.summary import summarise
from interp.rank_ablation.sweep import plan
from model.checkpoint import read_checkpoint, save
from model.config import PRESETS
from model.errors import InputError
from model.handbuilt import handbuilt_adder
from model.shell import percent
from tests.support import random_adder

SMALL = ["--pairs", "100", "--draws", "2", "--workers", "1"]


@pytest.fixture
def hand(tmp_path):
    return str(save(tmp_path / "hand", handbuilt_adder(), {}))


def test_a_command_leaves_tables_and_figures_and_resumes(tmp_path, capsys, monkeypatch) -> None:
    out = tmp_path / "out"
    hand = str(save(tmp_path / "hand", random_adder(PRESETS["311p"]), {}))
    argv = [hand, *SMALL, "--matrix", "W_O", "W_in", "--kind", "zero", "mean", "--pairwise"]
    argv += ["--out", str(out)]
    assert main(argv) == 0
    folder = out
    table = pd.read_parquet(folder / "ablations.parquet")
    assert set(table["scope"]) == {"intact", "single", "truncation", "pair"}
    assert {"checkpoint", "matrix", "component", "metric", "value", "low", "null_median"} <= set(
        table.columns
    )
    for name in ("heatmap-exact-hand", "truncation-hand", "chain_length-hand", "pairs-hand"):
        for suffix in ("png", "svg", "pdf"):
            assert (folder / f"{name}.{suffix}").stat().st_size > 1000
    assert json.loads((folder / "config.json").read_text())["config"]["pairs"] == 100
    assert "intact 0" in (folder / "details.txt").read_text()
    printed = capsys.readouterr().out
    assert "The intact network adds 0 % of sums, so digits are counted" in printed
    assert f"files: {folder}" in printed
    assert printed.count("\n") <= 36

    kept = list(folder.glob("jobs-*/*.parquet"))
    assert len(kept) == len(
        plan(("W_O", "W_in"), ("svd",), ("zero", "mean"), ("live",), subsets=False, pairs=True)
    )
    kept[0].unlink()
    stamps = {path: path.stat().st_mtime_ns for path in kept[1:]}
    monkeypatch.setattr(instrument, "plot", lambda *_: {})  # all are drawn already
    assert main(argv) == 0
    assert stamps == {path: path.stat().st_mtime_ns for path in kept[1:]}
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "ablations.parquet"), table)


def test_the_screen_names_what_the_handbuilt_adder_can_spare_and_what_not() -> None:
    config = Config(matrix=("W_O", "W_in", "W_out"), kind=("zero", "mean"), pairs=200, draws=3)
    result = run(handbuilt_adder(), config)
    said = summarise(result.ablations.assign(checkpoint="hand"), result.gauges)
    rows = {row.question: row for row in said.rows}
    exact = select(result.ablations, "exact")
    zeroed = exact[(exact["scope"] == "single") & (exact["kind"] == "zero")]
    spared = int((zeroed["value"] > 0.99).sum())
    assert rows["intact network"].number == "100 % of sums"
    assert rows["can go, set to zero"].verdict == f"{spared} of {len(zeroed)}"
    assert 0 < spared < len(zeroed)
    worst = zeroed["value"].min()
    assert rows["needed most"].number == f"{percent(worst)} without it"
    assert rows["needed most"].control.endswith("random term")
    assert "The intact network adds 100 % of uniform sums." in said.sentences


def test_the_screen_compares_several_checkpoints_and_the_stored_coordinates(hand) -> None:
    config = Config(
        matrix=("W_O",), kind=("zero",), basis=("raw", "svd"), pairs=100, draws=1, gauges=3
    )
    result = run(handbuilt_adder(), config)
    said = summarise(result.ablations.assign(checkpoint="hand"), result.gauges)
    assert "raw factors mean anything?" in [row.question for row in said.rows]
    both = pd.concat([result.ablations.assign(checkpoint=f"{i}" * 60) for i in range(9)])
    said = summarise(both, result.gauges)
    assert len(said.rows) == 8
    assert said.sentences[-1] == "1 more is in the tables."


def test_several_checkpoints_make_one_table(hand, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(instrument, "save_figure", partial(save_figure, formats=("png",)))
    other = str(save(tmp_path / "soft", handbuilt_adder(carry="soft"), {}))
    argv = [hand, "--beside", other, *SMALL, "--basis", "raw", "--matrix", "W_O"]
    argv += ["--gauges", "1", "--kind", "zero", "--metric", "kl", "--out", str(tmp_path / "out")]
    assert main(argv) == 0
    folder = tmp_path / "out"
    table = pd.read_parquet(folder / "ablations.parquet")
    assert list(table["checkpoint"].unique()) == ["hand", "soft"]
    assert set(pd.read_csv(folder / "gauges.csv")["checkpoint"]) == {"hand", "soft"}
    assert (folder / "heatmap-kl-soft.png").exists()


def test_units_are_swept_and_raw_factors_come_with_their_gauge_test() -> None:
    config = Config(
        matrix=("W_O", "W_OV", "ln_final", "edges"),
        basis=("raw", "unit", "svd"),
        kind=("mean",),
        norm=("frozen",),
        pairs=100,
        draws=1,
        gauges=2,
    )
    result = run(random_adder(PRESETS["311p"]), config)
    swept = set(zip(result.ablations["matrix"], result.ablations["basis"], strict=True))
    assert {("edges", "unit"), ("ln_final", "unit"), ("W_O", "raw"), ("W_OV", "svd")} <= swept
    assert set(result.gauges["basis"]) == {"raw", "svd"}
    assert (result.gauges["gauges"] == 2).all()


def test_subsets_are_all_sets_of_two_or_more() -> None:
    config = Config(
        matrix=("W_O",), kind=("zero",), pairs=100, draws=1, subsets=True, block_tolerance=0.0
    )
    table = run(random_adder(PRESETS["311p"]), config).ablations
    subsets = set(table.loc[table["scope"] == "subset", "component"])
    assert subsets == {"1+2", "1+3", "2+3", "1+2+3"}


def test_every_number_of_an_ablation_has_its_null_and_its_interval() -> None:
    config = Config(matrix=("W_out",), kind=("conditional",), pairs=100, draws=2)
    table = run(handbuilt_adder(), config).ablations
    single = table[(table["scope"] == "single") & (table["trials"] > 0)]
    assert single[["low", "high"]].notna().all().all()
    exact = single[single["metric"] == "exact"]
    assert exact[["null_low", "null_median", "null_high"]].notna().all().all()


def test_the_same_seed_gives_the_same_table_and_threads_do_not_matter() -> None:
    config = Config(matrix=("W_O",), kind=("zero", "resample"), pairs=100, draws=2)
    first = run(handbuilt_adder(), config).ablations
    second = run(handbuilt_adder(), config, workers=2).ablations
    pd.testing.assert_frame_equal(first, second)


def test_finished_jobs_are_kept_apart_by_what_they_depend_on(hand, tmp_path) -> None:
    source = read_checkpoint(hand)
    folders = {
        job_folder(tmp_path, source.model, config)
        for config in (
            Config(pairs=100),
            Config(pairs=200),
            Config(pairs=100, seed=1),
            Config(pairs=100, draws=3),
        )
    }
    assert len(folders) == 4
    assert job_folder(tmp_path, source.model, Config(pairs=100, matrix=("W_O",))) in folders


def test_figures_redraw_from_a_saved_table(hand, tmp_path) -> None:
    config = Config(matrix=("W_O", "W_out"), kind=("zero",), pairs=100, draws=2)
    table = run(handbuilt_adder(), config).ablations.assign(checkpoint="hand")
    path = tmp_path / "table.parquet"
    table.to_parquet(path)
    figures = plot(pd.read_parquet(path), ["exact", "chain_error"])
    assert set(figures) == {
        "heatmap-exact-hand",
        "heatmap-chain_error-hand",
        "truncation-hand",
        "chain_length-hand",
    }


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nowhere"], "no checkpoint 'nowhere'"),
        (["262p", "--pairs", "5"], "--pairs is 5: it must be 100 to"),
        (["262p", "--matrix", "W_X"], "W_X"),
        (["262p", "--block-tolerance", "2"], "it must be 0.0 to 1.0"),
        (["262p", "--draws", "0"], "--draws is 0"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(argv, message, capsys) -> None:
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1


def test_a_library_call_with_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match="--metric is empty"):
        Config(metric=())
    assert torch.get_num_threads() >= 1
