"""How does the certified error move during training? python -m interp.certify_trajectory 262p.

Certifies snapshots of a checkpoint's training run and samples the error rate of
each beside it. Sampling cannot see below one error in the sample; the certified interval can, but
it is wide where attention is not local yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure
from rich.progress import track
from tyro.conf import Positional

from interp.certify import CertifyConfig, certify, plot_trajectory
from interp.output import save_figure, save_table
from model.checkpoint import load, trajectory_steps
from model.decode import count_errors
from model.errors import InputError
from model.intervals import clopper_pearson
from model.shell import console, progress_console, run_command
from model.task import uniform_pairs


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which snapshots, and how much work for each.

    Raises:
        InputError: A number below 1.
    """

    snapshots: int = 15
    """How many snapshots, spread evenly; the last is always among them."""
    first_step: int = 0
    """Leave out snapshots before this step."""
    budget: int = 60_000
    """Cells that may be judged in each answer column."""
    pairs: int = 100_000
    """Pairs in the sample."""
    seed: int = 0
    """Seed of the sample."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("snapshots", "pairs"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: it must be 1 or more")


def choose_steps(steps: Sequence[int], config: Config) -> list[int]:
    """Choose evenly spaced snapshots up to the last.

    Raises:
        InputError: There is none.
    """
    late = [step for step in steps if step >= config.first_step]
    if not late:
        raise InputError(
            f"no snapshot from step {config.first_step} on: the checkpoint keeps no trajectory, "
            "or first-step is too large"
        )
    count = min(config.snapshots, len(late))
    last = len(late) - 1
    return [late[round((i + 1) * last / count)] for i in range(count)]


def run(checkpoint: str, config: Config) -> pd.DataFrame:
    """Certify and sample the chosen snapshots.

    Returns:
        One row per snapshot: step, certified error rates (real_lower, real_upper, float32_lower,
        float32_upper), sampled error rate with its 95 % Clopper-Pearson interval.
    """
    steps = choose_steps(trajectory_steps(checkpoint), config)
    a, b = uniform_pairs(config.pairs, torch.Generator().manual_seed(config.seed))
    rows = []
    budget = CertifyConfig(budget=config.budget, eos_budget=2)
    for step in track(steps, "certifying", console=progress_console, transient=True):
        model = load(f"{checkpoint}@{step}")
        certificate = certify(model, budget)
        errors = count_errors(model, a, b)
        low, high = clopper_pearson(errors, config.pairs)
        rows.append(
            [
                step,
                *certificate.real.error_rates,
                *certificate.float32.error_rates,
                errors / config.pairs,
                low,
                high,
            ]
        )
    names = ["real_lower", "real_upper", "float32_lower", "float32_upper"]
    return pd.DataFrame(rows, columns=["step", *names, "sampled", "sampled_low", "sampled_high"])


def plot(table: pd.DataFrame) -> Figure:
    """Draw certified and sampled error by step."""
    return plot_trajectory(table)


def trajectory(
    checkpoint: Positional[str],
    *,
    config: Config = Config(),
    out: Path | None = None,
) -> None:
    """Certify the snapshots of a training run, with sampled error beside.

    Args:
        checkpoint: Shipped name or folder with a trajectory.
        config: Snapshots and budgets.
        out: Folder for trajectory.csv and the figure; by default out/certify_trajectory/NAME.
    """
    table = run(checkpoint, config)
    folder = out or Path("out/certify_trajectory") / Path(checkpoint).name
    save_table(table, folder / "trajectory.csv")
    save_figure(plot(table), folder / "trajectory")
    for row in table.to_dict("records"):
        console.print(
            f"step {row['step']:.0f}: certified {row['real_lower']:.3e} to "
            f"{row['real_upper']:.3e}, "
            f"sampled {row['sampled']:.3e} ({row['sampled_low']:.1e} to {row['sampled_high']:.1e})",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"written to {folder}", highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        trajectory,
        argv,
        prog="python -m interp.certify_trajectory",
        example="python -m interp.certify_trajectory 262p",
    )
