import json
import shutil

import pandas as pd
import pytest
import torch

from model.checkpoint import load
from model.config import PRESETS
from model.errors import InputError
from model.shell import read_seeds
from train.config import TrainConfig
from train.finetune.__main__ import main as finetune
from train.run import train_run
from train.spec import RunSpec
from train.sweep.__main__ import main
from train.sweep.seeds import run_sweep

CONFIG = TrainConfig(steps=200, batch=16, warmup=20, phase_1=50, phase_2=100)


def specs(n: int) -> list[RunSpec]:
    return [RunSpec(model=PRESETS["262p"], train=CONFIG, seed=seed, every=100) for seed in range(n)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    table = run_sweep(specs(3), folder, workers=2)
    return folder, table


def test_each_run_is_as_it_is_alone(store, tmp_path) -> None:
    folder, table = store
    assert table["seed"].tolist() == [0, 1, 2]
    train_run(specs(3)[1], tmp_path)
    together, alone = load(folder / "s1").params, load(tmp_path).params
    assert all(torch.equal(together[name], alone[name]) for name in alone)


def test_table_survives_damage(store, tmp_path) -> None:
    folder, table = store
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "s0" / "run.json").write_text("{ half")
    (tmp_path / "copy" / "s1" / "run.json").unlink()
    (tmp_path / "copy" / "s1" / "state.safetensors").write_bytes(b"damaged")
    shutil.rmtree(tmp_path / "copy" / "s2")
    again = run_sweep(specs(3), tmp_path / "copy", workers=1)
    pd.testing.assert_frame_equal(table, again)
    one, two = ((x / "sweep.csv").read_bytes() for x in (folder, tmp_path / "copy"))
    assert one == two


def test_summary_has_the_rate_and_its_interval(store) -> None:
    folder, _ = store
    summary = json.loads((folder / "sweep.json").read_text())
    assert summary["runs"] == 3
    assert summary["grokked"] == 0
    assert summary["interval_95"] == pytest.approx([0.0, 0.7076], abs=1e-4)


def test_another_recipe_in_the_store_is_refused(store, capsys) -> None:
    folder, _ = store
    assert main(["--preset", "262p", "--seeds", "0", "--steps", "7", "--out", str(folder)]) == 2
    assert "another run" in capsys.readouterr().err
    assert (folder / "s0" / "model.safetensors").exists()


def test_a_diverged_run_does_not_take_the_sweep_down(tmp_path) -> None:
    wild = TrainConfig(steps=200, batch=16, lr=1e30, warmup=0, clip=1e30)
    pair = [
        RunSpec(model=PRESETS["262p"], train=wild, seed=0, every=100),
        specs(2)[1],
    ]
    table = run_sweep(pair, tmp_path, workers=1)
    assert table["status"].tolist() == ["diverged", "finished"]


def test_seeds_are_read_as_ranges() -> None:
    assert read_seeds(["0-3", "100"]) == [0, 1, 2, 3, 100]
    for bad in (["x"], ["1-x"], [], ["1", "0-2"]):
        with pytest.raises(InputError):
            read_seeds(bad)


@pytest.mark.parametrize(
    ("words", "message"),
    [("--seeds a", "neither a number"), ("--workers 0", "workers is 0"), ("--foo", "--foo")],
)
def test_bad_sweeps(tmp_path, capsys, words: str, message: str) -> None:
    assert main([*words.split(), "--out", str(tmp_path / "x")]) == 2
    assert message in capsys.readouterr().err


def test_rounds_follow_the_best(store, tmp_path, capsys) -> None:
    folder, _ = store
    out = tmp_path / "tuned"
    words = "--rounds 1e-3:100 3e-4:50 --seeds 0-1 --batch 16 --workers 1 --out"
    assert finetune([str(folder / "s1"), *words.split(), str(out)]) == 0
    rounds = pd.read_csv(out / "rounds.csv")
    assert rounds["round"].tolist() == [1, 1, 2, 2]
    assert rounds["best"].sum() == 2
    parents = rounds["parent"].unique()
    assert parents[0] == str(folder / "s1")
    assert parents[1].startswith(str(out / "round-1"))
    card = json.loads((out / "best" / "model.json").read_text())
    assert len(card["lineage"]) == 3


@pytest.mark.parametrize("words", ["--rounds fast", "--seeds x", "--lr 0"])
def test_bad_finetuning(store, tmp_path, capsys, words: str) -> None:
    folder, _ = store
    assert finetune([str(folder / "s1"), *words.split(), "--out", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
