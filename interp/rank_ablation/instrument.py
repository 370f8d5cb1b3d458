"""What each rank component does, however the factors were stored.

Question: which components of which matrix does the network need, for what, and which only training?

Method: every matrix is cut in a basis that no change of gauge moves (interp.anatomy), parts are
replaced (`kinds`) singly, as the last ones of a basis (truncation), in all subsets and in pairs
across matrices, and every metric (`metrics`) stands beside its null: random terms of the same
Frobenius norm. With the basis "raw" a test over random gauges (`gauge_spread`) shows what that
basis is worth.

    python -m interp.rank_ablation 262p
    python -m interp.rank_ablation 311p --matrix W_O W_OV --basis svd data --pairwise --subsets
    python -m interp.rank_ablation 262p --beside 274p 311p

An interrupted sweep goes on where it stopped: finished jobs lie in the output folder.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import joblib
import pandas as pd
from rich.console import Console

from interp.anatomy import missing, stem_of
from interp.output import save_figure, save_json, save_table
from interp.rank_ablation.config import Config
from interp.rank_ablation.figures import plot
from interp.rank_ablation.gauge_spread import gauge_spread
from interp.rank_ablation.sweep import Job, plan, run_job
from interp.rank_ablation.tables import print_ablations, print_gauges
from interp.rank_ablation.world import Sizes, World, build_world, smaller
from model.adder import Adder
from model.anyone import AnyAdder
from model.checkpoint import weights_sha256
from model.errors import InputError
from model.network import Network
from model.parts import OPTIONS
from model.reading import open_regular
from model.shell import DETAILS, progress_bar, write_atomic, write_details
from model.stored import hash_tensors


@dataclass(frozen=True)
class Result:
    """The sweep of one or several networks.

    Attributes:
        ablations: One row per (checkpoint, ablation, metric, stratum): value, 95 % interval,
            counts, and the 5, 50 and 95 % quantiles of the null.
        gauges: One row per (checkpoint, basis, matrix, component): how far exact match moves over
            random gauges; empty unless the basis "raw" was asked for.
        notes: What cannot be cut in a network and why, a line each.
    """

    ablations: pd.DataFrame
    gauges: pd.DataFrame
    notes: tuple[str, ...] = ()


def choose_sizes(pairs: int) -> Sizes:
    """Say how many sums everything is measured on."""
    return Sizes(pairs, pairs // 5, max(200, min(20_000, pairs // 5)), min(pairs, 2_000))


def plan_jobs(config: Config, known: Sequence[str]) -> list[Job]:
    """List the jobs of the sweep over those of the known matrices that are asked for."""
    names = [name for stem in config.matrix for name in known if stem_of(name) == stem]
    kinds = (names, config.basis, config.kind, config.norm)
    return plan(*kinds, subsets=config.subsets, pairs=config.pairwise)


def run(
    model: Adder | Network, config: Config, *, workers: int = 1, keep: Path | None = None
) -> Result:
    """Sweep one network.

    Args:
        model: Any network, or the trained parameters of one, which the basis "raw" needs.
        config: What to sweep.
        workers: Threads.
        keep: Folder where finished jobs are kept and looked for; None keeps nothing.

    Raises:
        InputError: The network has nothing of what is asked for.
    """
    world = build_world(model, choose_sizes(config.pairs), config.seed, config.block_tolerance)
    few = max(100, config.pairs // 100)
    null_world = smaller(world, few, few // 2, 2_000)
    jobs = plan_jobs(config, world.names)
    raw = "raw" in config.basis
    notes = missing(world.setting.folded, raw=raw and world.model is None)

    def work(job: Job) -> pd.DataFrame:
        path = None if keep is None else keep / f"{job.name}.parquet"
        if path is not None and path.exists():
            return pd.read_parquet(open_regular(path))
        table = run_job(world, null_world, job, config.draws)
        if path is not None:
            write_atomic(path, parquet_bytes(table))
        return table

    with progress_bar() as progress:
        task = progress.add_task("ablations", total=len(jobs))
        tables = []
        calls = (joblib.delayed(work)(job) for job in jobs)
        runner = joblib.Parallel(workers, prefer="threads", return_as="generator")
        for table in runner(calls):
            tables.append(table)
            progress.advance(task)
    found = [table for table in tables if len(table)]
    if len(found) == 1:
        why = " ".join(notes) or "It has no such matrix."
        raise InputError(f"nothing to cut with --matrix and --basis as given. {why}")
    gauges = pd.DataFrame()
    if raw:
        gauges = _cached_gauges(world, config, keep)
    return Result(pd.concat(found, ignore_index=True), gauges, tuple(notes))


def _cached_gauges(world: World, config: Config, keep: Path | None) -> pd.DataFrame:
    path = None if keep is None else keep / "gauges.parquet"
    if path is not None and path.exists():
        return pd.read_parquet(path)
    table = gauge_spread(world, config.matrix, config.gauges, n=max(100, config.pairs // 50))
    if path is not None:
        write_atomic(path, parquet_bytes(table))
    return table


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """Write a table as Parquet into memory, so that the file can be replaced atomically."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def job_folder(out: Path, model: Adder | Network, config: Config) -> Path:
    """Name the folder of finished jobs after everything that a job's numbers depend on."""
    fields = ("pairs", "seed", "draws", "gauges", "block_tolerance")
    shared = {field: getattr(config, field) for field in fields}
    if isinstance(model, Adder):
        weights = {"sha256": weights_sha256(model.params)}
    else:
        options = {name: repr(getattr(model, name)) for name in OPTIONS}
        weights = {"sha256": hash_tensors(model.tensors()), "options": options}
        weights["layout"] = model.layout.to_dict()
    key = json.dumps(shared | weights)
    return out / f"jobs-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def run_all(sources: Sequence[AnyAdder], config: Config, folder: Path, *, workers: int) -> Result:
    """Sweep several networks into one table; finished jobs are kept in `folder`."""
    results = []
    for source in sources:
        keep = job_folder(folder, source.trained, config)
        result = run(source.trained, config, workers=workers, keep=keep)
        for table in (result.ablations, result.gauges):
            table.insert(0, "checkpoint", source.name)
        results.append(result)
    return Result(
        pd.concat([r.ablations for r in results], ignore_index=True),
        pd.concat([r.gauges for r in results], ignore_index=True),
        tuple(dict.fromkeys(note for r in results for note in r.notes)),
    )


def write(result: Result, checkpoints: Sequence[str], config: Config, folder: Path) -> None:
    """Write tables, settings and figures."""
    write_atomic(folder / "ablations.parquet", parquet_bytes(result.ablations))
    exact = result.ablations["metric"].isin(["exact", *config.metric])
    save_table(result.ablations[exact], folder / "ablations.csv")
    if len(result.gauges):
        save_table(result.gauges, folder / "gauges.csv")
    content = {"checkpoints": list(checkpoints), "config": asdict(config)}
    content["notes"] = list(result.notes)
    save_json(content, folder / "config.json")
    write_atomic(folder / DETAILS, write_details(partial(show, result, config)))
    for name, figure in plot(result.ablations, config.metric).items():
        save_figure(figure, folder / name)


def show(result: Result, config: Config, to: Console) -> None:
    """Print the tables of a sweep."""
    for note in result.notes:
        to.print(note, highlight=False, markup=False)
    print_ablations(result.ablations, config.metric, to)
    print_gauges(result.gauges, to)
