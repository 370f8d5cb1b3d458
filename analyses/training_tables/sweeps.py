"""The sweeps behind the training tables: which runs, where they lie, and their rates.

A sweep serves every table that needs it: its runs lie in RUNS/sweep-NAME and are resumed, its rows
are added to OUT/sweeps/NAME.csv, beside NAME.json with the recipe. Seeds whose rows are there, of
the same recipe, are not trained again: a sweep can grow over several sittings or machines.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact

from analyses.training_tables.published import STEPS, PublishedRate
from interp.output import save_json, save_table
from model.config import preset as look_up_preset
from model.errors import InputError
from model.intervals import clopper_pearson
from model.reading import open_regular, read_json
from train.config import PUBLISHED, TrainConfig
from train.run import GROKKED
from train.spec import RunSpec, StopRule
from train.sweep import watch_sweep

RESTARTS = TrainConfig(
    steps=300_000,
    batch=128,
    min_lr_ratio=0.02,
    phase_1=0,
    phase_2=0,
    carry_heavy=0.8,
    fade_start=100_000,
    fade_stop=200_000,
    restarts=40,
    restart_step=40_000,
    restart_loss=0.4,
    second_step=270_000,
    second_loss=0.055,
    token_std=0.3,
    position_std=0.1,
)
"""Our recipe: small batches, carry-heavy pairs from the start, and starting over when stuck. Its
bounds were read off seeds 100 to 163 of 262p without restarts (OUT/sweeps/262p-search.csv), none of
which is among the seeds that rate it."""
STOP_RULE: StopRule = ((40_000, 0.9), (80_000, 0.4))
"""Runs by the published recipe end early where their mean loss over the last 1,000 steps is above
these bounds: of all runs looked at that passed 90 %, none was above 0.7 at the first step or above
0.16 at the second. `Settings.full_length` trains them to the end."""
TRIAL_ROWS = 10
"""Rows of a log in a sweep of scaled length."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all tables of one command share.

    Attributes:
        out: Where tables go.
        runs: Where runs are kept.
        seeds: Seeds instead of each sweep's own; empty for these.
        scale: Length of every run as a share of the stated one.
        workers: Processes.
        device: cpu, or cuda to train all seeds of a sweep at once on a GPU.
        base: Checkpoint that Table 5 starts from.
        full_length: Train hopeless runs to the end too.
    """

    out: Path
    runs: Path
    seeds: tuple[int, ...] = ()
    scale: float = 1.0
    workers: int = 2
    device: str = "cpu"
    base: str = "311p-base"
    full_length: bool = False

    @property
    def suffix(self) -> str:
        """Tells the stores of scaled runs from those of whole ones."""
        return "" if self.scale == 1 else f"-x{self.scale:g}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One sweep.

    Attributes:
        preset: The shape.
        recipe: Name of the recipe: "published" or "restarts".
        train: The recipe.
        seeds: Its seeds.
        every: Steps between two rows of a log.
        stop_rule: Where a run ends early.
    """

    preset: str
    recipe: str
    train: TrainConfig
    seeds: tuple[int, ...]
    every: int = 1_000
    stop_rule: StopRule = ()

    @property
    def name(self) -> str:
        """Stem of its files."""
        return f"{self.preset}-{self.recipe}"


def plan_published(preset: str, seeds: Iterable[int]) -> Plan:
    """Plan a sweep by the published recipe, as long as the write-ups trained that shape."""
    train = dataclasses.replace(PUBLISHED, steps=STEPS[preset])
    rule = tuple(bound for bound in STOP_RULE if bound[0] < train.steps)
    return Plan(preset=preset, recipe="published", train=train, seeds=tuple(seeds), stop_rule=rule)


def plan_restarts(preset: str, seeds: Iterable[int]) -> Plan:
    """Plan a sweep by our recipe."""
    return Plan(preset=preset, recipe="restarts", train=RESTARTS, seeds=tuple(seeds), every=5_000)


def scale_train(train: TrainConfig, scale: float) -> TrainConfig:
    """Shorten a recipe with all its phases, for a trial."""
    if scale == 1:
        return train
    names = ("steps", "warmup", "phase_1", "phase_2", "fade_start", "fade_stop", "restart_step")
    short = {name: max(1, round(getattr(train, name) * scale)) for name in names}
    return dataclasses.replace(train, second_step=0, **short)


def list_specs(plan: Plan, settings: Settings) -> list[RunSpec]:
    """Specify every run of a plan."""
    train, every = scale_train(plan.train, settings.scale), plan.every
    rule = () if settings.full_length or settings.scale != 1 else plan.stop_rule
    if settings.scale != 1:
        every = max(1, train.steps // TRIAL_ROWS)
        train = dataclasses.replace(train, restart_step=every)
    return [
        RunSpec(
            model=look_up_preset(plan.preset),
            train=train,
            seed=seed,
            every=every,
            device=settings.device,
            stop_rule=rule,
        )
        for seed in settings.seeds or plan.seeds
    ]


def run_plan(plan: Plan, settings: Settings) -> pd.DataFrame:
    """Give the rows of a sweep, training the seeds that the results do not have yet."""
    specs = list_specs(plan, settings)
    path = settings.out / "sweeps" / f"{plan.name}.csv"
    kept = read_rows(path, specs[0])
    missing = [spec for spec in specs if spec.seed not in set(kept["seed"])]
    if missing:
        store = find_store(plan, settings)
        table = watch_sweep(missing, store, workers=settings.workers)
        keep_rows(table, read_json(store / "sweep.json"), path)
        kept = read_rows(path, specs[0])
    return kept.set_index("seed").loc[[spec.seed for spec in specs]].reset_index()


def fetch_run(plan: Plan, seed: int, settings: Settings) -> Path:
    """Give the folder of one run of a plan, training it where it is not on this machine."""
    store = find_store(plan, settings)
    one = dataclasses.replace(settings, seeds=(seed,))
    watch_sweep(list_specs(plan, one), store, workers=1)
    return store / f"s{seed}"


def find_store(plan: Plan, settings: Settings) -> Path:
    """Name the folder that keeps the runs of a plan."""
    return settings.runs / f"sweep-{plan.name}{settings.suffix}"


def read_rows(path: Path, spec: RunSpec) -> pd.DataFrame:
    """Read the rows of a sweep that results have; none where they are of another recipe.

    The machine that made a row is no part of the recipe: its column `engine` tells.

    Raises:
        InputError: They cannot be read.
    """
    beside = path.with_suffix(".json")
    if not path.exists() or not beside.exists():
        return pd.DataFrame({"seed": []})
    try:
        found = read_json(beside)["spec"]
        same = RunSpec.from_dict({**found, "seed": spec.seed}) == spec
        rows = pd.read_csv(open_regular(path))
        return rows if same else rows.iloc[:0][["seed"]]
    except (ValueError, KeyError, OSError, InputError) as error:
        raise InputError(f"{path} is damaged: delete it and {beside.name}") from error


def keep_rows(table: pd.DataFrame, summary: dict[str, Any], path: Path) -> None:
    """Write a sweep's rows and summary, together with the other seeds that are there already.

    Rows of another recipe are replaced. The two files are what `train.sweep` leaves.

    Raises:
        InputError: The rows that are there cannot be read.
    """
    beside = path.with_suffix(".json")
    rows = read_rows(path, RunSpec.from_dict({**summary["spec"], "seed": 0}))
    others = rows[~rows["seed"].isin(table["seed"])]
    if len(others):
        table = pd.concat([others, table]).sort_values("seed", kind="stable")
    grokked = count_above(table["best_exact"])
    counts = {
        "seeds": table["seed"].tolist(),
        "grokked": grokked,
        "runs": len(table),
        "rate": grokked / len(table),
        "interval_95": clopper_pearson(grokked, len(table)),
    }
    save_table(table, path)
    save_json({**summary, **counts}, beside)


def count_above(values: Iterable[float], level: float = GROKKED) -> int:
    """Count the values above a level."""
    return int(sum(value > level for value in values))


def rate(grokked: int, runs: int, prefix: str = "") -> dict[str, Any]:
    """Give a count, its rate and the rate's 95 % interval as columns."""
    low, high = clopper_pearson(grokked, runs)
    names = ("grokked", "runs", "rate", "low", "high")
    values = (grokked, runs, grokked / runs, low, high)
    return {prefix + name: value for name, value in zip(names, values, strict=True)}


def compare_rate(table: pd.DataFrame, published: PublishedRate | None) -> dict[str, Any]:
    """Give our rate beside the published one, with Fisher's exact test of their difference."""
    ours = rate(count_above(table["best_exact"]), len(table))
    ours["best"] = float(table["best_exact"].max())
    if published is None:
        return ours
    theirs = rate(published.grokked, published.runs, "published_")
    return {
        **ours,
        **theirs,
        "published_best": published.best,
        "p_value": p_value_between(
            (ours["grokked"], ours["runs"]), (published.grokked, published.runs)
        ),
    }


def p_value_between(one: Sequence[int], two: Sequence[int]) -> float:
    """Compute the p-value of Fisher's exact test between two counts, each (events, trials)."""
    return float(fisher_exact([[k, n - k] for k, n in (one, two)])[1])


def examples_drawn(table: pd.DataFrame, train: TrainConfig) -> np.ndarray:
    """Count the pairs that each run was trained on, those of abandoned attempts included."""
    return (table["steps_taken"] * train.batch).to_numpy()
