import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from model.checkpoint import load, read_checkpoint, trajectory_steps
from model.config import PRESETS
from model.errors import InputError
from model.shell import Output, find_problems
from train.__main__ import main
from train.config import TrainConfig
from train.progress import STATE
from train.run import train_run
from train.spec import RunSpec

CONFIG = TrainConfig(steps=400, batch=32, warmup=20, phase_1=50, phase_2=100)
SPEC = RunSpec(model=PRESETS["262p"], train=CONFIG, seed=4, every=50)

pytestmark = pytest.mark.usefixtures("few_pairs")


class Interrupted(Exception):
    pass


def interrupt_after(step: int):
    def report(row) -> None:
        if row["step"] >= step:
            raise Interrupted

    return report


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


def test_a_run_leaves_a_checkpoint_log_and_trajectory(tmp_path) -> None:
    rows = []
    result = train_run(SPEC, tmp_path / "run", rows.append)
    assert result.status == "finished"
    assert [row["step"] for row in rows] == list(range(50, 401, 50))
    log = pd.read_csv(tmp_path / "run" / "log.csv")
    assert list(log.columns) == ["step", "loss", "lr", "exact", "exact_hard", "margin"]
    assert log["loss"].iloc[-1] < log["loss"].iloc[0]
    checkpoint = read_checkpoint(tmp_path / "run")
    assert checkpoint.card["n_params"] == 262
    assert checkpoint.card["lineage"][-1]["command"] == SPEC.command()
    steps = trajectory_steps(tmp_path / "run")
    assert steps[0] == 0
    assert steps[-1] == 400
    best = int(result.best["step"])
    snapshot = load(f"{tmp_path / 'run'}@{best}")
    assert all(torch.equal(p, snapshot.params[name]) for name, p in checkpoint.model.params.items())


def test_resuming_continues_bit_for_bit(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("train.run.SAVE_SECONDS", 0.0)
    train_run(SPEC, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train_run(SPEC, tmp_path / "parts", interrupt_after(150))
    taken = []
    train_run(SPEC, tmp_path / "parts", taken.append)
    assert taken[0]["step"] == 150
    for name in ("model.safetensors", "trajectory.safetensors", "log.csv", STATE):
        whole, parts = ((tmp_path / x / name).read_bytes() for x in ("whole", "parts"))
        assert whole == parts, name


def test_a_killed_process_resumes(tmp_path) -> None:
    arguments = ["--preset", "262p", "--seed", "4", "--steps", "300000", "--batch", "32"]
    command = [sys.executable, "-m", "train", *arguments, "--out", str(tmp_path / "run")]
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL)
    state = tmp_path / "run" / STATE
    for _ in range(1200):
        if state.exists():
            break
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with safetensors.safe_open(str(state), framework="np") as file:
        content = json.loads(file.metadata()["progress"])
        params = file.get_tensor("params")
    assert content["step"] >= 1_000
    assert content["rows"][-1]["step"] == content["step"]
    assert np.isfinite(params).all()
    log = pd.read_csv(tmp_path / "run" / "log.csv")
    assert log["step"].iloc[-1] >= content["step"]
    assert not list((tmp_path / "run").glob("*.tmp"))


def test_another_run_in_the_folder_is_refused(tmp_path) -> None:
    train_run(SPEC, tmp_path)
    other = RunSpec(model=SPEC.model, train=SPEC.train, seed=5, every=50)
    with pytest.raises(InputError, match="another run"):
        train_run(other, tmp_path)
    assert find_problems(tmp_path) == []


def test_two_processes_in_one_folder(tmp_path, capsys) -> None:
    with Output(tmp_path, by="python -m train"):
        assert main(["--seed", "5", "--steps", "10", "--out", str(tmp_path)]) == 2
    *_, error = capsys.readouterr().err.splitlines()  # after the bar
    assert f"is being filled by python -m train, process {os.getpid()}: wait for it" in error


def test_a_finished_run_is_left_alone_and_a_damaged_one_made_whole(tmp_path) -> None:
    first = train_run(SPEC, tmp_path)
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in tmp_path.iterdir()}
    assert train_run(SPEC, tmp_path) == first
    assert {path: (path.stat().st_ino, path.read_bytes()) for path in tmp_path.iterdir()} == before
    (tmp_path / "run.json").write_text("{}")
    assert train_run(SPEC, tmp_path) == first
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == {
        path: data for path, (_, data) in before.items()
    }


def test_a_damaged_state_is_named(tmp_path) -> None:
    train_run(SPEC, tmp_path)
    (tmp_path / STATE).write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged"):
        train_run(SPEC, tmp_path)


def test_divergence_ends_the_run_with_its_step(tmp_path) -> None:
    config = TrainConfig(steps=400, batch=16, lr=1e30, warmup=0, clip=1e30)
    result = train_run(RunSpec(model=SPEC.model, train=config, seed=0, every=50), tmp_path)
    assert result.status == "diverged"
    assert result.step < 400
    assert json.loads((tmp_path / "run.json").read_text())["step"] == result.step


def test_stop_rule_ends_a_run(tmp_path) -> None:
    spec = RunSpec(
        model=SPEC.model, train=CONFIG, seed=4, every=50, stop_rule=((100, 0.001), (200, 0.0))
    )
    result = train_run(spec, tmp_path)
    assert (result.status, result.step) == ("stopped", 100)


def test_a_stuck_run_starts_over_from_other_parameters(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("train.run.SAVE_SECONDS", 0.0)
    config = dataclasses.replace(CONFIG, restarts=2, restart_step=100, restart_loss=0.0)
    spec = RunSpec(model=SPEC.model, train=config, seed=4, every=50)
    rows = []
    assert train_run(spec, tmp_path, rows.append).step == 400
    assert [row["step"] for row in rows] == [50, 100, 50, 100, *range(50, 401, 50)]
    assert len({row["loss"] for row in rows if row["step"] == 50}) == 3
    assert json.loads((tmp_path / "run.json").read_text())["attempts"] == 3


def test_a_child_knows_its_ancestors(tmp_path) -> None:
    train_run(SPEC, tmp_path / "parent")
    spec = RunSpec(
        model=SPEC.model, train=CONFIG, seed=1, every=200, parent=str(tmp_path / "parent")
    )
    train_run(spec, tmp_path / "child")
    lineage = read_checkpoint(tmp_path / "child").card["lineage"]
    assert [step["command"] for step in lineage] == [SPEC.command(), spec.command()]


def test_command_line_overrides_and_repeats(tmp_path, capsys) -> None:
    out = tmp_path / "run"
    words = "--preset 311p --seed 2 --d-ff 6 --pos-rank 2 --steps 100 --batch 32 --every 50"
    assert main([*words.split(), "--out", str(out)]) == 0
    card = read_checkpoint(out).card
    assert card["n_params"] == 262
    command = card["command"].removeprefix("python -m train ").split()
    assert main([*command, "--out", str(tmp_path / "again")]) == 0
    assert all(torch.equal(weights(out)[k], weights(tmp_path / "again")[k]) for k in weights(out))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--preset 263p", "unknown preset '263p'"),
        ("--lr -1", "lr is -1.0"),
        ("--steps many", "steps"),
        ("--tie-qkv most", "most"),
        ("--stop early", "STEP:LOSS"),
        ("--seed -3", "seed is -3"),
        ("--sede 3", "--sede"),
        ("--cases nowhere.csv --extra-share 0.1", "nowhere.csv"),
        ("--extra-share 0.1", "--cases"),
    ],
)
def test_bad_command_lines(tmp_path, capsys, words: str, message: str) -> None:
    assert main([*words.split(), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()
