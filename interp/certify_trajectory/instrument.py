"""How does the certified error move during training? python -m interp.certify_trajectory 262p.

Certifies snapshots of a checkpoint's training run and samples the error rate of
each beside it. Sampling cannot see below one error in the sample; the certified interval can, but
it is wide where attention is not local yet.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure

from interp.certify import CertifyConfig, certify, plot_trajectory
from interp.certify_trajectory.config import Config
from interp.output import save_figure, save_table
from model.checkpoint import load, trajectory_steps
from model.decode import count_errors
from model.errors import InputError
from model.intervals import clopper_pearson
from model.shell import console, follow
from model.task import uniform_pairs


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
    for step in follow(steps, "certifying"):
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


def write(table: pd.DataFrame, folder: Path) -> None:
    """Write the table and its figure."""
    save_table(table, folder / "trajectory.csv")
    save_figure(plot(table), folder / "trajectory")


def show(table: pd.DataFrame) -> None:
    """Print a line for each snapshot."""
    for row in table.to_dict("records"):
        console.print(
            f"step {row['step']:.0f}: certified {row['real_lower']:.3e} to "
            f"{row['real_upper']:.3e}, "
            f"sampled {row['sampled']:.3e} ({row['sampled_low']:.1e} to {row['sampled_high']:.1e})",
            highlight=False,
            soft_wrap=True,
        )
