"""The studies behind the training tables: what each trains and compares with the write-ups.

The pairs of a seed are ours, not those of the write-ups' generator: seeds of equal number are not
the same run, so rates are compared, and single seeds only listed.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analyses.training_tables.figures import plot_rates, plot_seeds
from analyses.training_tables.published import (
    RATE_262,
    SEEDS_262,
    STEPS,
    TABLE_1,
    TABLE_5,
    TABLE_6,
    TABLE_6_RUNS,
    TABLE_7,
    UNNAMED_BELOW,
    PublishedRecord,
    PublishedRun,
)
from analyses.training_tables.sweeps import (
    Plan,
    Settings,
    compare_rate,
    count_above,
    examples_drawn,
    fetch_run,
    list_specs,
    p_value_between,
    plan_published,
    plan_restarts,
    rate,
    run_plan,
    scale_train,
)
from model.checkpoint import read_checkpoint
from model.config import preset as look_up_preset
from model.evaluation import evaluate, official_chunks, uniform_chunks
from model.intervals import clopper_pearson
from train.finetune import PUBLISHED_ROUNDS, choose_best, run_rounds
from train.options import read_rounds
from train.spec import FINETUNE

N_FRESH, FRESH_SEED = 1_000_000, 20_260_003
LEVELS = (0.9, 0.95, 0.99)
UNNAMED = TABLE_6_RUNS - len(TABLE_6)
SWEEP_SEEDS, SMALL_SWEEP = range(TABLE_6_RUNS), range(16)
RECORD_SEEDS = {"311p": tuple(SWEEP_SEEDS), "262p": tuple(run.seed for run in SEEDS_262)}
RESTART_SEEDS = {"311p": SMALL_SWEEP, "274p": range(8), "262p": SMALL_SWEEP}
"""Seeds of our recipe, of the shapes that it has been run on."""


@dataclass(frozen=True)
class Study:
    """One finished table.

    Attributes:
        table: Tidy rows.
        facts: What belongs beside them: rates, levels, recipes.
    """

    table: pd.DataFrame
    facts: dict[str, Any]


def compare_seeds(
    plan: Plan, published: tuple[PublishedRun, ...], n_published: int, settings: Settings
) -> Study:
    """Run one sweep and put its seeds beside published ones, with rates at several levels."""
    table = run_plan(plan, settings)
    ours = pd.DataFrame(
        {
            "source": "ours",
            "seed": table["seed"],
            "exact": table["best_exact"],
            "step": table["chosen_step"],
            "status": table["status"],
        }
    )
    theirs = pd.DataFrame(
        {
            "source": "published",
            "seed": [run.seed for run in published],
            "exact": [run.exact for run in published],
            "step": [run.step for run in published],
            "status": "as printed",
        }
    ).astype({"step": float})
    rates = []
    for level in LEVELS:
        hits = count_above(ours["exact"], level), count_above(theirs["exact"], level)
        row = {
            "above": level,
            **rate(hits[0], len(ours)),
            **rate(hits[1], n_published, "published_"),
        }
        p_value = p_value_between((hits[0], len(ours)), (hits[1], n_published))
        rates.append({**row, "p_value": p_value})
    facts = {"rates": rates, "recipe": list_specs(plan, settings)[0].train.to_dict()}
    return Study(pd.concat([ours.astype({"step": float}), theirs]), facts)


def run_table6(settings: Settings) -> Study:
    """Table 6 and Figure 5: 56 seeds of 311p."""
    return compare_seeds(plan_published("311p", SWEEP_SEEDS), TABLE_6, TABLE_6_RUNS, settings)


def run_seeds262(settings: Settings) -> Study:
    """The seed sweep of the 262p README."""
    plan = plan_published("262p", [run.seed for run in SEEDS_262])
    return compare_seeds(plan, SEEDS_262, len(SEEDS_262), settings)


def run_table7(settings: Settings) -> Study:
    """Table 7 and Figure 6: four configurations, as many seeds each as published."""
    rows = []
    for published in TABLE_7:
        table = run_plan(plan_published(published.preset, range(published.runs)), settings)
        n_params = look_up_preset(published.preset).n_params
        head = {"preset": published.preset, "recipe": "published", "n_params": n_params}
        rows.append({**head, **compare_rate(table, published)})
    return Study(pd.DataFrame(rows), {})


def run_recipe(settings: Settings) -> Study:
    """The published recipe beside ours, 262p and 311p, with what each costs."""
    rows, tests = [], {}
    for preset, published in (("262p", RATE_262), ("311p", TABLE_7[0])):
        counts = []
        for plan in (plan_published(preset, SMALL_SWEEP), plan_restarts(preset, SMALL_SWEEP)):
            table = run_plan(plan, settings)
            train = list_specs(plan, settings)[0].train
            found = compare_rate(table, published if plan.recipe == "published" else None)
            rows.append(
                {
                    "preset": preset,
                    "recipe": plan.recipe,
                    "n_params": look_up_preset(preset).n_params,
                    **found,
                    "mean_attempts": float(table["attempts"].mean()),
                    "mean_million_pairs": float(np.mean(examples_drawn(table, train))) / 1e6,
                }
            )
            counts.append((found["grokked"], found["runs"]))
        tests[preset] = p_value_between(*counts)
    return Study(pd.DataFrame(rows), {"p_value_between_recipes": tests})


def measure(checkpoint: str | Path) -> dict[str, Any]:
    """Count errors on the official 100,000 pairs and on fresh uniform ones."""
    model = read_checkpoint(checkpoint).model
    official = evaluate(model, official_chunks(), name="official")
    fresh = evaluate(model, uniform_chunks(N_FRESH, FRESH_SEED), name="fresh")
    row: dict[str, Any] = {}
    for name, found in (("official", official), ("fresh", fresh)):
        low, high = clopper_pearson(found.n - found.errors, found.n)
        row |= {f"{name}_errors": found.errors, f"{name}_pairs": found.n}
        row |= {f"{name}_exact_low": low, f"{name}_exact_high": high}
    return row


def run_fine_tuning(
    checkpoint: str, seeds: tuple[int, ...], folder: Path, settings: Settings
) -> tuple[pd.DataFrame, Path]:
    """Fine-tune in the report's three rounds."""
    configs = [
        scale_train(dataclasses.replace(FINETUNE, lr=lr, steps=steps), settings.scale)
        for lr, steps in read_rounds(PUBLISHED_ROUNDS)
    ]
    return run_rounds(checkpoint, configs, seeds, folder, workers=settings.workers)


def run_table5(settings: Settings) -> Study:
    """Table 5: three rounds of fine-tuning from a base, the best of each carried on."""
    seeds = settings.seeds or tuple(range(8))
    base = read_checkpoint(settings.base)
    folder = settings.runs / f"table5-{base.name}{settings.suffix}"
    tables, _ = run_fine_tuning(settings.base, seeds, folder, settings)
    rows = []
    for number, published in enumerate(TABLE_5):
        head: dict[str, Any] = {"stage": published.name, "n_params": base.model.config.n_params}
        checkpoint = settings.base
        if number:
            best = tables[(tables["round"] == number) & tables["best"]].iloc[0]
            checkpoint = str(folder / f"round-{number}" / f"s{best['seed']}")
            head |= {"tuned_seed": int(best["seed"]), "lr": float(best["lr"]), "runs": len(seeds)}
        rows.append({**head, **measure(checkpoint), "published_errors": published.errors})
    return Study(pd.DataFrame(rows), {"base": base.name, "seeds": list(seeds)})


def plan_record(record: PublishedRecord) -> list[Plan]:
    """Plan the sweeps that a record is looked for in: the published recipe's, and ours."""
    seeds = RECORD_SEEDS.get(record.preset, SMALL_SWEEP)
    plans = [plan_published(record.preset, seeds)]
    if record.preset in RESTART_SEEDS:
        plans.append(plan_restarts(record.preset, RESTART_SEEDS[record.preset]))
    return plans


def measure_record(plan: Plan, settings: Settings) -> dict[str, Any]:
    """Take the best run of a sweep, fine-tune it where it still errs, and measure the result."""
    table = run_plan(plan, settings)
    best = table.loc[choose_best(table)]
    checkpoint = fetch_run(plan, int(best["seed"]), settings)
    tuned = best["errors_uniform"] + best["errors_stratified"] > 0
    if tuned:
        name = plan.name.removesuffix("-published")
        folder = settings.runs / f"table1-{name}{settings.suffix}"
        seeds = settings.seeds or (0, 1, 2, 3)
        _, checkpoint = run_fine_tuning(str(checkpoint), seeds, folder, settings)
    return {
        "recipe": plan.recipe,
        **rate(count_above(table["best_exact"]), len(table)),
        "chosen_seed": int(best["seed"]),
        "fine_tuned": bool(tuned),
        **measure(checkpoint),
    }


def run_table1(settings: Settings) -> Study:
    """Table 1: the best trained model of every row that is ours to train.

    By the published recipe, and by ours for the shapes in `RESTART_SEEDS`.
    """
    rows = []
    for record in TABLE_1:
        head: dict[str, Any] = {
            "preset": record.preset,
            "n_params": look_up_preset(record.preset).n_params,
            "published": record.exact,
            "published_by": record.trained_by,
        }
        if record.trained_by == "prior art":
            rows.append(head)
        else:
            plans = plan_record(record)
            rows += [{**head, **measure_record(plan, settings)} for plan in plans]
    return Study(pd.DataFrame(rows), {"steps": STEPS, "rounds": PUBLISHED_ROUNDS})


STUDIES: dict[str, Callable[[Settings], Study]] = {
    "table1": run_table1,
    "table5": run_table5,
    "table6": run_table6,
    "table7": run_table7,
    "seeds262": run_seeds262,
    "recipe": run_recipe,
}
FIGURES: dict[str, tuple[str, Callable[[pd.DataFrame], Figure]]] = {
    "table6": ("figure5", partial(plot_seeds, unnamed=(UNNAMED, UNNAMED_BELOW))),
    "table7": ("figure6", plot_rates),
    "seeds262": ("seeds262", plot_seeds),
    "recipe": ("recipe", plot_rates),
}
"""Name of a table's figure, and what draws it from the saved table."""
