"""Gallery: what each rank component is worth, beside random terms of the same norm."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses.gallery.about import MODEL, describe_model, number, subject_of, title_of
from analyses.gallery.figure import GalleryFigure, Source, Tables
from interp.anatomy import CANONICAL
from interp.output import TWO_COLUMNS, paper_style
from interp.rank_ablation import Job, Kind, Sizes, build_world, run_job, select, smaller
from model.checkpoint import read_checkpoint

SIZES = Sizes(uniform=4_000, stratified=800, reference=1_000, probed=1_000)
NULL_SUMS, DRAWS, TOLERANCE = 200, 20, 0.02
KINDS: tuple[Kind, ...] = ("zero", "mean")
KEPT = ["matrix", "component", "weight", "kind", "metric", "value", "low", "high"]
NULL = ["null_low", "null_median", "null_high"]
FLOOR = 1e-3


def compute(source: Source) -> Tables:
    """Remove every singular component of the canonical matrices in two ways, beside the null."""
    read = read_checkpoint(source.checkpoint)
    world = build_world(read.model, SIZES, source.seed, TOLERANCE)
    null_world = smaller(world, NULL_SUMS, NULL_SUMS // 2, SIZES.reference)
    jobs = [Job("single", m, "svd", kind) for m, kind in itertools.product(CANONICAL, KINDS)]
    found = [run_job(world, null_world, job, DRAWS) for job in jobs]
    rows = pd.concat([table for table in found if len(table)])
    intact = run_job(world, null_world, Job("intact"), 0)
    kl = select(rows, "kl")
    kept = pd.concat([select(rows, "exact"), kl[kl["stratum"] == "mean"]])
    about = describe_model(
        read,
        pairs=SIZES.uniform,
        probed=SIZES.probed,
        null_pairs=NULL_SUMS,
        draws=DRAWS,
        intact=float(select(intact, "exact")["value"].iloc[0]),
    )
    return {"ablations": kept[KEPT + NULL].reset_index(drop=True), MODEL: about}


def component_rows(table: pd.DataFrame) -> list[tuple[str, str]]:
    """List the components in the order of the matrices, largest first."""
    table = table.assign(component=table["component"].astype(str))
    return list(dict.fromkeys(zip(table["matrix"], table["component"], strict=True)))


def plot(tables: Tables) -> Figure:
    """Draw divergence and exact match without each component, bars for the null."""
    table = tables["ablations"]
    table = table.assign(component=table["component"].astype(str))
    rows = component_rows(table)
    with paper_style():
        figure, axes = plt.subplots(
            1, 2, figsize=(TWO_COLUMNS, 1.0 + 0.24 * len(rows)), sharey=True
        )
        for ax, metric in zip(axes, ("kl", "exact"), strict=True):
            _draw_metric(ax, table[table["metric"] == metric], rows)
        axes[0].set_xscale("log")
        axes[0].set_xlabel(f"KL(intact || ablated), nats a sum (floor {FLOOR:g})")
        axes[0].set_title("a  divergence", loc="left")
        axes[1].axvline(number(tables, "intact"), color="0.3", lw=0.8, ls=":")
        axes[1].set(xlabel="exact match (dotted: intact)", xlim=(-0.03, 1.03))
        axes[1].set_title("b  exact match", loc="left")
        _label(axes[0], table, rows)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        figure.suptitle(title_of(tables), x=0.01, ha="left", fontsize=8)
    return figure


def _draw_metric(ax: Axes, table: pd.DataFrame, rows: list[tuple[str, str]]) -> None:
    floor = FLOOR if (table["metric"] == "kl").all() else -np.inf
    for kind, shift, marker, colour in (
        ("zero", -0.18, "o", "C0"),
        ("mean", 0.18, "s", "C1"),
    ):
        part = table[table["kind"] == kind]
        y = (
            np.array(
                [rows.index(key) for key in zip(part["matrix"], part["component"], strict=True)]
            )
            + shift
        )
        shown = part[["value", "low", "high", *NULL]].clip(lower=floor)
        style = {"color": "0.8", "lw": 4, "zorder": 1}
        label = "random terms of equal norm, 5 to 95 %, median" if kind == "zero" else "_"
        ax.hlines(y, shown["null_low"], shown["null_high"], label=label, **style)
        ax.plot(shown["null_median"], y, "|", color="0.35", ms=4, mew=1, zorder=2)
        ax.hlines(y, shown["low"], shown["high"], color=colour, lw=1, zorder=3)
        label = "component set to zero" if kind == "zero" else "component set to its mean"
        ax.plot(shown["value"], y, marker, color=colour, ms=3.5, ls="none", label=label, zorder=4)
    ax.grid(axis="x", color="0.93", lw=0.6)
    ax.set_axisbelow(True)


def _label(ax: Axes, table: pd.DataFrame, rows: list[tuple[str, str]]) -> None:
    weight = table.drop_duplicates(["matrix", "component"]).set_index(["matrix", "component"])
    weight = weight["weight"].to_dict()
    names = [
        f"$W_{{\\mathrm{{{matrix.removeprefix('W_')}}}}}$  {part}  ({weight[matrix, part]:.3g})"
        for matrix, part in rows
    ]
    ax.set_yticks(range(len(rows)), names, fontsize=6.5)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    for other in ax.figure.axes:
        for place in range(1, len(rows)):
            if rows[place][0] != rows[place - 1][0]:
                other.axhline(place - 0.5, color="0.6", lw=0.6)


def caption(tables: Tables) -> str:
    """Word the figure from its tables."""
    table = tables["ablations"]
    kl = table[table["metric"] == "kl"]
    zero = kl[kl["kind"] == "zero"]
    least = zero.loc[zero["value"].idxmin()]
    exact = table[(table["metric"] == "exact") & (table["kind"] == "zero")]
    same = exact[
        (exact["matrix"] == least["matrix"])
        & (exact["component"].astype(str) == str(least["component"]))
    ].iloc[0]
    dead = int((exact["value"] == 0).sum())

    def compare(kind: str) -> str:
        rows = kl[kl["kind"] == kind]
        above = int((rows["value"] > rows["null_high"]).sum())
        below = int((rows["value"] < rows["null_low"]).sum())
        return f"{above} above it and {below} below it"

    return (
        f"What the rank components are worth, {subject_of(tables)}: singular components of W_pos, "
        "W_QK, W_OV, W_in and W_out with the norms' gains folded in. No change of gauge moves "
        "them. In brackets: the singular value; nearly equal ones are one block. Each is set to "
        "zero, or to its mean over sums, and later norms are recomputed. (a) Divergence per sum "
        "under the true digits, mean of "
        f"{number(tables, 'probed'):,.0f} uniform pairs; (b) exact match on "
        f"{number(tables, 'pairs'):,.0f} (intact: {number(tables, 'intact'):.4f}); bars: 95 % "
        "intervals. Grey: the control, a random term of equal rank and Frobenius norm removed "
        f"instead, {number(tables, 'draws'):.0f} draws on {number(tables, 'null_pairs'):,.0f} "
        "pairs. A component inside the grey range matters by its size alone. Of "
        f"{len(zero)} components set to zero, {compare('zero')}; set to their mean, "
        f"{compare('mean')}. Least missed at zero: {least['matrix']} {least['component']}, "
        f"{least['value']:.3g} nats, exact match {same['value']:.4f}; {dead} of {len(exact)} leave "
        "no sum right."
    )


FIGURES: tuple[GalleryFigure, ...] = (
    GalleryFigure(
        name="rank_components",
        title="What each rank component is worth, beside random terms of the same norm",
        group="mechanism",
        of_checkpoint=True,
        compute=compute,
        plot=plot,
        caption=caption,
    ),
)
