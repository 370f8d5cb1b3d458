"""How do a run's measures move during training, and which moves first?

Question: does the carry appear before, with or after correct answers, and do failed seeds stop
short of it? Training data is drawn fresh at every step, so nothing can be memorised: what the
write-ups call grokking is called a delayed transition here.

Method: snapshots of each run are measured on the same fixed pairs (analyses.dynamics.measures):
exact match, loss and digit accuracy by column, attention, a carry probe given a_i + b_i beside its
floors, singular values that no gauge changes, and the certified count. Onsets follow a declared
rule (analyses.dynamics.onsets); changes of the recipe are marked, because they mimic transitions.
Several runs are classed by their own records (grokked or failed, with or without a curriculum)
and compared class by class. Controls: random initialisations, shuffled labels, the global probe,
what is possible without the carry, failed seeds, runs without a curriculum.

    python -m analyses.dynamics 262p-base
    python -m analyses.dynamics 262p-base runs/sweep-262p/s* --no-certify --workers 2
    python -m analyses.dynamics --redraw out/dynamics
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from analyses.dynamics.config import Config
from analyses.dynamics.figures import plot_columns, plot_measures, plot_onsets, plot_spectra
from analyses.dynamics.onsets import compare_order, summarise_onsets, tabulate_onsets
from analyses.dynamics.report import print_result
from analyses.dynamics.runs import RunRecord
from analyses.dynamics.store import Measurements, Store, do_all, gather, list_tasks
from interp.output import save_figure, save_table
from model.shell import DETAILS, progress_bar, write_atomic, write_details


@dataclass(frozen=True)
class Result:
    """What was measured and what follows from it.

    Attributes:
        measurements: The measurements.
        onsets: `dynamics_onsets.tabulate_onsets`.
        summary: `dynamics_onsets.summarise_onsets`.
        order: `dynamics_onsets.compare_order`.
    """

    measurements: Measurements
    onsets: pd.DataFrame
    summary: pd.DataFrame
    order: pd.DataFrame


def run(runs: Sequence[RunRecord], config: Config, keep: Path, workers: int = 1) -> Measurements:
    """Measure the chosen snapshots of every run, going on from what is already finished.

    Args:
        runs: The runs.
        config: How much is measured.
        keep: Folder of finished snapshots.
        workers: Processes.

    Raises:
        InputError: The folder holds other measurements.
    """
    stores = {record.name: Store(keep, record, config) for record in runs}
    tasks = [task for record in runs for task in list_tasks(record, config)]
    tasks.sort(key=lambda task: task.kind == "certify")
    pending = [task for task in tasks if not stores[task.record.name].has(task)]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with progress_bar(*columns, TimeRemainingColumn()) as bar:
        shown = bar.add_task("measuring", total=len(pending))
        for task, rows in do_all(pending, config, workers):
            stores[task.record.name].add(task, rows)
            bar.update(shown, advance=1, description=f"{task.record.name}@{task.step}")
    return gather(stores, tasks, runs, config)


def conclude(measurements: Measurements) -> Result:
    """Find onsets and their order; nothing is measured here."""
    onsets = tabulate_onsets(measurements.table, measurements.floors, measurements.runs)
    return Result(measurements, onsets, summarise_onsets(onsets), compare_order(onsets))


def plot(result: Result) -> dict[str, Figure]:
    """Draw every figure, by the name of its file."""
    measured = result.measurements
    return {
        "dynamics": plot_measures(measured.table, measured.floors, measured.runs),
        "columns": plot_columns(measured.table, measured.floors, measured.runs),
        "spectra": plot_spectra(measured.table, measured.runs),
        "onsets": plot_onsets(result.onsets, result.summary, measured.runs),
    }


def write_tables(result: Result, folder: Path) -> None:
    """Write tables and records."""
    result.measurements.write(folder)
    tables = (result.measurements, result.onsets, result.summary, result.order)
    write_atomic(folder / DETAILS, write_details(partial(print_result, *tables)))
    for name in ("onsets", "summary", "order"):
        save_table(getattr(result, name), folder / f"{name}.csv")


def write(result: Result, folder: Path) -> None:
    """Write tables, records and figures."""
    write_tables(result, folder)
    for name, figure in plot(result).items():
        save_figure(figure, folder / name)
