"""Gallery: the exact attention scores, all that the layer can compute, and what they depend on."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from analyses.gallery.about import (
    MODEL,
    describe_model,
    number,
    random_inits,
    subject_of,
    title_of,
)
from analyses.gallery.figure import GalleryFigure, Source, Tables
from interp.anatomy import role_of, specimen_of
from interp.carry_probe import role_label, score_map, score_table
from interp.output import TWO_COLUMNS, paper_style
from model.checkpoint import read_checkpoint
from model.layouts import WRITE_UPS
from model.task import (
    EQUALS,
    N_DIGITS,
    N_INPUT,
    N_PROMPT,
    N_TARGET,
    PLUS,
    TOKENS,
    query_position,
)

SHOWN = 5
"""The column whose scores are drawn against the source digit."""
FLOOR = 1e-7
PARTS = ("position", "source digit", "position x digit", "query digit")
DRAWN_ROLES = ("a_i", "b_i", "a_{i-1}", "b_{i-1}", "a_{i+1}", "b_{i+1}", "other a", "other b")


def source_tokens(position: int) -> list[int]:
    """List the tokens that can stand at a position: ten digits, or one sign."""
    signs = {N_DIGITS: [PLUS], N_PROMPT - 1: [EQUALS]}
    return signs.get(position, list(range(N_DIGITS)))


def tabulate_scores(scores: Float[Tensor, "column query pos token"]) -> pd.DataFrame:
    """List the scores of everything that can occur: column, query token, position, token."""
    parts = []
    for column in range(N_TARGET):
        queries = source_tokens(query_position(column))
        for position in range(query_position(column) + 1):
            tokens = source_tokens(position)
            query, token = np.meshgrid(queries, tokens, indexing="ij")
            values = scores[column, torch.tensor(queries)][:, position, tokens].numpy()
            parts.append(
                pd.DataFrame(
                    {
                        "column": column,
                        "query": query.ravel(),
                        "position": position,
                        "token": token.ravel(),
                        "score": values.ravel(),
                    }
                )
            )
    table = pd.concat(parts, ignore_index=True)
    return table.assign(score=table["score"].round(6))


def spread_out(table: pd.DataFrame) -> np.ndarray:
    """Turn the list back into the array of `score_table`; what cannot occur is NaN."""
    scores = np.full((N_TARGET, len(TOKENS), N_INPUT, len(TOKENS)), np.nan)
    index = tuple(table[name].to_numpy() for name in ("column", "query", "position", "token"))
    scores[index] = table["score"]
    return scores


def digit_scores(scores: np.ndarray, column: int) -> np.ndarray:
    """Scores of the 20 operand digits, less the mean of each query: (query, source, digit).

    What a query adds to all its scores alike is nothing to the softmax.
    """
    places = [p for p in range(N_PROMPT) if len(source_tokens(p)) > 1]
    queries = source_tokens(query_position(column))
    part = scores[column][queries][:, places, :N_DIGITS]
    return part - part.mean(axis=(1, 2), keepdims=True)


def variance_parts(scores: np.ndarray, column: int) -> dict[str, float]:
    """Split the variance of one column's operand scores; the shares sum to 1 (all 0 if constant).

    "query digit" is everything that changes with s_{i-1}.
    """
    x = digit_scores(scores, column)
    total = float((x**2).mean())
    by_place, by_digit = x.mean(axis=(0, 2)), x.mean(axis=(0, 1))
    both = x.mean(axis=0) - by_place[:, None] - by_digit
    values = (by_place, by_digit, both, x - x.mean(axis=0))
    shares = [float((value**2).mean()) / total if total > 0 else 0.0 for value in values]
    return dict(zip(PARTS, shares, strict=True))


def compute(source: Source) -> Tables:
    """Tabulate every score, and split its variance in the model and in untrained ones."""
    read = read_checkpoint(source.checkpoint)
    scores = score_table(specimen_of(read.model))[0]
    untrained = [score_table(specimen_of(m))[0].numpy() for m in random_inits(read.model.config)]
    rows = []
    for column in range(N_TARGET):
        own = variance_parts(scores.numpy(), column)
        others = [variance_parts(other, column) for other in untrained]
        rows += [
            {
                "column": column,
                "part": part,
                "share": own[part],
                "random_init": float(np.mean([other[part] for other in others])),
            }
            for part in PARTS
        ]
    return {
        "scores": tabulate_scores(scores),
        "variance": pd.DataFrame(rows),
        MODEL: describe_model(read, inits=len(untrained)),
    }


def profile(tables: Tables) -> pd.DataFrame:
    """Average one column's operand scores over queries and places of a role, by source digit."""
    x = digit_scores(spread_out(tables["scores"]), SHOWN)
    places = [p for p in range(N_PROMPT) if len(source_tokens(p)) > 1]
    rows = [
        {"role": role_of(SHOWN, p), "digit": t, "score": value}
        for i, p in enumerate(places)
        for t in range(N_DIGITS)
        for value in x[:, i, t]
    ]
    table = pd.DataFrame(rows)
    grouped = table.groupby(["role", "digit"])["score"].agg(["mean", "min", "max"])
    return grouped.reset_index()


def plot(tables: Tables) -> Figure:
    """Draw all scores, those of one column by source digit, and what scores depend on."""
    with paper_style():
        figure = plt.figure(figsize=(TWO_COLUMNS, 5.9))
        grid = figure.add_gridspec(2, 2, height_ratios=[1.75, 1], width_ratios=[1.15, 1])
        score_map(figure.add_subplot(grid[0, :]), spread_out(tables["scores"]), WRITE_UPS)
        _draw_profile(figure.add_subplot(grid[1, 0]), profile(tables))
        _draw_variance(figure.add_subplot(grid[1, 1]), tables["variance"])
        figure.suptitle(title_of(tables), x=0.01, ha="left", fontsize=8)
    return figure


def _draw_profile(ax: Axes, table: pd.DataFrame) -> None:
    colours = {"i": "C0", "{i-1}": "C1", "{i+1}": "C2"}
    for role in DRAWN_ROLES:
        rows = table[table["role"] == role]
        colour = next((c for key, c in colours.items() if role[2:] == key), "0.5")
        first = role.removeprefix("other ").startswith("a")
        style = {"marker": "o", "ms": 2.5} if first else {"marker": "s", "ms": 4.5, "ls": "none"}
        ax.plot(
            rows["digit"],
            rows["mean"],
            color=colour,
            lw=0.9,
            mfc=colour if first else "none",
            mew=0.8,
            label=role_label(role),
            **style,
        )
        ax.fill_between(rows["digit"], rows["min"], rows["max"], color=colour, alpha=0.15, lw=0)
    ax.set(xlabel="source digit", ylabel="score, less its mean", xticks=range(N_DIGITS))
    ax.legend(frameon=False, fontsize=6, loc="center left", bbox_to_anchor=(1.0, 0.5))
    ax.set_title(f"b  column {SHOWN} by role of the source", loc="left")


def _draw_variance(ax: Axes, table: pd.DataFrame) -> None:
    styles = zip(PARTS, ("o", "s", "^", "D"), ("C0", "C1", "C2", "0.4"), strict=True)
    beside = N_TARGET + 0.5
    for part, marker, colour in styles:
        rows = table[table["part"] == part].sort_values("column")
        share = np.maximum(rows["share"], FLOOR)
        ax.plot(rows["column"], share, marker, color=colour, ms=3.5, label=part, ls="none")
        control = max(float(_inner(rows)["random_init"].mean()), FLOOR)
        ax.plot(beside, control, marker, color=colour, ms=3.5, mfc="none", mew=0.8)
    ax.axvline(N_TARGET - 0.25, color="0.8", lw=0.7)
    ticks = [0, 2, 4, 6, 8, 10]
    ax.set_xticks([*ticks, beside], [*(str(x) for x in ticks), "random\ninit"])
    ax.set_yscale("log")
    ax.set(xlabel="answer column (11: end)", ylim=(FLOOR / 2, 2), ylabel="share of variance")
    ax.legend(frameon=False, fontsize=6, ncols=2, loc="lower left", bbox_to_anchor=(-0.05, 0.98))
    ax.set_title("c  what operand scores vary with", loc="left", pad=26)


def _inner(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep the columns that have a digit as their query's token and are digits themselves."""
    return rows[rows["column"].between(1, N_DIGITS)]


def caption(tables: Tables) -> str:
    """Word the figure from its tables."""
    table, variance = profile(tables), tables["variance"]
    mean = table.groupby("role")["mean"].mean()
    inner = _inner(variance).groupby("part")
    shown = table[table["role"] == "a_i"]
    share, control = inner["share"].mean(), inner["random_init"].mean()

    def lead(role: str) -> str:
        return f"{mean['a_i'] - mean[role]:.2f}"

    return (
        f"Exact attention scores, {subject_of(tables)}: q . k / sqrt(d). A score depends only on "
        f"(column, s_{{i-1}}) and (position, token), so these {len(tables['scores']):,} numbers "
        "are all that can occur. Nothing is sampled, and no change of gauge moves them. (a) Each "
        "row less its mean over the prompt, because the softmax does not see the mean. (b) Column "
        f"{SHOWN}, mean over the query digit; bands: least to greatest over query digits and "
        "places of a role. "
        f"a_i scores {lead('a_{i-1}')} above a_{{i-1}}, {lead('a_{i+1}')} above a_{{i+1}} and "
        f"{lead('other a')} above other digits of a. Each unit multiplies the weight by e. Over "
        "all digits of source and query the score of a_i moves by "
        f"{shown['max'].max() - shown['min'].min():.2f}. (c) Shares of the variance of operand "
        "scores, mean of columns 1 to 10: "
        + ", ".join(f"{part} {share[part]:.2g} (random init {control[part]:.2g})" for part in PARTS)
        + '. "Query digit" is all that changes with s_{i-1}. Random init (open) is the mean of '
        f"{number(tables, 'inits'):.0f} untrained models. Shares below {FLOOR:g} are drawn at it."
    )


FIGURES: tuple[GalleryFigure, ...] = (
    GalleryFigure(
        name="attention_scores",
        title="Every attention score that the layer can compute, exactly, and what it depends on",
        group="mechanism",
        of_checkpoint=True,
        compute=compute,
        plot=plot,
        caption=caption,
    ),
)
