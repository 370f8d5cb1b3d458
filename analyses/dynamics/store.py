"""What the study of dynamics keeps on disk: finished snapshots of each run, and whole results.

A run's snapshots are added to its two tables as they are finished, each time the whole file
atomically, so that an interrupted analysis goes on where it stopped.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
import pandas as pd
import torch

from analyses.dynamics.measures import ALL, COLUMNS, Config, data_floors, measure
from analyses.dynamics.runs import RunRecord, choose_steps
from interp.certify import TOTAL, CertifyConfig, certify
from interp.output import save_json, save_table
from model.adder import Adder
from model.checkpoint import load
from model.errors import InputError
from model.factored import init_params
from model.reading import open_regular, read_json

Kind = Literal["run", "random init", "certify"]
MEASURED = ["source", "step", *COLUMNS]
CERTIFIED = ["step", "budget", "lower", "upper"]


@dataclass(frozen=True)
class Task:
    """One piece of work: a snapshot to measure or to certify, or a random init to measure.

    Attributes:
        record: The run.
        kind: What to do; also the `source` of the rows.
        step: The snapshot, or the number of the random init.
    """

    record: RunRecord
    kind: Kind
    step: int


def list_tasks(record: RunRecord, config: Config) -> list[Task]:
    """List the work on one run, certification last."""
    steps = choose_steps(record.steps, config.snapshots)
    certified = [] if config.no_certify else choose_steps(steps, config.certified_snapshots)
    return [
        *(Task(record, "run", step) for step in steps),
        *(Task(record, "random init", draw) for draw in range(config.random_inits)),
        *(Task(record, "certify", step) for step in certified),
    ]


def do_task(task: Task, config: Config) -> pd.DataFrame:
    """Do one piece of work.

    Returns:
        Rows with the columns MEASURED, or one row with the columns CERTIFIED.
    """
    torch.set_num_threads(1)
    record = task.record
    if task.kind == "random init":
        params = init_params(
            record.model,
            # Far from the seeds of runs, so that no floor is the start of a run that it judges.
            seed=10**9 + config.seed + task.step,
            token_std=record.train.token_std,
            position_std=record.train.position_std,
        )
        model = Adder(record.model, params)
    else:
        model = load(f"{record.reference}@{task.step}")
    if task.kind == "certify":
        count = certify(model, CertifyConfig(budget=config.certify, eos_budget=2)).real
        row = [task.step, config.certify, str(count.lower), str(count.upper)]
        return pd.DataFrame([row], columns=CERTIFIED)
    return measure(model, config).assign(source=task.kind, step=task.step)[MEASURED]


class Store:
    """The finished pieces of one run in a folder.

    Args:
        folder: Where they are kept.
        record: The run.
        config: How it is measured.

    Raises:
        InputError: The folder holds measurements of other weights or on other pairs.
    """

    def __init__(self, folder: Path, record: RunRecord, config: Config) -> None:
        """Read what is there."""
        stem = folder / record.name
        self._files = {
            "key": stem.with_name(f"{stem.name}.json"),
            "measured": stem.with_name(f"{stem.name}.csv"),
            "certified": stem.with_name(f"{stem.name}-certified.csv"),
        }
        key = {"trajectory_sha256": record.sha256, "sample": list(config.sample)}
        path = self._files["key"]
        try:
            found = read_json(path) if path.exists() else None
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is damaged: delete {folder} to measure again") from error
        if found is None:
            save_json(key, path)
        elif found != key:
            raise InputError(
                f"{folder} has {record.name} measured on other snapshots, pairs, inputs or seed: "
                "choose another --out, or delete it"
            )
        self._config = config
        self.measured = _read(self._files["measured"], MEASURED, {"part": str})
        self.certified = _read(self._files["certified"], CERTIFIED, {"lower": str, "upper": str})

    def has(self, task: Task) -> bool:
        """Tell whether a piece of work is finished."""
        if task.kind == "certify":
            known = self.certified
            return bool(
                ((known["step"] == task.step) & (known["budget"] == self._config.certify)).any()
            )
        known = self.measured
        return bool(((known["source"] == task.kind) & (known["step"] == task.step)).any())

    def add(self, task: Task, rows: pd.DataFrame) -> None:
        """Keep a finished piece."""
        which = "certified" if task.kind == "certify" else "measured"
        known = getattr(self, which)
        table = pd.concat([known, rows], ignore_index=True) if len(known) else rows
        setattr(self, which, table)
        save_table(table, self._files[which])

    def collect(self, tasks: Sequence[Task]) -> pd.DataFrame:
        """Put the rows of the given pieces into one table, certified shares among the measures."""
        wanted = {(task.kind, task.step) for task in tasks}
        keys = zip(self.measured["source"], self.measured["step"], strict=True)
        parts = [self.measured[[key in wanted for key in keys]]]
        known = self.certified[self.certified["budget"] == self._config.certify]
        known = known[[("certify", step) in wanted for step in known["step"]]]
        if len(known):
            lower, upper = (
                np.array([int(x) / TOTAL for x in known[name]]) for name in ("lower", "upper")
            )
            parts.append(
                pd.DataFrame(
                    {
                        **{"source": "run", "step": known["step"].to_numpy()},
                        **{"measure": "certified", "part": ALL},
                        **{"value": lower, "low": lower, "high": upper},
                    }
                )
            )
        table = pd.concat(parts, ignore_index=True)
        return table.sort_values(["source", "step"], ascending=[False, True], kind="stable")


def do_all(tasks: Sequence[Task], config: Config, workers: int) -> Iterator[tuple[Task, Any]]:
    """Do all pieces of work, and give each back with its rows as it is finished."""
    with warnings.catch_warnings():
        # joblib replaces workers whose memory grew, and says so each time.
        warnings.filterwarnings("ignore", message="A worker stopped", category=UserWarning)
        pool = joblib.Parallel(
            n_jobs=min(workers, max(1, len(tasks))),
            return_as="generator_unordered",
            pre_dispatch="n_jobs",
            batch_size=1,
        )
        yield from pool(joblib.delayed(_do_numbered)(task, config) for task in tasks)


def _do_numbered(task: Task, config: Config) -> tuple[Task, pd.DataFrame]:
    return task, do_task(task, config)


@dataclass(frozen=True)
class Measurements:
    """Everything that was measured, which figures and onsets are computed from.

    Attributes:
        config: How.
        runs: The runs.
        table: Columns run, source ("run", or "random init" with its number for a step), step,
            measure, part, value, low, high.
        floors: `dynamics_measures.data_floors`.
        certified: Exact counts of right pairs: columns run, step, budget, lower, upper.
    """

    config: Config
    runs: tuple[RunRecord, ...]
    table: pd.DataFrame
    floors: pd.DataFrame
    certified: pd.DataFrame

    def write(self, folder: Path) -> None:
        """Write tables and records, from which `read` makes the same again."""
        save_table(self.table, folder / "measures.csv")
        save_table(self.floors, folder / "floors.csv")
        save_table(self.certified, folder / "certified.csv")
        content = {
            "config": asdict(self.config),
            "runs": [record.to_dict() for record in self.runs],
        }
        save_json(content, folder / "runs.json")

    @classmethod
    def read(cls, folder: Path) -> "Measurements":
        """Read what `write` wrote.

        Raises:
            InputError: A file is missing or damaged.
        """
        path = folder / "runs.json"
        try:
            content = read_json(path)
            config = Config(**content["config"])
            runs = tuple(RunRecord.from_dict(fields) for fields in content["runs"])
        except FileNotFoundError as error:
            raise InputError(f"{path} is missing: give a folder that this command wrote") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is damaged: measure again") from error
        text = {"part": str}
        tables = {
            "measures": _read(folder / "measures.csv", ["run", *MEASURED], text, must=True),
            "floors": _read(folder / "floors.csv", COLUMNS, text, must=True),
            "certified": _read(
                folder / "certified.csv",
                ["run", *CERTIFIED],
                {"lower": str, "upper": str},
                must=True,
            ),
        }
        return cls(config, runs, tables["measures"], tables["floors"], tables["certified"])


def gather(
    stores: dict[str, Store], tasks: Sequence[Task], runs: Sequence[RunRecord], config: Config
) -> Measurements:
    """Put the finished pieces of all runs into one result."""
    parts, counts = [], []
    for record in runs:
        own = [task for task in tasks if task.record == record]
        table = stores[record.name].collect(own)
        table.insert(0, "run", record.name)
        parts.append(table)
        steps = {task.step for task in own if task.kind == "certify"}
        known = stores[record.name].certified
        kept = known["step"].isin(steps) & (known["budget"] == config.certify)
        counts.append(known[kept].assign(run=record.name)[["run", *CERTIFIED]])
    return Measurements(
        config,
        tuple(runs),
        pd.concat(parts, ignore_index=True),
        data_floors(config),
        pd.concat([c for c in counts if len(c)] or counts[:1], ignore_index=True),
    )


def _read(
    path: Path, columns: list[str], types: dict[str, type], *, must: bool = False
) -> pd.DataFrame:
    """Read a table of ours; an empty one where the file is missing and need not be there."""
    if not path.exists() and not must:
        return pd.DataFrame(columns=columns)
    try:
        # Python's own reading of floats is exact, so that what is redrawn is what was drawn.
        exact = {name: float for name in ("value", "low", "high") if name in columns}
        table = pd.read_csv(open_regular(path), dtype=types, converters=exact)
        return table[columns]
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: give a folder that this command wrote") from error
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is damaged: delete it and measure again") from error
