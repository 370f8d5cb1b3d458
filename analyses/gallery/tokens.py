"""Gallery: the geometry of the token embedding, in what no choice of coordinates changes.

The same function is computed after any rotation of the residual stream (RMSNorm sees lengths only;
LayerNorm: any rotation that keeps the mean), after scaling everything that is written to it, and
after moving one vector from every token to every position: logits then move alike for all tokens.
So only distances between tokens mean something, up to one scale, and principal axes of the centred
embedding up to their signs. (With gains inside the norms and the head tied, as the parameters are
stored, fewer rotations are free; the axes of the coordinates still mean nothing by themselves.)
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
from interp.gauge import fixed_signs
from interp.output import TWO_COLUMNS, paper_style
from model.checkpoint import read_checkpoint
from model.dense import dense
from model.task import EOS, EQUALS, N_DIGITS, PLUS, TOKENS

SIGNS = (PLUS, EQUALS, EOS)
DRAWS = 100
MARKERS = (("o", "C0"), ("s", "C1"), ("^", "C2"), ("D", "C4"))


def principal_axes(
    rows: Float[Tensor, "n d"],
) -> tuple[Float[Tensor, " d"], Float[Tensor, "d axis"], Float[Tensor, " axis"]]:
    """Compute the principal axes of some points.

    Returns:
        Their mean; the axes as columns, by falling variance, each signed so that its largest entry
        is positive; and the share of variance along each.
    """
    mean = rows.mean(dim=0)
    _, S, Vh = torch.linalg.svd(rows - mean, full_matrices=False)
    total = (S**2).sum().clamp(min=1e-300)
    return mean, Vh.T * fixed_signs(Vh.T), S**2 / total


def polynomial_fit(x: Float[Tensor, " n"], y: Float[Tensor, " n"], degree: int) -> float:
    """R^2 of a polynomial; 0 where `y` is constant."""
    y = y - y.mean()
    if float(y.norm()) < 1e-12:
        return 0.0
    A = torch.stack([x**k for k in range(degree + 1)], dim=1)
    solution = torch.linalg.lstsq(A, y[:, None]).solution
    return 1 - float(((y[:, None] - A @ solution) ** 2).sum() / (y @ y))


def digit_fits(digits: Float[Tensor, "10 d"]) -> list[tuple[float, float, float]]:
    """Per principal axis: share of variance, R^2 of a line and of a parabola in the digit."""
    mean, axes, share = principal_axes(digits)
    x, along = torch.arange(N_DIGITS).double(), (digits - mean) @ axes
    return [
        (float(share[k]), polynomial_fit(x, along[:, k], 1), polynomial_fit(x, along[:, k], 2))
        for k in range(axes.shape[1])
    ]


def compute(source: Source) -> Tables:
    """Put the tokens on the principal axes of the ten digits, with random points as control."""
    read = read_checkpoint(source.checkpoint)
    W_E = dense(read.model).W_E
    mean, axes, _ = principal_axes(W_E[:N_DIGITS])
    chosen = [*range(N_DIGITS), *SIGNS]
    along = (W_E[chosen] - mean) @ axes
    names = [f"axis_{k + 1}" for k in range(axes.shape[1])]
    places = pd.DataFrame(along.numpy(), columns=names)
    places.insert(0, "name", [TOKENS[t] for t in chosen])
    places.insert(0, "token", chosen)
    generator = torch.Generator().manual_seed(source.seed)
    shape = (DRAWS, N_DIGITS, W_E.shape[1])
    draws = torch.randn(shape, generator=generator, dtype=torch.float64)
    control = np.array([digit_fits(draw) for draw in draws])
    fits = pd.DataFrame(digit_fits(W_E[:N_DIGITS]), columns=["share", "line", "parabola"])
    fits.insert(0, "axis", range(1, len(fits) + 1))
    for k, name in enumerate(("share", "line", "parabola")):
        fits[f"random_{name}"] = control[:, :, k].mean(axis=0)
        fits[f"random_{name}_95"] = np.quantile(control[:, :, k], 0.95, axis=0)
    distance = torch.cdist(W_E[:N_DIGITS], W_E[:N_DIGITS])
    pairs = np.indices(distance.shape).reshape(2, -1)
    distances = pd.DataFrame(
        {"digit": pairs[0], "other": pairs[1], "distance": distance.flatten().numpy()}
    )
    return {
        "places": places,
        "fits": fits,
        "distances": distances,
        MODEL: describe_model(read, draws=DRAWS),
    }


def plot(tables: Tables) -> Figure:
    """Draw the digits in the plane of two axes, along each axis, and their distances."""
    with paper_style():
        figure, axes = plt.subplots(
            1, 3, figsize=(TWO_COLUMNS, 2.55), gridspec_kw={"width_ratios": [1, 1.05, 1.05]}
        )
        _draw_plane(axes[0], tables)
        _draw_axes(axes[1], tables)
        _draw_distances(axes[2], tables["distances"])
        figure.suptitle(title_of(tables), x=0.01, ha="left", fontsize=8)
    return figure


def _draw_plane(ax: Axes, tables: Tables) -> None:
    places, share = tables["places"], tables["fits"]["share"]
    digits = places[places["token"] < N_DIGITS]
    ax.plot(digits["axis_1"], digits["axis_2"], "-", color="0.75", lw=0.8, zorder=1)
    ax.scatter(digits["axis_1"], digits["axis_2"], s=48, color="C0", zorder=2)
    for row in digits.to_dict("records"):
        at = (row["axis_1"], row["axis_2"])
        ax.text(*at, row["name"], color="white", ha="center", va="center_baseline", fontsize=6)
    reach = digits[["axis_1", "axis_2"]].abs().to_numpy().max() * 1.18
    for row in places[places["token"] >= N_DIGITS].to_dict("records"):
        if max(abs(row["axis_1"]), abs(row["axis_2"])) < reach:
            at = (row["axis_1"], row["axis_2"])
            ax.text(*at, row["name"].strip("<>"), color="C3", ha="center", va="center", fontsize=7)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    ax.set(xlabel=f"axis 1 ({share[0]:.0%})", ylabel=f"axis 2 ({share[1]:.0%})")
    ax.set_title("a  digits", loc="left")


def _draw_axes(ax: Axes, tables: Tables) -> None:
    digits = tables["places"][tables["places"]["token"] < N_DIGITS]
    for (k, row), (marker, colour) in zip(tables["fits"].iterrows(), MARKERS, strict=False):
        ax.plot(
            digits["token"],
            digits[f"axis_{row['axis']:.0f}"],
            marker + "-",
            color=colour,
            ms=3,
            lw=0.9,
            label=f"axis {row['axis']:.0f}: line {row['line']:.2f}, parabola {row['parabola']:.2f}",
            zorder=5 - int(str(k)),
        )
    ax.set(xlabel="digit", ylabel="coordinate", xticks=range(N_DIGITS))
    ax.legend(frameon=False, fontsize=5.5, loc="upper center", bbox_to_anchor=(0.45, -0.28))
    ax.set_title("b  along each axis ($R^2$ in the legend)", loc="left")


def _draw_distances(ax: Axes, table: pd.DataFrame) -> None:
    grid = table.pivot(index="digit", columns="other", values="distance")
    image = ax.imshow(grid / grid.to_numpy().max(), cmap="cividis", vmin=0, vmax=1)
    ax.set_xticks(range(N_DIGITS))
    ax.set_yticks(range(N_DIGITS))
    ax.tick_params(length=0)
    ax.set(xlabel="digit", ylabel="digit")
    ax.figure.colorbar(image, ax=ax, shrink=0.8, label="distance (largest = 1)")
    ax.set_title("c  distances", loc="left")


def caption(tables: Tables) -> str:
    """Word the figure from its tables."""
    fits = tables["fits"].set_index("axis")

    def describe(axis: int) -> str:
        row = fits.loc[axis]
        return (
            f"axis {axis} holds {row['share']:.1%} (random points {row['random_share']:.1%}) and "
            f"follows a line in the digit with R^2 {row['line']:.3f} and a parabola with "
            f"{row['parabola']:.3f} (random points {row['random_line']:.2f} and "
            f"{row['random_parabola']:.2f}, 95 % of them below {row['random_line_95']:.2f} and "
            f"{row['random_parabola_95']:.2f})"
        )

    outside = number(tables, "d_model") > len(MARKERS)
    return (
        f"Geometry of the token embedding, {subject_of(tables)}. (a) The ten digits on the "
        "principal axes of the ten; signs are placed on the same axes where they fall inside the "
        f"plot. (b) Coordinate by digit{f', first {len(MARKERS)} axes' if outside else ''}. Of the "
        f"variance, {describe(1)}; {describe(2)}; random points: {number(tables, 'draws'):.0f} "
        "draws of ten normal points in as many dimensions. (c) Distances between digits. Some "
        "changes of the stored numbers leave the network as it is: a rotation that the norms do "
        "not see, a scale, a vector moved from all tokens to all positions. They change nothing "
        "here but the signs of the axes. The tied head reads these points through the gain of "
        "the last norm."
    )


FIGURES: tuple[GalleryFigure, ...] = (
    GalleryFigure(
        name="token_embedding",
        title="Geometry of the token embedding: principal axes of the digits, and their distances",
        group="mechanism",
        of_checkpoint=True,
        compute=compute,
        plot=plot,
        caption=caption,
    ),
)
