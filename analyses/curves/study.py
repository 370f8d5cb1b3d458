"""Training curves kept small: the logs of several runs in one table, and their recipes.

    python -m analyses.curves training pipeline transition
    python -m analyses.curves training --take 311p-base

Figures of training are drawn from OUT/NAME.csv, so that they outlive the runs. NAME.json says for
each run what made it. A run is given as its folder, as a shipped checkpoint, or as the folder of a
sweep or of rounds of fine-tuning, out of which the runs are chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.claims import RESULTS
from interp.output import save_json, save_table
from model.checkpoint import CARD, read_checkpoint, versions
from model.config import ModelConfig
from model.errors import InputError
from model.reading import open_regular, read_json
from model.shell import console
from train.config import PUBLISHED, TrainConfig
from train.finetune import choose_best
from train.progress import LOG
from train.run import RUN
from train.sweep import tabulate_result
from train.validation import validation_pairs

CURVES = RESULTS / "curves"
ROWS = 200
"""Rows kept of each log at most."""
BEST = ("step", "exact", "exact_hard")
COLUMNS = ("run", "stage", "seed", "step", "loss", "lr", "exact", "exact_hard", "margin")


@dataclass(frozen=True, kw_only=True)
class CurveSet:
    """The curves of one figure.

    Attributes:
        stores: Folders below runs/, or shipped checkpoints, that they come from.
        all_seeds: Take every run of a sweep instead of its best.
        trained_by: Command that makes the runs.
    """

    stores: tuple[str, ...]
    all_seeds: bool = False
    trained_by: str


_TABLES = "python -m analyses.training_tables"
CURVE_SETS = {
    "training": CurveSet(stores=("sweep-311p-published",), trained_by=f"{_TABLES} table6"),
    "pipeline": CurveSet(stores=("table5-311p-base",), trained_by=f"{_TABLES} table5"),
    "transition": CurveSet(
        stores=("sweep-262p-published", "sweep-274p-published"),
        all_seeds=True,
        trained_by=f"{_TABLES} table1",
    ),
}
"""What is kept for each figure."""


def find_runs(store: str, *, all_seeds: bool = False) -> list[tuple[str, Path]]:
    """Name the runs that a folder or a shipped checkpoint stands for.

    Of a sweep the best run, or all of them; of rounds of fine-tuning the start and the best of each
    round, in order.

    Raises:
        InputError: It holds no finished run.
    """
    folder = Path(store)
    if (folder / "rounds.csv").exists():
        rounds = _read_table(folder / "rounds.csv", ("round", "seed", "best", "parent"))
        best = rounds[rounds["best"]].sort_values("round")
        start = find_runs(str(rounds["parent"].iloc[0]))
        names = [f"round-{row['round']}/s{row['seed']}" for row in best.to_dict("records")]
        return [*start, *((f"{folder.name}/{name}", folder / name) for name in names)]
    ended = sorted(folder.glob(f"s*/{RUN}"))
    if ended:
        table = _tabulate(ended)
        rows = table if all_seeds else table.loc[[choose_best(table)]]
        names = [f"s{seed}" for seed in rows["seed"]]
        return [(f"{folder.name}/{name}", folder / name) for name in names]
    if (folder / RUN).exists():
        return [("/".join(folder.parts[-2:]), folder)]
    try:
        read = read_checkpoint(store)
    except InputError as error:
        raise InputError(f"no finished run in {store}: {error}") from error
    return [(read.name, read.path)]


def read_run(name: str, folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Read what made a run, and its log.

    Returns:
        The run: name, stage (how many runs it descends from), shape, recipe and command; and the
        rows of its log, at most `ROWS` of them, evenly spaced and the last among them.

    Raises:
        InputError: A file is missing or damaged.
    """
    try:
        card = read_json(folder / CARD) if (folder / CARD).exists() else {}
        if (folder / RUN).exists():
            result = read_json(folder / RUN)
            keys = ("command", "attempts", "status", "best")
            made = {**result["spec"], **{key: result[key] for key in keys}}
        else:
            made = {"attempts": 1, "status": "shipped", **card, "model": card["config"]}
        run = {
            "run": name,
            "stage": max(len(card.get("lineage", ())) - 1, 0),
            "n_params": ModelConfig.from_dict(made["model"]).n_params,
            "seed": made["seed"],
            **{key: made[key] for key in ("status", "attempts", "command")},
            **{f"best_{key}": (made["best"] or {}).get(key) for key in BEST},
            **TrainConfig.from_dict(made["train"]).to_dict(),
            "lineage": [step.get("command", "") for step in card.get("lineage", ())],
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder} is no finished run: its {RUN} or {CARD} is damaged") from error
    log = _read_table(folder / LOG, COLUMNS[3:])
    stride = max(1, -(-len(log) // ROWS))
    log = log.iloc[::-1].iloc[::stride].iloc[::-1]
    return run, log.assign(run=name, stage=run["stage"], seed=run["seed"])[list(COLUMNS)]


def gather(stores: Sequence[str], *, all_seeds: bool = False) -> tuple[dict[str, Any], Any]:
    """Read the runs of several stores.

    Returns:
        What the JSON beside the table says, and the table.
    """
    read = [read_run(*found) for store in stores for found in find_runs(store, all_seeds=all_seeds)]
    if not any(len(log) for _, log in read):
        raise InputError(f"no run in {', '.join(stores)} has logged a step")
    uniform, hard = validation_pairs(int(read[0][0]["seed"]))
    facts = {
        "pairs_uniform": len(uniform[0]),
        "pairs_hard": len(hard[0]),
        "rows_at_most": ROWS,
        "runs": [run for run, _ in read],
        "versions": versions(),
    }
    return facts, pd.concat([log for _, log in read if len(log)], ignore_index=True)


def keep(facts: dict[str, Any], table: pd.DataFrame, path: Path) -> None:
    """Write curves with six digits, and what made them."""
    digits = table.map(lambda x: float(f"{x:.6g}") if isinstance(x, float) else x)
    save_table(digits, path)
    save_json(facts, path.with_suffix(".json"))


def read_curves(path: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Read curves that were kept: what the JSON says, and the table.

    Raises:
        InputError: One of the two files is missing or damaged.
    """
    table = _read_table(path, COLUMNS)
    try:
        facts = read_json(path.with_suffix(".json"))
        keys = {"run", "stage", "n_params", "attempts", *PUBLISHED.to_dict()}
        keys |= {f"best_{key}" for key in BEST}
        assert {"pairs_uniform", "pairs_hard"} <= facts.keys()
        assert all(keys <= run.keys() for run in facts["runs"])
        assert set(table["run"]) <= {run["run"] for run in facts["runs"]}
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise InputError(f"{path} and its JSON do not belong together: {how_to(path)}") from error
    return facts, table


def how_to(path: Path) -> str:
    """Say how kept curves are made."""
    name = path.stem
    if name not in CURVE_SETS:
        return "make them with python -m analyses.curves"
    where = "" if path.parent == CURVES else f" --out {path.parent}"
    trained_by = CURVE_SETS[name].trained_by
    return f"run {trained_by}, then python -m analyses.curves {name}{where}"


def _tabulate(results: Sequence[Path]) -> pd.DataFrame:
    """Tabulate a sweep from its runs: sweep.csv has only those of the last command."""
    rows = []
    for path in results:
        try:
            rows.append(tabulate_result(read_json(path)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is damaged: train the run again") from error
    return pd.DataFrame(rows).sort_values("seed", ignore_index=True)


def _read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(open_regular(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or damaged: copy or make it again") from error
    lacking = [name for name in columns if name not in table]
    if lacking:
        raise InputError(f"{path} has no column {lacking[0]!r}: copy or make it again")
    return table


def keep_set(name: str, take: Sequence[str], all_seeds: bool, runs: Path, out: Path) -> None:
    """Keep the curves of one figure."""
    wanted = CURVE_SETS[name]
    stores = take or tuple(str(runs / store) for store in wanted.stores)
    missing = [store for store in stores if not take and not Path(store).exists()]
    if missing:
        raise InputError(f"{missing[0]} is not there: run {wanted.trained_by} first")
    facts, table = gather(stores, all_seeds=all_seeds if take else wanted.all_seeds)
    words = ["--take", *take] if take else []
    words += ["--all-seeds"] if take and all_seeds else []
    command = " ".join(["python -m analyses.curves", name, *words])
    keep({"command": command, **facts}, table, out / f"{name}.csv")
    n_runs = len(facts["runs"])
    text = f"{out / name}.csv: {n_runs} runs, {len(table)} rows"
    console.print(text, highlight=False, soft_wrap=True)
