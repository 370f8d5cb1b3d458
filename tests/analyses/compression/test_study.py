import pandas as pd
import pytest
import torch

from analyses.compression.__main__ import main
from analyses.compression.config import Config, read_target
from analyses.compression.study import TABLE_7, Result, cut_to, is_smaller, plot
from model.checkpoint import save
from model.config import PRESETS
from model.errors import InputError
from tests.support import random_adder


def test_table_7_is_about_the_shapes_that_are_reached() -> None:
    model = random_adder(PRESETS["311p"])
    for text, name in (
        ("attn_out_rank=2", "303p"),
        ("attn_out_rank=1", "295p"),
        ("attn_out_rank=1,d_ff=4", "271p"),
    ):
        assert cut_to(model, read_target(text)).config == PRESETS[name]
        assert PRESETS[name] in TABLE_7


def test_only_smaller_shapes_are_targets() -> None:
    model = random_adder(PRESETS["262p"])
    assert is_smaller(model, {"attn_out_rank": 2})
    assert not is_smaller(model, {"pos_rank": 2})
    assert not is_smaller(model, {"d_ff": 8})


def test_a_target_is_read_or_refused() -> None:
    assert read_target("attn_out_rank=1,d_ff=4") == {"attn_out_rank": 1, "d_ff": 4}
    with pytest.raises(InputError, match="target 'd_model=2' is not FIELD=VALUE"):
        read_target("d_model=2")
    with pytest.raises(InputError, match="seeds 'x'"):
        Config(seeds=("x",))


def test_the_study_runs_small_and_reuses_its_runs(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = str(save(tmp_path / "m", random_adder(PRESETS["311p"]), {}))
    argv = [folder, "--targets", "attn_out_rank=1", "--steps", "32", "--seeds", "0"]
    argv += ["--pairs", "200", "--workers", "1", "--out", str(tmp_path / "out")]
    assert main(argv) == 0
    assert "0/14" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / "compression.csv")
    assert list(table["start"]) == ["cut", "random"]
    assert set(table["n_params"]) == {295}
    assert (table["before_low"] <= table["before"]).all()
    assert (tmp_path / "out" / "compression.png").exists()
    assert torch.get_num_threads() >= 1
    assert main([*argv[:2], "pos_rank=9", *argv[3:]]) == 2
    assert "no target is smaller" in capsys.readouterr().err


def test_the_figure_redraws_from_its_table() -> None:
    rows = [
        {"target": "attn_out_rank1", "start": start, "n_params": 295, "before": 0.1, "after": 0.9}
        for start in ("cut", "random")
    ]
    assert len(plot(Result(pd.DataFrame(rows))).axes) == 1
