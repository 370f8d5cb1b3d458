"""Figures of rates and rounds: errors by round, seed sweeps, configurations, recipes.

Drawn from the tables that `python -m analyses.training_tables` makes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from analyses.claims import RESULTS
from analyses.gallery.figure import GalleryFigure, MissingResults, Source, Tables
from analyses.training_tables import UNNAMED_BELOW, plot_rates, plot_seeds
from interp.output import ONE_COLUMN, paper_style
from model.errors import InputError
from model.intervals import clopper_pearson
from model.reading import open_regular, read_json
from train.run import GROKKED

PER = 100_000
"""Errors are drawn per so many pairs: the size of the published test."""
ROUND_STYLES = {
    "ours, official pairs": ("o", "C0", -0.16),
    "ours, fresh pairs": ("s", "C1", 0.0),
    "report, official pairs": ("D", "0.25", 0.16),
}
"""Marker, colour and horizontal shift of each series of errors."""


def describe_command(name: str, results: Path) -> str:
    """Say which command makes a table."""
    where = "" if results == RESULTS else f" --out {results}"
    return f"python -m analyses.training_tables {name}{where}"


def name_tables(name: str) -> Callable[[Source], list[Path]]:
    """Name the two files of a training table, once they are there."""

    def reads(source: Source) -> list[Path]:
        paths = [source.results / f"{name}.csv", source.results / f"{name}.json"]
        for path in paths:
            if not path.exists():
                how = describe_command(name, source.results)
                raise MissingResults(f"{path} is not there: run {how}")
        return paths

    return reads


def read_result(
    name: str, source: Source, columns: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a training table and what stands beside it.

    Raises:
        InputError: One of the two is damaged.
    """
    path, beside = name_tables(name)(source)
    try:
        table, facts = pd.read_csv(open_regular(path)), read_json(beside)
        lacking = [column for column in columns if column not in table]
        if lacking or table.empty or not isinstance(facts, dict):
            raise ValueError(f"no {lacking}")
    except (OSError, ValueError) as error:
        how = describe_command(name, source.results)
        raise InputError(f"{path} or its JSON is damaged: delete both and run {how}") from error
    return table, facts


# Errors by round (Figure 4)


def compute_rounds(source: Source) -> Tables:
    """Count errors after every stage: ours on two sets of pairs, and the report's."""
    names = ("stage", "official_errors", "official_pairs", "fresh_errors", "fresh_pairs")
    table, facts = read_result("table5", source, (*names, "published_errors"))
    rows = []
    for stage in table.to_dict("records"):
        counts = (
            (int(stage["official_errors"]), int(stage["official_pairs"])),
            (int(stage["fresh_errors"]), int(stage["fresh_pairs"])),
            (int(stage["published_errors"]), PER),
        )
        for series, (errors, pairs) in zip(ROUND_STYLES, counts, strict=True):
            low, high = clopper_pearson(errors, pairs)
            row = {"stage": stage["stage"], "series": series, "errors": errors, "pairs": pairs}
            rows.append({**row, "rate": errors / pairs, "low": low, "high": high})
    about = pd.DataFrame({"base": [facts.get("base")], "seeds": [len(facts.get("seeds", ()))]})
    return {"errors": pd.DataFrame(rows), "about": about}


def plot_rounds(tables: Tables) -> Figure:
    """Draw errors per 100,000 pairs by stage; where there are none, the bound of the interval."""
    errors = tables["errors"]
    stages = list(dict.fromkeys(errors["stage"]))
    with paper_style():
        figure, axis = plt.subplots(figsize=(ONE_COLUMN, 2.9))
        for series, rows in errors.groupby("series", sort=False):
            marker, color, shift = ROUND_STYLES[str(series)]
            for row in rows.to_dict("records"):
                place = stages.index(row["stage"]) + shift
                low, rate, high = (PER * row[name] for name in ("low", "rate", "high"))
                if row["errors"]:
                    axis.vlines(place, low, high, color=color, lw=1)
                    axis.plot(place, rate, marker, color=color, ms=4)
                else:
                    axis.annotate("", (place, high / 4), (place, high), arrowprops={
                        "arrowstyle": "->", "color": color, "lw": 0.9, "shrinkA": 0})  # fmt: skip
                    axis.plot(place, high, marker, color=color, mfc="white", ms=4)
            axis.plot([], [], marker, color=color, ms=4, label=str(series))
        axis.set_yscale("log")
        axis.set_xticks(range(len(stages)), stages)
        axis.set_xlim(-0.5, len(stages) - 0.5)
        axis.set_ylabel(f"errors per {PER:,} pairs")
        axis.legend(
            frameon=False, loc="lower center", bbox_to_anchor=(0.45, 1.0), handletextpad=0.2
        )
        sns.despine(figure)
    return figure


def caption_rounds(tables: Tables) -> str:
    """Word the errors of every stage."""
    errors, about = tables["errors"], tables["about"].iloc[0]
    parts = []
    for stage, rows in errors.groupby("stage", sort=False):
        counts = ", ".join(
            f"{row['errors']:,} of {row['pairs']:,} ({row['series']})"
            for row in rows.to_dict("records")
        )
        parts.append(f"{stage}: {counts}")
    empty = (errors["errors"] == 0).any()
    zero = "; an arrow from an open marker: no error, drawn at its upper bound" if empty else ""
    return (
        f"Errors per {PER:,} pairs after each round of fine-tuning from {about['base']} (best of "
        f"{about['seeds']} seeds carried on), with 95 % Clopper-Pearson intervals{zero}. "
        + ". ".join(parts)
        + ". The report gives the errors of its base as approximate."
    )


# Seed sweeps (Figure 5, and the table of the 262p README)


def compute_seeds(name: str) -> Callable[[Source], Tables]:
    """Take the seeds of a sweep of ours, the published ones and the rates of both."""

    def compute(source: Source) -> Tables:
        table, facts = read_result(name, source, ("source", "seed", "exact", "step", "status"))
        try:
            rates = pd.DataFrame(facts["rates"])
            assert {"above", "grokked", "runs", "published_runs", "p_value"} <= set(rates.columns)
        except (KeyError, ValueError, AssertionError) as error:
            how = describe_command(name, source.results)
            raise InputError(f"{name}.json has no rates: run {how} again") from error
        steps = facts.get("recipe", {}).get("steps")
        return {"seeds": table, "rates": rates.assign(steps=steps)}

    return compute


def _count_unnamed(tables: Tables) -> int:
    named = (tables["seeds"]["source"] == "published").sum()
    return int(tables["rates"]["published_runs"].iloc[0] - named)


def draw_seeds(tables: Tables) -> Figure:
    """Draw both sweeps, sorted."""
    return plot_seeds(tables["seeds"], (_count_unnamed(tables), UNNAMED_BELOW))


def caption_seeds(tables: Tables) -> str:
    """Word how many seeds pass each level, beside the published count."""
    seeds, rates, unnamed = tables["seeds"], tables["rates"], _count_unnamed(tables)
    ours = seeds[seeds["source"] == "ours"]
    parts = [
        f"above {row['above']:.0%}: {row['grokked']:.0f} of {row['runs']:.0f} of ours "
        f"({row['low']:.0%} to {row['high']:.0%}), {row['published_grokked']:.0f} of "
        f"{row['published_runs']:.0f} published ({row['published_low']:.0%} to "
        f"{row['published_high']:.0%}), p = {row['p_value']:.2g}"
        for row in rates.to_dict("records")
    ]
    best = ours.loc[ours["exact"].idxmax()]
    steps = f", {rates['steps'].iloc[0]:,.0f} steps each" if rates["steps"].notna().all() else ""
    stopped = int((ours["status"] == "stopped").sum())
    early = f"; {stopped} stopped early where their loss stayed high" if stopped else ""
    shade = f" Shaded: the {unnamed} seeds that the write-up does not name." if unnamed else ""
    return (
        f"Best validation exact match of {len(ours)} seeds of ours by the published recipe{steps}"
        f"{early}, and of the published sweep; dotted: {GROKKED:.0%}.{shade} Seeds of equal "
        "number are not the same run. With 95 % Clopper-Pearson intervals and Fisher's exact test, "
        + "; ".join(parts)
        + f". Our best seed, {best['seed']}, reaches {best['exact']:.2%}."
    )


# Configurations and recipes (Figure 6)


def compute_rates(name: str) -> Callable[[Source], Tables]:
    """Take the grok rates of a table, ours and the published."""

    def compute(source: Source) -> Tables:
        names = ("rate", "low", "high", "grokked", "runs")
        columns = ("preset", "recipe", "n_params", *names, *(f"published_{x}" for x in names))
        table, facts = read_result(name, source, columns)
        tests = facts.get("p_value_between_recipes", {})
        between = pd.DataFrame({"preset": list(tests), "p_value": list(tests.values())})
        return {"rates": table, "recipes_differ": between}

    return compute


def draw_rates(tables: Tables) -> Figure:
    """Draw rates and parameter counts."""
    return plot_rates(tables["rates"])


def caption_rates(tables: Tables) -> str:
    """Word each rate beside the published one."""
    parts = []
    for row in tables["rates"].to_dict("records"):
        text = (
            f"{row['preset']} ({row['recipe']} recipe) {row['grokked']:.0f} of {row['runs']:.0f} "
            f"({row['low']:.0%} to {row['high']:.0%})"
        )
        if pd.notna(row["published_rate"]):
            text += f", published {row['published_grokked']:.0f} of {row['published_runs']:.0f}"
        if pd.notna(row.get("p_value", np.nan)):
            text += f" (p = {row['p_value']:.2g})"
        parts.append(text)
    between = "; ".join(
        f"{row['preset']} p = {row['p_value']:.2g}"
        for row in tables["recipes_differ"].to_dict("records")
    )
    return (
        f"Share of seeds above {GROKKED:.0%} exact match, with 95 % Clopper-Pearson intervals, and "
        "parameters of each network. " + "; ".join(parts) + ". p: Fisher's exact test against the "
        "published count." + (f" Between the two recipes: {between}." if between else "")
    )


def _make(
    name: str,
    table: str,
    title: str,
    compute: Callable[[Source], Tables],
    plot: Callable[[Tables], Figure],
    caption: Callable[[Tables], str],
) -> GalleryFigure:
    return GalleryFigure(
        name=name,
        title=title,
        group="write-ups",
        of_checkpoint=False,
        compute=compute,
        plot=plot,
        caption=caption,
        reads=name_tables(table),
    )


_SEEDS, _RATES = (draw_seeds, caption_seeds), (draw_rates, caption_rates)
FIGURES: tuple[GalleryFigure, ...] = (
    _make(
        "errors_by_round",
        "table5",
        "Errors after each round of fine-tuning (report, Figure 4)",
        compute_rounds,
        plot_rounds,
        caption_rounds,
    ),
    _make(
        "seed_sweep",
        "table6",
        "Best exact match of every seed of 311p (report, Figure 5)",
        compute_seeds("table6"),
        *_SEEDS,
    ),
    _make(
        "seed_sweep_262p",
        "seeds262",
        "Best exact match of every seed of 262p (262p README)",
        compute_seeds("seeds262"),
        *_SEEDS,
    ),
    _make(
        "configurations",
        "table7",
        "Grok rate of each configuration (report, Figure 6)",
        compute_rates("table7"),
        *_RATES,
    ),
    _make(
        "recipes",
        "recipe",
        "Grok rate of the published recipe and of ours",
        compute_rates("recipe"),
        *_RATES,
    ),
)
