"""What each rank component does, however the factors were stored.

Question: which components of which matrix does the network need, for what, and which only training?

Method: every matrix is cut in a basis that no change of gauge moves (interp.anatomy), parts are
replaced (`kinds`) singly, as the last ones of a basis (truncation), in all subsets and in pairs
across matrices, and every metric (`metrics`) stands beside its null: random terms of the same
Frobenius norm. With the basis "raw" a test over random gauges (`gauge_spread`) shows what that
basis is worth.

    python -m interp.rank_ablation 262p
    python -m interp.rank_ablation 311p --matrix W_O W_OV --basis svd data --pairs --subsets
    python -m interp.rank_ablation 262p --checkpoints 274p 311p

An interrupted sweep goes on where it stopped: finished jobs lie in the output folder.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import joblib
import pandas as pd
import tyro
from rich.progress import Progress
from tyro.conf import Positional

from interp.output import save_figure, save_json, save_table
from interp.rank_ablation.figures import plot
from interp.rank_ablation.gauge_spread import gauge_spread
from interp.rank_ablation.kinds import NormMode
from interp.rank_ablation.metrics import Metric
from interp.rank_ablation.positions import Kind
from interp.rank_ablation.sweep import Job, plan, run_job
from interp.rank_ablation.tables import print_ablations, print_gauges
from interp.rank_ablation.world import Sizes, World, build_world, smaller
from model.adder import Adder
from model.checkpoint import Checkpoint, read_checkpoint, weights_sha256
from model.errors import InputError
from model.shell import console, progress_console, run_command, write_atomic

Matrix = Literal[
    "W_pos",
    "W_QK",
    "W_OV",
    "W_Q",
    "W_KV",
    "W_K",
    "W_V",
    "W_O",
    "W_in",
    "W_out",
    "ln1",
    "ln2",
    "ln_final",
    "edges",
]
Cut = Literal["svd", "data", "raw", "unit"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to sweep.

    Raises:
        InputError: A name that does not exist, or a number out of range.
    """

    matrix: tuple[Matrix, ...] = get_args(Matrix)
    """What is cut; norms and edges have the basis "unit" only, and what a network or a basis lacks
    is passed over."""
    basis: tuple[Cut, ...] = ("svd",)
    """How matrices are cut: svd, data (weighted), raw (factors as stored), unit (neurons,
    positions, gains, edges by role)."""
    kind: tuple[Kind, ...] = get_args(Kind)
    """What replaces a single component: zero, mean, conditional, resample."""
    norm: tuple[NormMode, ...] = ("live",)
    """Whether later norms are recomputed (live) or keep the intact network's scale (frozen)."""
    metric: tuple[Metric, ...] = ("exact",)
    """What is printed and drawn; the table on disk holds every metric."""
    pairs: bool = False
    """Also remove pairs of components across matrices."""
    subsets: bool = False
    """Also remove every subset of a matrix's components (up to 8 of them)."""
    n: int = 100_000
    """Uniform sums per ablation; a fifth as many again are stratified by carry chain."""
    seed: int = 0
    """Seed of sums, donors and nulls."""
    draws: int = 20
    """Random terms of equal Frobenius norm per ablation, on a hundredth of the sums."""
    gauges: int = 100
    """Random gauges in the test that stands beside the basis "raw"."""
    block_tolerance: float = 0.02
    """Singular values closer than this, relatively, are one block."""

    def __post_init__(self) -> None:
        """Check every field."""
        choices = {
            "matrix": get_args(Matrix),
            "basis": get_args(Cut),
            "kind": get_args(Kind),
            "norm": get_args(NormMode),
            "metric": get_args(Metric),
        }
        for field, known in choices.items():
            chosen = getattr(self, field)
            for name in chosen:
                if name not in known:
                    raise InputError(f"--{field} {name!r} is unknown: use {', '.join(known)}")
            if not chosen:
                raise InputError(f"--{field} is empty: use one or more of {', '.join(known)}")
        for field, low in (("n", 100), ("seed", 0), ("draws", 1), ("gauges", 1)):
            if getattr(self, field) < low:
                raise InputError(f"--{field} is {getattr(self, field)}: it must be at least {low}")
        if not 0 <= self.block_tolerance < 1:
            raise InputError(f"--block-tolerance is {self.block_tolerance}: it must be in [0, 1)")

    @property
    def sizes(self) -> Sizes:
        """How many sums everything is measured on."""
        return Sizes(self.n, self.n // 5, max(200, min(20_000, self.n // 5)), min(self.n, 2_000))

    @property
    def jobs(self) -> list[Job]:
        """The jobs of the sweep."""
        return plan(
            self.matrix, self.basis, self.kind, self.norm, subsets=self.subsets, pairs=self.pairs
        )


@dataclass(frozen=True)
class Result:
    """The sweep of one or several networks.

    Attributes:
        ablations: One row per (checkpoint, ablation, metric, stratum): value, 95 % interval,
            counts, and the 5, 50 and 95 % quantiles of the null.
        gauges: One row per (checkpoint, basis, matrix, component): how far exact match moves over
            random gauges; empty unless the basis "raw" was asked for.
    """

    ablations: pd.DataFrame
    gauges: pd.DataFrame


def run(model: Adder, config: Config, *, workers: int = 1, keep: Path | None = None) -> Result:
    """Sweep one network.

    Args:
        model: The network.
        config: What to sweep.
        workers: Threads.
        keep: Folder where finished jobs are kept and looked for; None keeps nothing.
    """
    world = build_world(model, config.sizes, config.seed, config.block_tolerance)
    few = max(100, config.n // 100)
    null_world = smaller(world, few, few // 2, 2_000)
    jobs = config.jobs

    def work(job: Job) -> pd.DataFrame:
        path = None if keep is None else keep / f"{job.name}.parquet"
        if path is not None and path.exists():
            return pd.read_parquet(path)
        table = run_job(world, null_world, job, config.draws)
        if path is not None:
            write_atomic(path, parquet_bytes(table))
        return table

    with Progress(console=progress_console, transient=True) as progress:
        task = progress.add_task("ablations", total=len(jobs))
        tables = []
        calls = (joblib.delayed(work)(job) for job in jobs)
        runner = joblib.Parallel(workers, prefer="threads", return_as="generator")
        for table in runner(calls):
            tables.append(table)
            progress.advance(task)
    gauges = pd.DataFrame()
    if "raw" in config.basis:
        gauges = _cached_gauges(world, config, keep)
    return Result(pd.concat([t for t in tables if len(t)], ignore_index=True), gauges)


def _cached_gauges(world: World, config: Config, keep: Path | None) -> pd.DataFrame:
    path = None if keep is None else keep / "gauges.parquet"
    if path is not None and path.exists():
        return pd.read_parquet(path)
    table = gauge_spread(world, config.matrix, config.gauges, n=max(100, config.n // 50))
    if path is not None:
        write_atomic(path, parquet_bytes(table))
    return table


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """Write a table as Parquet into memory, so that the file can be replaced atomically."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def job_folder(out: Path, checkpoint: Checkpoint, config: Config) -> Path:
    """Name the folder of finished jobs after everything that a job's numbers depend on."""
    shared = {x: getattr(config, x) for x in ("n", "seed", "draws", "gauges", "block_tolerance")}
    key = json.dumps(shared | {"sha256": weights_sha256(checkpoint.model.params)})
    return out / f"jobs-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def ablate_checkpoint(
    checkpoint: Positional[str],
    config: Annotated[Config, tyro.conf.arg(name="")],
    checkpoints: tuple[str, ...] = (),
    out: Path = Path("out/rank_ablation"),
    workers: int = 2,
) -> None:
    """Remove the rank components of a network, in every way, beside random terms of equal norm.

    Args:
        checkpoint: Shipped name, folder, or published .pt file.
        config: What to sweep.
        checkpoints: Further checkpoints for the same table.
        out: Folder of the results; each first checkpoint gets its own in it.
        workers: Threads.
    """
    sources = [read_checkpoint(name) for name in (checkpoint, *checkpoints)]
    folder = out / sources[0].name
    results = []
    for source in sources:
        keep = job_folder(out / source.name, source, config)
        result = run(source.model, config, workers=workers, keep=keep)
        for table in (result.ablations, result.gauges):
            table.insert(0, "checkpoint", source.name)
        results.append(result)
    result = Result(
        pd.concat([r.ablations for r in results], ignore_index=True),
        pd.concat([r.gauges for r in results], ignore_index=True),
    )
    write_atomic(folder / "ablations.parquet", parquet_bytes(result.ablations))
    exact = result.ablations["metric"].isin(["exact", *config.metric])
    save_table(result.ablations[exact], folder / "ablations.csv")
    if len(result.gauges):
        save_table(result.gauges, folder / "gauges.csv")
    save_json(
        {"checkpoints": [s.name for s in sources], "config": asdict(config)}, folder / "config.json"
    )
    for name, figure in plot(result.ablations, config.metric).items():
        save_figure(figure, folder / name)
    print_ablations(result.ablations, config.metric)
    print_gauges(result.gauges)
    console.print(f"tables and figures: {folder}", highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        ablate_checkpoint,
        argv,
        prog="python -m interp.rank_ablation",
        example="python -m interp.rank_ablation 262p --matrix W_O W_OV --pairs",
    )
