"""Many seeds of one recipe.

Each run gives the same result as alone, whatever the number of workers. The store is one folder: a
folder for each run, sweep.csv with a row for each, and sweep.json with what they share.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from model.checkpoint import versions
from model.errors import InputError
from model.intervals import clopper_pearson
from model.reading import read_json
from model.shell import Output, console, is_cut_off, write_atomic
from train.run import GROKKED, RUN
from train.spec import RunSpec
from train.sweep.parallel import Job, run_jobs
from train.sweep.side_by_side import train_together
from train.sweep.watch import SweepView

COMMAND, KEPT = "python -m train.sweep", ("s*/*", "cases.csv")


def read_result(folder: Path, spec: RunSpec) -> dict[str, Any] | None:
    """Read what a run left; None where it is not complete. A damaged result is removed.

    Raises:
        InputError: The folder holds another run.
    """
    path = folder / RUN
    if not path.exists() or is_cut_off(folder):
        return None
    try:
        result = read_json(path)
        found = RunSpec.from_dict(result["spec"])
        tabulate_result(result)
    except (ValueError, KeyError, TypeError, OSError, AttributeError):
        path.unlink()
        return None
    if found != spec:
        raise InputError(f"{folder} holds another run: choose another --out, or delete it")
    return result


def tabulate_result(result: dict[str, Any]) -> dict[str, Any]:
    """Make one row of the sweep's table from a run's result."""
    best = result["best"] or {}
    measured = result.get("measured", {})
    return {
        "seed": result["spec"]["seed"],
        "status": result["status"],
        "last_step": result["step"],
        "attempts": result["attempts"],
        "steps_taken": result["steps_taken"],
        "best_exact": result["highest_exact"],
        "grok_step": result["grok_step"],
        "chosen_step": best.get("step"),
        "chosen_exact": best.get("exact"),
        "chosen_exact_hard": best.get("exact_hard"),
        "chosen_margin": best.get("margin"),
        "errors_uniform": measured.get("uniform", {}).get("errors"),
        "errors_stratified": measured.get("stratified", {}).get("errors"),
        "pairs_each": measured.get("uniform", {}).get("pairs"),
        "engine": result["engine"],
    }


def run_sweep(
    specs: Sequence[RunSpec],
    folder: Path,
    *,
    workers: int = 2,
    scheduler: str | None = None,
    report: Callable[[pd.DataFrame], None] | None = None,
    advance: Callable[[float], None] | None = None,
) -> pd.DataFrame:
    """Train every specification and keep one table of the results.

    Interrupted at any moment (the parent or a worker killed, a full disk, a damaged file), the same
    call resumes and ends with the same table.

    Args:
        specs: The runs; they differ in their seeds, and may differ in anything else.
        folder: The store; made if missing.
        workers: Processes on this machine.
        scheduler: Address of a Dask scheduler, tcp://HOST:PORT, instead of local processes.
        report: Called with the table whenever a run ends.
        advance: On a GPU, where all runs go on together, called with how many runs' worth of steps
            have been taken.

    Returns:
        One row a run, in the order of `specs`.

    Raises:
        InputError: The store cannot be written or is being filled by another process, the
            scheduler not reached, or there is no GPU.
    """
    with Output(folder, by=COMMAND, keeps=KEPT) as output, output.writing():
        return _run_sweep(specs, folder, workers, scheduler, report, advance)


def _run_sweep(
    specs: Sequence[RunSpec],
    folder: Path,
    workers: int,
    scheduler: str | None,
    report: Callable[[pd.DataFrame], None] | None,
    advance: Callable[[float], None] | None,
) -> pd.DataFrame:
    jobs = [Job(spec, folder / f"s{spec.seed}") for spec in specs]
    rows: dict[int, dict[str, Any]] = {}
    pending: list[Job] = []
    for index, job in enumerate(jobs):
        done = read_result(job.folder, job.spec)
        if done:
            rows[index] = tabulate_result(done)
        else:
            pending.append(job)

    def table() -> pd.DataFrame:
        return pd.DataFrame([rows[i] for i in sorted(rows)])

    if report and rows:
        report(table())
    if specs[0].device == "cuda":
        ended = train_together(
            pending,
            device="cuda",
            report=lambda share: advance(len(jobs) - len(pending) + share) if advance else None,
        )
    else:
        ended = run_jobs(pending, workers=workers, scheduler=scheduler)
    for job in ended:
        result = read_result(job.folder, job.spec)
        if result is None:
            raise InputError(f"{job.folder} was removed while the sweep ran: start it again")
        rows[jobs.index(job)] = tabulate_result(result)
        write_atomic(folder / "sweep.csv", table().to_csv(index=False))
        if report:
            report(table())
    final = table()
    write_atomic(folder / "sweep.csv", final.to_csv(index=False))
    write_atomic(folder / "sweep.json", json.dumps(_summary(specs, final), indent=2) + "\n")
    return final


def _summary(specs: Sequence[RunSpec], table: pd.DataFrame) -> dict[str, Any]:
    shared = dataclasses.replace(specs[0], seed=0).to_dict()
    grokked = int((table["best_exact"] > GROKKED).sum())
    return {
        "seeds": [spec.seed for spec in specs],
        "first_command": specs[0].command(),
        "spec": {key: value for key, value in shared.items() if key != "seed"},
        "n_params": specs[0].model.n_params,
        "grokked": grokked,
        "runs": len(table),
        "rate": grokked / len(table),
        "interval_95": clopper_pearson(grokked, len(table)),
        "versions": versions(),
    }


def show_table(table: pd.DataFrame, title: str) -> Table:
    """Lay a sweep's table out for the terminal."""
    view = Table(title=title, title_justify="left")
    columns = {
        "seed": "{:d}",
        "status": "{}",
        "last_step": "{:d}",
        "attempts": "{:d}",
        "best_exact": "{:.4f}",
        "grok_step": "{}",
        "errors_uniform": "{}",
        "errors_stratified": "{}",
    }
    for name in columns:
        view.add_column(name.replace("_", " "), justify="right")
    for row in table.to_dict("records"):
        style = "green" if row["best_exact"] > GROKKED else None
        cells = [
            "" if pd.isna(row[name]) else form.format(_whole(row[name]))
            for name, form in columns.items()
        ]
        view.add_row(*cells, style=style)
    return view


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() and value > 1 else value


def describe_rate(values: Iterable[float]) -> str:
    """Say how many runs grokked, with the interval of the rate."""
    exact = list(values)
    grokked = sum(value > GROKKED for value in exact)
    low, high = clopper_pearson(grokked, len(exact))
    return (
        f"{grokked} of {len(exact)} above {GROKKED:.0%} exact match "
        f"({grokked / len(exact):.0%}, 95 % interval {low:.0%} to {high:.0%})"
    )


def watch_sweep(
    specs: Sequence[RunSpec], folder: Path, *, workers: int, scheduler: str | None = None
) -> pd.DataFrame:
    """Run a sweep with a table that fills as runs end, and the time left."""
    with SweepView(folder.name, len(specs), show_table) as view:
        table = run_sweep(
            specs,
            folder,
            workers=workers,
            scheduler=scheduler,
            report=view.update,
            advance=view.advance,
        )
    console.print(show_table(table, folder.name))
    return table
