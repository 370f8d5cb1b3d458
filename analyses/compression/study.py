"""Does a rank that cannot be trained work after truncation and a short fine-tune?

Question: the report's Table 7 finds that 303, 295 and 271 parameters rarely or never learn to add
when they are trained from scratch, and concludes that rank 3 is the minimum viable rank. Is that a
limit of the network or of training?

Method: a trained network is cut to each smaller shape along the singular directions that it uses
least (interp.truncation), decoded as it is, fine-tuned for a few steps (train.finetune) and decoded
again. The control has the same shape, the same steps and the same seeds, but starts from random
weights: what it reaches is due to the steps and not to the start.

    python -m analyses.compression 311p
    python -m analyses.compression 311p --targets attn_out_rank=1 attn_out_rank=1,d_ff=4
"""

import dataclasses
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure
from rich.table import Table

from analyses.compression.config import Config, read_target
from interp.anatomy import clean_run, fold
from interp.output import TWO_COLUMNS, paper_style, save_figure, save_json, save_table
from interp.truncation import drop_units, second_moments, truncate
from model.adder import Adder
from model.checkpoint import save
from model.config import PRESETS
from model.decode import decode, teacher_forced
from model.dense import dense
from model.errors import InputError
from model.intervals import clopper_pearson
from model.shell import console, read_seeds
from model.task import uniform_pairs
from train.finetune import run_rounds
from train.spec import FINETUNE

TABLE_7 = {
    PRESETS["303p"]: ("2/56", "99.3 %"),
    PRESETS["295p"]: ("0/14", "7.8 %"),
    PRESETS["271p"]: ("0/14", "0.8 %"),
}
"""The report's Table 7, by shape: seeds that grokked from scratch, best validation score."""


@dataclass(frozen=True)
class Result:
    """One row per shape and start ("cut" or "random").

    Attributes:
        table: Parameters, exact match before and (best seed, by errors) after fine-tuning with 95 %
            intervals, how many seeds passed 99 %, and Table 7 where it has the shape.
    """

    table: pd.DataFrame


def cut_to(model: Adder, target: dict[str, int], seed: int = 0) -> Adder:
    """Cut a network to a smaller shape, weighting by data or not, whichever keeps more digits."""
    generator = torch.Generator().manual_seed(seed)
    pairs = uniform_pairs(2_000, generator)
    if "d_ff" in target:
        model = drop_units(model, target["d_ff"], pairs)
    ranks = {field: value for field, value in target.items() if field != "d_ff"}
    run = clean_run(fold(dense(model)), uniform_pairs(10_000, generator))
    cuts = [truncate(model, ranks, moments) for moments in (None, second_moments(model, run))]
    return max(cuts, key=lambda cut: int((~teacher_forced(cut, *pairs).wrong).sum()))


def is_smaller(model: Adder, target: dict[str, int]) -> bool:
    """Say whether a target can be cut from a network and differs from it."""
    have = {field: getattr(model.config, field) for field in target}
    return all(0 < target[x] <= have[x] for x in target) and target != have


def run(model: Adder, config: Config, folder: Path, *, source: str, workers: int = 2) -> Result:
    """Cut, fine-tune and decode every target; fine-tuned runs stay in `folder` and are reused.

    Args:
        model: The trained network.
        source: Its name, for the lineage of what is made from it.
        config: Which shapes, and how to fine-tune.
        folder: Where starts and runs are kept.
        workers: Processes.

    Raises:
        InputError: No target is smaller than the network.
    """
    pairs = uniform_pairs(config.pairs, torch.Generator().manual_seed(1))
    recipe = dataclasses.replace(FINETUNE, lr=config.lr, steps=config.steps)
    seeds = read_seeds(config.seeds)
    targets = [t for t in map(read_target, config.targets) if is_smaller(model, t)]
    if not targets:
        raise InputError("no target is smaller than this network: give others with --targets")
    rows = []
    for target in targets:
        cut = cut_to(model, target)
        for start, network in (("cut", cut), ("random", Adder(cut.config))):
            name = "-".join(f"{field}{value}" for field, value in target.items())
            place = folder / f"{name}-{start}-{config.steps}-{config.lr:g}"
            right = int(decode(network, *pairs).exact.sum())
            step = {"checkpoint": source, "operation": f"{name}, {start} weights"}
            save(place / "start", network, {"lineage": [step]})
            runs, _ = run_rounds(str(place / "start"), [recipe], seeds, place, workers=workers)
            rows.append(
                {"target": name, "start": start, "n_params": cut.config.n_params}
                | _rates("before", right, config.pairs)
                | _after(runs)
                | dict(zip(_PUBLISHED, TABLE_7.get(cut.config, ("", "")), strict=True))
            )
    return Result(
        pd.DataFrame(rows).sort_values(
            ["n_params", "target", "start"], ascending=[False, True, True]
        )
    )


_PUBLISHED = ("table_7_grokked", "table_7_best")


def _rates(when: str, right: int, n: int) -> dict[str, float]:
    low, high = clopper_pearson(right, n)
    return {when: right / n, f"{when}_low": low, f"{when}_high": high}


def _after(runs: pd.DataFrame) -> dict[str, Any]:
    """Summarise the fine-tuned seeds: the best by errors, and how many passed 99 %."""
    best = runs[runs["best"]].iloc[0]
    n = int(best["pairs_each"])
    exact = 1 - runs["errors_uniform"] / runs["pairs_each"]
    return _rates("after", n - int(best["errors_uniform"]), n) | {
        "after_errors": int(best["errors_uniform"]),
        "after_errors_stratified": int(best["errors_stratified"]),
        "n_after": n,
        "seeds": len(runs),
        "seeds_above_99": int((exact > 0.99).sum()),
    }


def plot(result: Result) -> Figure:
    """Draw exact match before and after fine-tuning, cut networks above their controls."""
    table = result.table
    shapes = list(dict.fromkeys(zip(table["n_params"], table["target"], strict=True)))
    with paper_style():
        figure, axes = plt.subplots(figsize=(TWO_COLUMNS * 0.75, 0.9 + 0.34 * len(shapes)))
        for place, (_, target) in enumerate(shapes):
            for start, colour, shift in (("cut", "C0", -0.13), ("random", "0.55", 0.16)):
                row = table[(table["target"] == target) & (table["start"] == start)].iloc[0]
                y = place + shift
                axes.plot([row["before"], row["after"]], [y, y], color=colour, lw=1.2)
                axes.plot(row["before"], y, "o", mfc="white", color=colour, ms=4)
                axes.plot(row["after"], y, "o", color=colour, ms=4)
                note = f"{row['after']:.5f}" if start == "cut" else f"{row['after']:.3f}"
                axes.text(1.03, y, note, fontsize=6, color=colour, va="center")
        labels = [f"{n} parameters\n{target.replace('-', ', ')}" for n, target in shapes]
        axes.set_yticks(range(len(shapes)), labels, fontsize=6)
        axes.invert_yaxis()
        axes.set(xlabel="exact match", xlim=(-0.03, 1.18), xticks=[0, 0.25, 0.5, 0.75, 1])
        for label, colour in (("cut from a trained network", "C0"), ("random weights", "0.55")):
            axes.plot([], [], "o-", color=colour, ms=4, lw=1.2, label=label)
        axes.plot([], [], "o", mfc="white", color="0.3", ms=4, label="before fine-tuning")
        figure.legend(frameon=False, loc="outside upper right", ncols=3, fontsize=6.5)
    return figure


def print_result(result: Result, name: str) -> None:
    """Print the table beside the report's."""
    shown = Table(title=f"{name}, cut and fine-tuned", title_justify="left")
    heads = ("n", "shape", "start", "before", "after", "95 %", "> 99 %", "Table 7")
    for head in heads:
        shown.add_column(head, no_wrap=head in ("before", "after"))
    shown.caption = "n: parameters; after: the best seed by errors; Table 7: seeds, best"
    for row in result.table.to_dict("records"):
        published = f"{row['table_7_grokked']}, {row['table_7_best']}"
        shown.add_row(
            str(row["n_params"]),
            row["target"],
            row["start"],
            f"{row['before']:.4f}",
            f"{row['after']:.5f}",
            f"{row['after_low']:.5f} to {row['after_high']:.5f}",
            f"{row['seeds_above_99']}/{row['seeds']}",
            published if row["table_7_grokked"] and row["start"] == "cut" else "",
        )
    console.print(shown)


def write(result: Result, name: str, config: Config, folder: Path) -> None:
    """Write table, settings and figure."""
    save_table(result.table, folder / "compression.csv")
    save_json({"checkpoint": name, "config": asdict(config)}, folder / "config.json")
    save_figure(plot(result), folder / "compression")
