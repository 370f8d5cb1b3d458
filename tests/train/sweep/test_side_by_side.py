import dataclasses
import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch

from model.checkpoint import trajectory_steps
from model.errors import InputError
from tests.reference import ALLOWED, exact_steps
from tests.train.sweep.support import SPEC, check_restarts, jobs_in
from train import run
from train.batched.engine import BatchedEngine
from train.engine import ReferenceEngine, fresh_state
from train.progress import STATE
from train.run import train_run
from train.spec import RunSpec
from train.sweep import side_by_side as batched_sweep
from train.sweep.__main__ import main
from train.sweep.parallel import Job
from train.sweep.seeds import read_result, tabulate_result
from train.sweep.side_by_side import train_together

FILES = ["log.csv", "manifest.json", "model.json", "model.safetensors", "run.json"]
FILES += [STATE, "trajectory.safetensors"]

pytestmark = pytest.mark.usefixtures("few_pairs")


class Killed(Exception):
    pass


def kill_after(step: int, monkeypatch) -> None:
    """The process dies in the first stretch that starts at `step` or later."""
    whole = BatchedEngine.run

    def run_until(self, states, seeds, counts):
        if states[0].step >= step:
            raise Killed
        return whole(self, states, seeds, counts)

    monkeypatch.setattr(BatchedEngine, "run", run_until)


def save_at_every_stop(monkeypatch) -> None:
    monkeypatch.setattr(batched_sweep, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(batched_sweep, "SAVE_SHARE", 1e9)


@cache
def allowed_between(spec: RunSpec) -> tuple[float, float]:
    """How far two float32 runs may be apart in loss and parameters: twice as far as from exact."""
    engine = ReferenceEngine(spec.model, spec.train, spec.seed)
    _, rounding = exact_steps(engine, fresh_state(spec.model, spec.train, spec.seed), 24)
    loss, params = 2 * ALLOWED * rounding
    return loss, params


def test_every_run_is_as_it_is_alone(tmp_path) -> None:
    shares: list[float] = []
    together = list(train_together(jobs_in(tmp_path), device="cpu", report=shares.append))
    assert [job.spec.seed for job in together] == [5, 7]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 2)
    for job in together:
        alone = tmp_path / "alone" / job.folder.name
        train_run(dataclasses.replace(job.spec, reference=True), alone)
        assert sorted(path.name for path in job.folder.iterdir()) == sorted(FILES)
        assert sorted(path.name for path in alone.iterdir()) == sorted(FILES)
        ours, theirs = (pd.read_csv(x / "log.csv") for x in (job.folder, alone))
        assert list(ours.columns) == list(theirs.columns)
        assert ours["step"].tolist() == theirs["step"].tolist() == [8, 16, 24]
        loss, params = allowed_between(job.spec)
        assert (ours["loss"] - theirs["loss"]).abs().max() <= loss
        assert ours["lr"].tolist() == theirs["lr"].tolist()
        assert trajectory_steps(job.folder) == trajectory_steps(alone)
        one, two = (
            safetensors.torch.load_file(x / "trajectory.safetensors") for x in (job.folder, alone)
        )
        assert max(float((one[name] - two[name]).abs().max()) for name in one) <= params
        result = read_result(job.folder, job.spec)
        assert result is not None
        row = tabulate_result(result)
        assert (row["status"], row["last_step"], row["engine"]) == ("finished", 24, "batched")


def test_an_interrupted_sweep_ends_with_the_same_files(tmp_path, monkeypatch) -> None:
    list(train_together(jobs_in(tmp_path / "whole"), device="cpu"))
    save_at_every_stop(monkeypatch)
    with monkeypatch.context() as patch:
        kill_after(16, patch)
        with pytest.raises(Killed):
            list(train_together(jobs_in(tmp_path / "parts"), device="cpu"))
    saved = [json.loads(read_state(job)["progress"])["step"] for job in jobs_in(tmp_path / "parts")]
    assert saved == [16, 16]
    list(train_together(jobs_in(tmp_path / "parts"), device="cpu"))
    assert_same(tmp_path, "whole", "parts")


def read_state(job: Job) -> dict[str, str]:
    with safetensors.safe_open(str(job.folder / STATE), framework="np") as file:
        return file.metadata()


def assert_same(folder: Path, one: str, two: str) -> None:
    """Batches of another size round otherwise, so losses agree closely and not bit for bit."""
    for seed in (5, 7):
        first, second = (folder / x / f"s{seed}" for x in (one, two))
        ours, theirs = (pd.read_csv(x / "log.csv") for x in (first, second))
        assert ours["step"].tolist() == theirs["step"].tolist()
        loss, _ = allowed_between(dataclasses.replace(SPEC, seed=seed))
        assert (ours["loss"] - theirs["loss"]).abs().max() <= loss
        assert trajectory_steps(first) == trajectory_steps(second)


def test_a_run_that_is_behind_catches_up_and_joins(tmp_path, monkeypatch) -> None:
    list(train_together(jobs_in(tmp_path / "whole"), device="cpu"))
    save_at_every_stop(monkeypatch)
    with monkeypatch.context() as patch:
        kill_after(8, patch)
        with pytest.raises(Killed):
            list(train_together(jobs_in(tmp_path / "parts"), device="cpu"))
    (tmp_path / "parts" / "s7" / STATE).write_bytes(b"damaged")
    batches: list[tuple[int, int]] = []
    whole = BatchedEngine.run

    def watch(self, states, seeds, counts):
        batches.append((states[0].step, len(states)))
        return whole(self, states, seeds, counts)

    monkeypatch.setattr(BatchedEngine, "run", watch)
    list(train_together(jobs_in(tmp_path / "parts"), device="cpu"))
    assert all(n == (1 if step < 8 else 2) for step, n in batches)
    assert batches[0] == (0, 1)
    assert (8, 2) in batches
    assert_same(tmp_path, "whole", "parts")


def test_a_diverged_and_a_stopped_run_leave_the_batch(tmp_path, monkeypatch) -> None:
    rule = dataclasses.replace(SPEC, stop_rule=((8, 0.0),))
    assert len(list(train_together(jobs_in(tmp_path / "stopped", spec=rule), device="cpu"))) == 2
    assert json.loads((tmp_path / "stopped" / "s5" / "run.json").read_text())["step"] == 8
    whole = BatchedEngine.run

    def spoil(self, states, seeds, counts):
        losses = whole(self, states, seeds, counts)
        if len(states) == 2:
            losses[0][0] = np.nan
        return losses

    monkeypatch.setattr(BatchedEngine, "run", spoil)
    ended = list(train_together(jobs_in(tmp_path / "wild"), device="cpu"))
    results = [json.loads((job.folder / run.RUN).read_text()) for job in ended]
    assert [(x["status"], x["step"]) for x in results] == [("diverged", 1), ("finished", 24)]


def test_runs_that_mix_recipes_are_refused(tmp_path) -> None:
    mixed = [Job(SPEC, tmp_path / "a"), Job(dataclasses.replace(SPEC, every=4), tmp_path / "b")]
    with pytest.raises(InputError, match="one recipe"):
        list(train_together(mixed, device="cpu"))


def test_runs_that_start_over_do_so_as_alone(tmp_path) -> None:
    check_restarts(tmp_path, "batched")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--device cuda", "PyTorch sees no GPU"),
        ("--device tpu", "--device"),
    ],
)
def test_a_sweep_without_its_device_is_one_clear_line(
    tmp_path, capsys, monkeypatch, words: str, message: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main([*words.split(), "--seeds", "0", "--out", str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_the_sweep_command_trains_together_on_a_gpu(tmp_path, monkeypatch) -> None:
    def on_the_cpu(jobs, *, device, report):
        assert device == "cuda"
        return train_together(jobs, device="cpu", report=report)

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("train.sweep.seeds.train_together", on_the_cpu)
    words = "--preset 262p --seeds 4 7 --steps 8 --batch 16 --every 8 --device cuda --out"
    for _ in range(2):
        assert main([*words.split(), str(tmp_path / "x")]) == 0
    table = pd.read_csv(tmp_path / "x" / "sweep.csv")
    assert table["engine"].tolist() == ["batched", "batched"]
    assert main([*words.split(), str(tmp_path / "y"), "--scheduler", "tcp://127.0.0.1:9"]) == 2
