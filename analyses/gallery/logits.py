"""Gallery: the logits of a column along its value, with the true carry and with the soft one."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from analyses.gallery.about import MODEL, describe_model, number, subject_of, title_of
from analyses.gallery.figure import GalleryFigure, Source, Tables
from analyses.gallery.units import COLUMNS, column_classes
from interp.anatomy import clean_run, fold
from interp.component_portrait import class_fit
from interp.output import TWO_COLUMNS, paper_style
from model.checkpoint import read_checkpoint
from model.dense import dense
from model.task import N_DIGITS, N_PROMPT, uniform_pairs

N_PAIRS = 10_000
FLOOR = 1e-3
ACCOUNTS = {
    "shuffled": "$u'$ of another example",
    "column": "column alone",
    "sum": "$S = a_i + b_i$",
    "value": "$u = S + c_i$",
    "value_chance": "$u$ and a shuffled $c_{i-1}$",
    "soft_value": "$u' = u - c_{i-1}/10$",
    "value_column": "$u$ and column",
    "soft_value_column": "$u'$ and column",
}
"""What the logits may be a function of, from little to much."""


def unexplained(values: Float[Tensor, "n token"], classes: Int[Tensor, " n"]) -> float:
    """Share of the variance of all tokens together that lies within classes."""
    variance = values.var(dim=0, correction=0)
    total = float(variance.sum())
    if total == 0:
        return 0.0
    within = [
        float(variance[t]) * (1 - class_fit(classes, values[:, t])) for t in range(values.shape[1])
    ]
    return sum(within) / total


def compute(source: Source) -> Tables:
    """Group the logits of the columns by value, carry below and column."""
    read = read_checkpoint(source.checkpoint)
    generator = torch.Generator().manual_seed(source.seed)
    a, b = uniform_pairs(N_PAIRS, generator)
    run = clean_run(fold(dense(read.model)), (a, b))
    i = list(COLUMNS)
    logits, true = (
        run.logits[:, i].flatten(0, 1),
        run.tokens[:, [N_PROMPT + c for c in i]].flatten(),
    )
    rival = logits.scatter(1, true[:, None], float("-inf")).max(dim=1).values
    margin = logits.gather(1, true[:, None])[:, 0] - rival
    digits = logits[:, :N_DIGITS] - logits[:, :N_DIGITS].mean(dim=1, keepdim=True)

    classes = column_classes(a, b)
    u, column = classes["value"], classes["column"]
    below = 10 * u - (classes["soft_value"] - 1)  # u' = u - c_{i-1} / 10
    order = torch.randperm(len(u), generator=generator)
    labels = {
        "shuffled": classes["soft_value"][order],
        "column": column,
        "sum": classes["sum"],
        "value": u,
        "value_chance": 2 * u + below[order],
        "soft_value": classes["soft_value"],
        "value_column": u * N_DIGITS + column,
        "soft_value_column": classes["soft_value_column"],
    }
    frame = pd.DataFrame(digits.numpy(), columns=range(N_DIGITS))
    frame = frame.assign(u=u.numpy(), carry_below=below.numpy())
    long = frame.melt(["u", "carry_below"], var_name="token", value_name="logit")
    grouped = long.groupby(["u", "carry_below", "token"])["logit"]
    curves = grouped.agg(["mean", "std", "size"]).rename(columns={"size": "n"}).reset_index()
    margins = pd.DataFrame({"u": u, "carry_below": below, "margin": margin.numpy()})
    by_value = margins.groupby(["u", "carry_below"])["margin"]
    spread = by_value.quantile([0.05, 0.5, 0.95]).unstack()
    spread.columns = ["q05", "median", "q95"]
    spread = spread.assign(least=by_value.min(), n=by_value.size()).reset_index()
    accounts = [{"account": k, "unexplained": unexplained(digits, v)} for k, v in labels.items()]
    about = describe_model(read, pairs=N_PAIRS, examples=len(u), wrong=int((margin < 0).sum()))
    return {
        "logits": curves,
        "margins": spread,
        "accounts": pd.DataFrame(accounts),
        MODEL: about,
    }


def plot(tables: Tables) -> Figure:
    """Draw digit logits along u, margins along u', and what is left unexplained."""
    with paper_style():
        figure = plt.figure(figsize=(TWO_COLUMNS, 4.7))
        grid = figure.add_gridspec(2, 2, height_ratios=[1.25, 1])
        _draw_logits(figure.add_subplot(grid[0, :]), tables["logits"])
        _draw_margins(figure.add_subplot(grid[1, 0]), tables["margins"])
        _draw_accounts(figure.add_subplot(grid[1, 1]), tables["accounts"])
        figure.suptitle(title_of(tables), x=0.01, ha="left", fontsize=8)
    return figure


def along_value(table: pd.DataFrame) -> pd.DataFrame:
    """Pool the carries below: mean and standard deviation of each digit's logit by u."""
    weighted = table.assign(
        std=table["std"].fillna(0.0),
        total=table["mean"] * table["n"],
    )
    weighted["square"] = (weighted["std"] ** 2 + weighted["mean"] ** 2) * weighted["n"]
    sums = weighted.groupby(["token", "u"])[["n", "total", "square"]].sum()
    mean = sums["total"] / sums["n"]
    std = (sums["square"] / sums["n"] - mean**2).clip(lower=0) ** 0.5
    return pd.DataFrame({"mean": mean, "std": std}).reset_index()


def _draw_logits(ax: Axes, table: pd.DataFrame) -> None:
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.95, N_DIGITS))
    for token, rows in along_value(table).groupby("token"):
        colour = colours[int(str(token))]
        x, y, s = (rows[name].to_numpy() for name in ("u", "mean", "std"))
        ax.plot(x, y, color=colour, lw=0.9)
        ax.fill_between(x, y - s, y + s, color=colour, alpha=0.2, lw=0)
        true = x % N_DIGITS == int(str(token))
        ax.plot(x[true], y[true], "o", color=colour, ms=7)
        for u, value in zip(x[true], y[true], strict=True):
            ink = "black" if int(str(token)) > 6 else "white"
            style = {"fontsize": 5.5, "ha": "center", "va": "center_baseline"}
            ax.text(u, value, str(token), color=ink, **style)
    ax.set(xlabel="$u = a_i + b_i + c_i$", ylabel="logit, less mean of digits")
    ax.set_xticks(range(20))
    ax.set_title(
        "a  logit of each digit, mean and standard deviation (disc: the right digit)", loc="left"
    )


def _draw_margins(ax: Axes, table: pd.DataFrame) -> None:
    ax.axhline(0, color="0.6", lw=0.8)
    for carry, colour, marker in ((0, "C0", "o"), (1, "C1", "s")):
        rows = table[table["carry_below"] == carry]
        x = rows["u"] - (0.1 + 0.22) * carry  # set apart further than u' is, to be seen
        ax.vlines(x, rows["q05"], rows["q95"], color=colour, lw=1.2)
        label = f"$c_{{i-1}} = {carry}$"
        ax.plot(x, rows["median"], marker, color=colour, ms=2.8, ls="none", label=label)
        ax.plot(x, rows["least"], "_", color=colour, ms=4, mew=0.9, ls="none")
    ax.set_yscale("symlog", linthresh=1, linscale=0.6)
    ax.yaxis.set_major_formatter("{x:.2g}")
    ax.set(xlabel="$u$", ylabel="margin of the right digit", xticks=range(0, 20, 3))
    ax.legend(frameon=False, fontsize=6.5, ncols=2, loc="lower right", bbox_to_anchor=(1.02, 0.98))
    ax.set_title("b  margin", loc="left")


def _draw_accounts(ax: Axes, table: pd.DataFrame) -> None:
    table = table.set_index("account").loc[list(ACCOUNTS)]
    y = np.arange(len(table))
    value = table["unexplained"].clip(lower=FLOOR)
    controls = [name in ("shuffled", "value_chance", "column") for name in table.index]
    colours = ["0.6" if control else "C0" for control in controls]
    ax.hlines(y, value, 1, color=colours, lw=1)
    ax.scatter(value, y, color=colours, s=16, zorder=3)
    for place, shown in zip(y.tolist(), table["unexplained"], strict=True):
        text = f"{shown:.2g}" if shown < 0.995 else "1.0"
        ax.text(1.25, place, text, fontsize=6, va="center")
    ax.set_yticks(y, list(ACCOUNTS.values()))
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.set(xlim=(FLOOR / 1.5, 1.1), xlabel="share of the logits' variance left unexplained")
    ax.set_title("c  what the logits are a function of", loc="left")


def caption(tables: Tables) -> str:
    """Word the figure from its tables."""
    left = tables["accounts"].set_index("account")["unexplained"]
    margins = tables["margins"]
    weights = margins["n"] / margins["n"].sum()
    worst = margins.loc[margins["least"].idxmin()]
    soft = worst["u"] - worst["carry_below"] / 10
    return (
        f"Logits of the answer digits along the value of a column, {subject_of(tables)}; columns "
        f"{COLUMNS[0]} to {COLUMNS[-1]} of {number(tables, 'pairs'):,.0f} uniform pairs, true "
        f"digits fed back, {number(tables, 'wrong'):,.0f} of {number(tables, 'examples'):,.0f} "
        "digits wrong. The value is u = a_i + b_i + c_i with the true carry. The soft place value "
        "is u' = a_i + b_i + (a_{i-1} + b_{i-1} - s_{i-1}) / 10 = u - c_{i-1} / 10. (a) Logits "
        "less their mean over the ten digits, by u; bands: one standard deviation over the "
        "examples with that u. (b) Margin of the right digit over every other token: median, 5th "
        "to 95th percentile, and least. Colours: the carry into the column below, which moves u'. "
        f"The mean of the medians is {float((margins['median'] * weights).sum()):.2f}, the least "
        f"margin {worst['least']:.2f}, at u' = {soft:.1f}. (c) Share of the variance of the ten "
        f"logits that is not explained by S {left['sum']:.3g}, by u {left['value']:.3g}, by u' "
        f"{left['soft_value']:.3g}, by u and the column {left['value_column']:.3g}, by u' and the "
        f"column {left['soft_value_column']:.3g}. The control, u with a shuffled c_{{i-1}}, has "
        f"as many classes as u' and leaves {left['value_chance']:.3g}. On true prefixes u and u' "
        "differ by a tenth at most. Only wrong prefixes tell them apart (analyses.algorithm)."
    )


FIGURES: tuple[GalleryFigure, ...] = (
    GalleryFigure(
        name="logits_along_value",
        title="Logits and margins along u = a_i + b_i + carry, true carry against soft place value",
        group="mechanism",
        of_checkpoint=True,
        compute=compute,
        plot=plot,
        caption=caption,
    ),
)
