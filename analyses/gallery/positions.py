"""Gallery: the geometry of the position embedding by digit role, and as attention reads it.

As for tokens (analyses.gallery.tokens), principal axes of the centred embedding and distances are
what no choice of coordinates changes. But attention does not read distances: it reads scores, which
are bilinear in what stands at two positions, so these are shown beside the geometry.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from analyses.gallery.about import MODEL, describe_model, number, subject_of, title_of
from analyses.gallery.figure import GalleryFigure, Source, Tables
from analyses.gallery.scores import source_tokens
from analyses.gallery.tokens import principal_axes
from interp.anatomy import specimen_of
from interp.carry_probe import score_table
from interp.output import TWO_COLUMNS, paper_style
from model.checkpoint import read_checkpoint
from model.dense import dense
from model.task import (
    N_ANSWER,
    N_DIGITS,
    N_INPUT,
    N_PROMPT,
    N_TARGET,
    a_position,
    b_position,
    query_position,
)

DRAWS = 100
SHOWN_AXES = 3
GROUPS = {
    "a": ("C0", "o", "digits of $a$"),
    "b": ("C1", "s", "digits of $b$"),
    "answer": ("C2", "^", "answer columns"),
    "sign": ("0.4", "x", "+"),
}


def list_positions() -> pd.DataFrame:
    """Say what stands at each position: group and column (of an answer: where its query is)."""
    rows = [{"position": a_position(j), "group": "a", "column": j} for j in range(N_DIGITS)]
    rows += [{"position": b_position(j), "group": "b", "column": j} for j in range(N_DIGITS)]
    rows += [
        {"position": query_position(j), "group": "answer", "column": j} for j in range(N_TARGET)
    ]
    rows.append({"position": N_DIGITS, "group": "sign", "column": -1})
    return pd.DataFrame(rows)


def pairing(W_pos: Float[Tensor, "pos d"]) -> float:
    """Compare a_i with b_i: their mean distance over that of all pairs (a_i, b_j)."""
    places = torch.arange(N_DIGITS)
    a, b = W_pos[N_DIGITS - 1 - places], W_pos[2 * N_DIGITS - places]
    distance = torch.cdist(a, b)
    return float(distance.diagonal().mean() / distance.mean())


def score_means(scores: Float[Tensor, "column query pos token"]) -> pd.DataFrame:
    """Average the exact scores of each answer column and position over all digits that can occur.

    Returns:
        One row per column and position: mean score, each column less its mean over the operands.
    """
    places = [p for p in range(N_PROMPT) if len(source_tokens(p)) > 1]
    rows = []
    for column in range(N_TARGET):
        queries = source_tokens(query_position(column))
        means = [
            float(scores[column, queries][:, p, source_tokens(p)].mean())
            for p in range(query_position(column) + 1)
        ]
        centre = float(np.mean([means[p] for p in places]))
        rows += [
            {"column": column, "position": p, "score": value - centre}
            for p, value in enumerate(means)
        ]
    return pd.DataFrame(rows)


def compute(source: Source) -> Tables:
    """Put the positions on their principal axes, and average the exact scores over digits."""
    read = read_checkpoint(source.checkpoint)
    W_pos = dense(read.model).W_pos[:N_INPUT]
    mean, axes, share = principal_axes(W_pos)
    along = ((W_pos - mean) @ axes)[:, :SHOWN_AXES].numpy()
    places = list_positions()
    for k in range(along.shape[1]):
        places[f"axis_{k + 1}"] = along[places["position"], k]
    generator = torch.Generator().manual_seed(source.seed)
    draws = torch.randn((DRAWS, *W_pos.shape), generator=generator, dtype=torch.float64)
    control = np.array([pairing(draw) for draw in draws])
    about = describe_model(
        read,
        draws=DRAWS,
        pairing=pairing(W_pos),
        random_pairing=control.mean(),
        random_pairing_low=control.min(),
        rank=int(torch.linalg.matrix_rank(W_pos)),
    )
    shares = pd.DataFrame({"axis": range(1, len(share) + 1), "share": share.numpy()})
    scores = score_means(score_table(specimen_of(read.model))[0])
    return {"places": places, "shares": shares, "scores": scores, MODEL: about}


def plot(tables: Tables) -> Figure:
    """Draw positions in the plane of their first axes, along the axes, and the mean scores."""
    with paper_style():
        figure = plt.figure(figsize=(TWO_COLUMNS, 4.6))
        grid = figure.add_gridspec(2, 3, height_ratios=[1.15, 1], width_ratios=[1.25, 1, 1])
        _draw_plane(figure.add_subplot(grid[0, 0]), tables)
        for k in range(2):
            _draw_axis(figure.add_subplot(grid[0, k + 1]), tables, k + 1)
        _draw_scores(figure.add_subplot(grid[1, :]), tables["scores"])
        figure.suptitle(title_of(tables), x=0.01, ha="left", fontsize=8)
    return figure


def _share(tables: Tables, axis: int) -> str:
    return f"axis {axis} ({tables['shares']['share'].iloc[axis - 1]:.0%})"


def _draw_plane(ax: Axes, tables: Tables) -> None:
    for group, rows in tables["places"].groupby("group", sort=False):
        colour, marker, label = GROUPS[str(group)]
        rows = rows.sort_values("column")
        ax.plot(
            rows["axis_1"],
            rows["axis_2"],
            marker + "-",
            color=colour,
            ms=5 if group == "b" else 3,
            mfc="none" if group == "b" else colour,
            mew=0.8,
            lw=0.6,
            label=label,
        )
        named = {"b": range(N_DIGITS), "answer": (0, N_DIGITS, N_TARGET - 1)}.get(str(group), ())
        for row in rows[rows["column"].isin(named)].to_dict("records"):
            at = (row["axis_1"], row["axis_2"])
            out = 7 / max(float(np.hypot(*at)), 1e-12)
            ax.annotate(
                str(row["column"]),
                at,
                (out * at[0], out * at[1]),
                textcoords="offset points",
                fontsize=6,
                ha="center",
                va="center",
                color=colour,
            )
    ax.margins(0.12)
    ax.set(xlabel=_share(tables, 1), ylabel=_share(tables, 2))
    ax.legend(
        frameon=False,
        fontsize=6,
        ncols=2,
        loc="lower left",
        bbox_to_anchor=(-0.2, 0.98),
        columnspacing=1.0,
        handletextpad=0.4,
    )
    ax.set_title("a  positions", loc="left", pad=25)


def _draw_axis(ax: Axes, tables: Tables, axis: int) -> None:
    for group, rows in tables["places"].groupby("group", sort=False):
        colour, marker, _ = GROUPS[str(group)]
        rows = rows.sort_values("column")
        if group == "sign":
            ax.axhline(rows[f"axis_{axis}"].iloc[0], color=colour, lw=0.6, ls=":")
            continue
        fill = colour if group == "a" else "none"
        size = 2.5 if group == "a" else 5 if group == "b" else 3.5
        ax.plot(
            rows["column"],
            rows[f"axis_{axis}"],
            marker + "-",
            color=colour,
            ms=size,
            mfc=fill,
            mew=0.8,
            lw=0.8,
        )
    ax.set(xlabel="column (0 = units)", xticks=range(0, N_TARGET, 2), title="")
    ax.set_title(f"{'_bc'[axis]}  along {_share(tables, axis)}", loc="left")


def _draw_scores(ax: Axes, table: pd.DataFrame) -> None:
    grid = table.pivot(index="column", columns="position", values="score")
    limit = float(np.nanquantile(np.abs(grid), 0.98)) or 1.0
    ax.set_facecolor("0.88")
    image = ax.imshow(grid, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit)
    names = [f"$a_{9 - p}$" for p in range(N_DIGITS)] + ["+"]
    names += [f"$b_{9 - p}$" for p in range(N_DIGITS)] + ["="]
    names += [f"$s_{{{p}}}$" for p in range(N_ANSWER)]
    ax.set_xticks(range(len(names)), names, fontsize=6.5)
    ax.set_yticks(range(N_TARGET), [str(c) if c % 2 == 0 or c == 11 else "" for c in range(12)])
    ax.tick_params(length=0)
    ax.set(xlabel="source position", ylabel="answer column")
    ax.figure.colorbar(image, ax=ax, pad=0.01, label="mean score")
    ax.set_title("d  how attention compares positions: exact score, mean over digits", loc="left")


def best_sources(table: pd.DataFrame) -> int:
    """Count the answer columns 0 to 9 whose two best operand digits are their own a_i and b_i."""
    hits = 0
    for column in range(N_DIGITS):
        rows = table[(table["column"] == column) & (table["position"] < N_PROMPT - 1)]
        rows = rows[rows["position"] != N_DIGITS].sort_values("score", ascending=False)
        best = set(rows["position"].iloc[:2].astype(int))
        hits += best == {a_position(column), b_position(column)}
    return hits


def caption(tables: Tables) -> str:
    """Word the figure from its tables."""
    share = tables["shares"]["share"].head(SHOWN_AXES)
    return (
        f"Geometry of the position embedding, {subject_of(tables)}; W_pos has rank "
        f"{number(tables, 'rank'):.0f}. (a) The {N_INPUT} positions on the principal axes of "
        "W_pos, numbered by column: digits of a, digits of b, and the places from which each "
        "answer column is read, from 0 (at the = sign) to 11 (the end); cross: the + sign. (b, c) "
        "Coordinates along the first two axes by column (dotted: +). The first axes hold "
        f"{', '.join(f'{x:.1%}' for x in share)} of the variance. a_i and b_i lie "
        f"{number(tables, 'pairing'):.2g} times as far apart as digits of a and b on average do; "
        f"in {number(tables, 'draws'):.0f} draws of random positions "
        f"{number(tables, 'random_pairing'):.2f} times (at least "
        f"{number(tables, 'random_pairing_low'):.2f}). Axes are free in their signs, all of it in "
        "one scale and in a rotation of the stream; a vector moved from all tokens to all "
        "positions would change nothing here. (d) Attention reads no distances but scores: the "
        "exact score of answer column and source position, mean over the digits that can stand at "
        f"both, each row less its mean over operand digits; in {best_sources(tables['scores'])} of "
        f"{N_DIGITS} columns the two digits that score highest are a_i and b_i. Grey: not yet "
        "written."
    )


FIGURES: tuple[GalleryFigure, ...] = (
    GalleryFigure(
        name="position_embedding",
        title="Geometry of the position embedding by role, and how attention compares positions",
        group="mechanism",
        of_checkpoint=True,
        compute=compute,
        plot=plot,
        caption=caption,
    ),
)
