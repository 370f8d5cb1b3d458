"""Gallery: what each feed-forward unit computes over the digit sum and the digit before it."""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from analyses.gallery.about import MODEL, describe_model, number, subject_of, title_of
from analyses.gallery.figure import GalleryFigure, Source, Tables
from interp.anatomy import N_CLASSES, clean_run, fold
from interp.component_portrait import class_fit
from interp.output import TWO_COLUMNS, paper_style
from model.checkpoint import read_checkpoint
from model.dense import dense
from model.task import N_DIGITS, carries, digits, uniform_pairs

N_PAIRS = 10_000
COLUMNS = range(1, N_DIGITS)
"""Columns that have digits of their own and a digit before them."""
SHOWN_UNITS = 16
FEATURES = {
    "column": "column",
    "sum": "$S$",
    "before": "$s_{i-1}$",
    "sum_before": "$S, s_{i-1}$",
    "value": "$S + c_i$",
    "soft_value": "soft $u'$",
    "soft_value_column": "$u'$, column",
    "all": "all of these",
    "shuffled": "shuffled",
}
"""What a unit may follow: S = a_i + b_i, the digit before, the value with the carry, or soft."""


def column_classes(
    a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]
) -> dict[str, Int[Tensor, " n"]]:
    """Number what each of the columns holds, pair by pair.

    Returns:
        By feature: digit sum S (0 to 18), digit before, both; S + carry in; the soft place value
        u' = S + (a_{i-1} + b_{i-1} - s_{i-1}) / 10 in tenths, from 0 (that of -1 tenth) on, alone
        and with the column; the column; and all of these together.
    """
    i = list(COLUMNS)
    below = [column - 1 for column in i]
    total, answer = digits(a) + digits(b), digits(a + b)
    carry, _ = carries(a, b)
    S, before = total[:, i], answer[:, below]
    tenths = 10 * S + total[:, below] - before + 1
    column = torch.tensor(i).expand_as(S)
    found = {
        "column": column,
        "sum": S,
        "before": before,
        "sum_before": S * 10 + before,
        "value": S + carry[:, i],
        "soft_value": tenths,
        "soft_value_column": tenths * N_DIGITS + column,
        "all": (tenths * N_DIGITS + column) * N_DIGITS + before,
    }
    return {name: value.flatten() for name, value in found.items()}


def cell_means(
    values: Float[Tensor, "n unit"], classes: Int[Tensor, " n"], size: int
) -> Float[Tensor, "cell unit"]:
    """Average each unit over the examples of each class; NaN where there are none."""
    sums = values.new_zeros(size, values.shape[1]).index_add_(0, classes, values)
    return sums / torch.bincount(classes, minlength=size)[:, None]


def most_different(
    means: Mapping[int, Float[Tensor, "cell unit"]], weight: Float[Tensor, " unit"]
) -> tuple[int, int]:
    """Choose the two columns whose maps differ most, units weighed by what they write."""

    def distance(pair: tuple[int, int]) -> float:
        return float(((means[pair[0]] - means[pair[1]]) * weight).nan_to_num().norm())

    return max(itertools.combinations(means, 2), key=distance)


def compute(source: Source) -> Tables:
    """Average every unit over (digit sum, digit before), and say what explains its variance."""
    read = read_checkpoint(source.checkpoint)
    folded = fold(dense(read.model))
    generator = torch.Generator().manual_seed(source.seed)
    a, b = uniform_pairs(N_PAIRS, generator)
    run = clean_run(folded, (a, b))
    post = run.post[:, list(COLUMNS)].flatten(0, 1)
    classes = column_classes(a, b)
    order = torch.randperm(len(post), generator=generator)
    labels = {name: classes[name] for name in FEATURES if name != "shuffled"}
    labels["shuffled"] = classes["sum_before"][order]

    logits = (folded.W_out * folded.ln_final_w) @ folded.W_U[:, :N_DIGITS]
    reach = (logits - logits.mean(dim=1, keepdim=True)).norm(dim=1) * post.std(dim=0)
    ranked = reach.argsort(descending=True).tolist()
    cells = np.indices((N_CLASSES, N_DIGITS)).reshape(2, -1)
    means = {
        column: cell_means(post[chosen], classes["sum_before"][chosen], N_CLASSES * N_DIGITS)
        for column in COLUMNS
        for chosen in [classes["column"] == column]
    }
    mapped = most_different(means, reach / post.std(dim=0).clamp(min=1e-300))
    maps = [
        pd.DataFrame(
            {
                "unit": u,
                "column": column,
                "sum": cells[0],
                "before": cells[1],
                "activation": means[column][:, u].numpy(),
            }
        )
        for column in mapped
        for u in ranked
    ]
    explained = [
        {"unit": u, "feature": name, "eta2": class_fit(values, post[:, u])}
        for u in ranked
        for name, values in labels.items()
    ]
    units = pd.DataFrame(
        {
            "unit": ranked,
            "sd": post.std(dim=0)[ranked].numpy(),
            "reach": reach[ranked].numpy() / max(float(reach.sum()), 1e-300),
        }
    )
    about = describe_model(read, pairs=N_PAIRS, examples=len(post))
    return {
        "maps": pd.concat(maps),
        "explained": pd.DataFrame(explained),
        "units": units,
        MODEL: about,
    }


def plot(tables: Tables) -> Figure:
    """Draw a map for each unit (the most effective ones), then what explains it."""
    units = tables["units"].head(SHOWN_UNITS)
    per_row = 4 if len(units) > 3 else max(len(units), 1)
    rows = -(-len(units) // per_row)
    with paper_style():
        figure = plt.figure(figsize=(TWO_COLUMNS, 0.5 + 1.4 * rows + 0.55 + 0.16 * len(units)))
        outer = figure.add_gridspec(2, 1, height_ratios=[1.4 * rows, 0.55 + 0.16 * len(units)])
        _draw_maps(figure, outer[0], tables, units, (rows, per_row))
        _draw_explained(figure.add_subplot(outer[1]), tables["explained"], units["unit"].tolist())
        figure.suptitle(title_of(tables), x=0.01, ha="left", fontsize=8)
    return figure


def _draw_maps(
    figure: Figure,
    place: SubplotSpec,
    tables: Tables,
    units: pd.DataFrame,
    shape: tuple[int, int],
) -> None:
    grid = place.subgridspec(*shape)
    for at, row in enumerate(units.to_dict("records")):
        ax = figure.add_subplot(grid[at // shape[1], at % shape[1]])
        part = tables["maps"][tables["maps"]["unit"] == row["unit"]]
        values = part.pivot(index=["column", "before"], columns="sum", values="activation")
        ax.set_facecolor("0.88")
        image = ax.imshow(values, aspect="auto", cmap="viridis", origin="lower")
        bar = figure.colorbar(image, ax=ax, pad=0.02, aspect=12)
        bar.ax.tick_params(labelsize=5.5)
        bar.locator = MaxNLocator(3)
        bar.update_ticks()
        ax.set_xticks([0, 9, 18])
        ax.axhline(N_DIGITS - 0.5, color="white", lw=1.5)
        columns = sorted(part["column"].unique())
        ax.set_yticks([4.5, 14.5], [f"col. {column}" for column in columns], fontsize=5.5)
        ax.tick_params(axis="y", length=0)
        ax.set_title(f"unit {row['unit']:.0f}: {row['reach']:.0%}", loc="left", fontsize=7, pad=3)
        if at % shape[1] == 0:
            ax.set_ylabel("$s_{i-1}$ from 0 to 9", labelpad=1, fontsize=6.5)
        if at >= len(units) - shape[1]:
            ax.set_xlabel("$a_i + b_i$", labelpad=1)


def _draw_explained(ax: Axes, table: pd.DataFrame, units: Sequence[int]) -> None:
    wide = table.pivot(index="unit", columns="feature", values="eta2")
    wide = wide.loc[list(units), list(FEATURES)]
    ax.imshow(wide, aspect="auto", cmap="Blues", vmin=0, vmax=1.4)
    for (y, x), value in np.ndenumerate(wide.to_numpy()):
        ink = "white" if value > 0.85 else "0.15"
        text = f"{value:.3f}" if value < 0.9995 else "1.000"
        ax.text(x, y, text, ha="center", va="center", fontsize=6, color=ink)
    ax.set_xticks(range(len(FEATURES)), list(FEATURES.values()))
    ax.set_yticks(range(len(units)), [f"unit {u}" for u in units], fontsize=6)
    ax.tick_params(length=0)
    ax.set_title("share of each unit's variance that lies between the classes of", loc="left")


def caption(tables: Tables) -> str:
    """Word the figure from its tables."""
    units, explained = tables["units"], tables["explained"]
    weight = units.set_index("unit")["reach"]
    explained = explained.assign(part=explained["eta2"] * explained["unit"].map(weight))
    mean = explained.groupby("feature")["part"].sum()
    chance = (N_CLASSES * N_DIGITS - 1) / (number(tables, "examples") - 1)
    shown = min(len(units), SHOWN_UNITS)
    which = f"The {shown} units" if shown == len(units) else f"{shown} of {len(units)} units"
    low, high = sorted(tables["maps"]["column"].unique())
    return (
        f"What the feed-forward units compute, {subject_of(tables)}. {which}, those with the "
        "largest effect on the digits' logits first. Effect is the standard deviation of the unit "
        "times the length of the logits that it writes; percentages are shares of it. Maps: mean "
        "activation after the GELU by digit sum S = a_i + b_i and the answer digit before, in "
        f"columns {low} and {high}, whose maps differ most ({number(tables, 'pairs'):,.0f} uniform "
        "pairs, true digits fed back; grey: does not occur). Table: eta squared by class, columns "
        f"{COLUMNS[0]} to {COLUMNS[-1]} together. The soft place value is "
        "u' = S + (a_{i-1} + b_{i-1} - s_{i-1}) / 10, which is S + c_i - c_{i-1} / 10. Weighted by "
        f"effect: the column alone explains {mean['column']:.3f}, S and s_{{i-1}} "
        f"{mean['sum_before']:.3f}, S + c_i {mean['value']:.3f}, u' {mean['soft_value']:.3f}, u' "
        f"and the column {mean['soft_value_column']:.3f}; shuffled classes of (S, s_{{i-1}}) "
        f"{mean['shuffled']:.4f} (by chance {chance:.4f}). Units have no gauge but their order: "
        "the GELU fixes scale and sign."
    )


FIGURES: tuple[GalleryFigure, ...] = (
    GalleryFigure(
        name="ffn_units",
        title="What each feed-forward unit computes over the digit sum and the digit before",
        group="mechanism",
        of_checkpoint=True,
        compute=compute,
        plot=plot,
        caption=caption,
    ),
)
