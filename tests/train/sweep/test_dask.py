"""A sweep on a real Dask scheduler and two worker processes, on the loopback interface."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from model.config import PRESETS
from model.errors import InputError
from train.config import TrainConfig
from train.spec import RunSpec
from train.sweep.__main__ import main
from train.sweep.parallel import Job, run_jobs
from train.sweep.seeds import run_sweep

pytest.importorskip("distributed")

ROOT = Path(__file__).resolve().parents[3]
CONFIG = TrainConfig(steps=2_000, batch=16, warmup=20, phase_1=50, phase_2=100)
SPECS = [RunSpec(model=PRESETS["262p"], train=CONFIG, seed=seed, every=500) for seed in range(5)]


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("nothing happened within a minute")


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a Dask program, its temporary files in a folder of its own; kills it afterwards."""
    processes = []

    def begin(module: str, name: str, *words: str) -> subprocess.Popen[bytes]:
        (tmp_path / name).mkdir()
        options = {
            "DASK_DISTRIBUTED__WORKER__PRELOAD": "[]",
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(tmp_path / name),
        }
        with (tmp_path / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", "--host", "127.0.0.1", *words],
                cwd=ROOT,
                env=os.environ | options,
                stdout=log,
                stderr=log,
            )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.wait()


def test_a_killed_worker_does_not_change_the_table(tmp_path, start) -> None:
    contact = tmp_path / "scheduler.json"
    quiet = ("--scheduler-file", str(contact), "--no-dashboard")
    start("dask_scheduler", "scheduler", "--port", "0", *quiet)
    alone = ("--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path / "spill"))
    workers = {name: start("dask_worker", name, *quiet, *alone) for name in ("one", "two")}
    local = run_sweep(SPECS, tmp_path / "local", workers=1)
    wait_for(contact.exists)
    address = json.loads(contact.read_text())["address"]
    assert address.startswith("tcp://127.0.0.1:")

    def running(name: str) -> list[Path]:
        """Folders of the runs that a worker is training, or was when it died."""
        return [path for path in (tmp_path / name).iterdir() if path.name.startswith("tmp")]

    def kill_one(table: pd.DataFrame) -> None:
        if all(worker.poll() is None for worker in workers.values()):
            wait_for(lambda: bool(running("one")))
            workers["one"].kill()

    away = run_sweep(SPECS, tmp_path / "away", scheduler=address, report=kill_one)
    assert workers["one"].wait() != 0
    assert workers["two"].poll() is None
    assert running("one"), "the worker was killed between two runs"
    pd.testing.assert_frame_equal(away, local)
    for name in ("sweep.csv", "s0/model.safetensors", "s4/log.csv", "s4/trajectory.safetensors"):
        assert (tmp_path / "away" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


def test_no_scheduler_is_one_clear_line(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("train.sweep.parallel.CONNECT_SECONDS", 1)
    words = ["--scheduler", "tcp://127.0.0.1:9", "--seeds", "0", "--out", str(tmp_path)]
    assert main(words) == 2
    message = capsys.readouterr().err
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in message
    assert "Traceback" not in message


def test_an_address_that_is_none_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="no Dask scheduler"):
        list(run_jobs([Job(SPECS[0], tmp_path)], scheduler="nonsense://"))
