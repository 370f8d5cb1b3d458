"""Short runs of a sweep on one device, alone and together, that several tests share."""

import dataclasses
import json
from pathlib import Path

import pandas as pd

from model.config import PRESETS
from tests.support import SHORT_RUN
from train.config import TrainConfig
from train.run import RUN, train_run
from train.spec import RunSpec
from train.sweep.parallel import Job
from train.sweep.side_by_side import train_together

# Parameters large enough for gradients well above rounding, which Adam would blow up (seed 4 has
# one that is not).
CONFIG = TrainConfig(
    steps=24,
    batch=SHORT_RUN.batch,
    warmup=10,
    phase_1=6,
    phase_2=12,
    token_std=0.3,
    position_std=0.3,
)
SPEC = RunSpec(model=PRESETS["262p"], train=CONFIG, seed=0, every=8)


def jobs_in(folder: Path, seeds=(5, 7), spec: RunSpec = SPEC) -> list[Job]:
    return [Job(dataclasses.replace(spec, seed=seed), folder / f"s{seed}") for seed in seeds]


def check_restarts(folder: Path, engine: str) -> None:
    """Runs that start over together do so as each does alone."""
    runs = [train_run(job.spec, job.folder).folder for job in jobs_in(folder / "without")]
    low, high = sorted(pd.read_csv(run / "log.csv")["loss"][0] for run in runs)
    # One of the two is above the bound at step 8; both are judged again at step 16.
    config = dataclasses.replace(
        CONFIG,
        restarts=2,
        restart_step=8,
        restart_loss=(low + high) / 2,
        second_step=16,
        second_loss=0.0,
    )
    spec = dataclasses.replace(SPEC, train=config)
    for job in jobs_in(folder / "alone", spec=spec):
        train_run(job.spec, job.folder)
    list(train_together(jobs_in(folder / "together", spec=spec), device="cpu"))
    for seed in (5, 7):
        ours, theirs = (
            json.loads((folder / x / f"s{seed}" / RUN).read_text()) for x in ("together", "alone")
        )
        for key in ("attempts", "steps_taken", "step", "status"):
            assert ours[key] == theirs[key]
        assert ours["attempts"] == 3
        assert ours["steps_taken"] > 24
        assert ours["engine"] == engine
