"""The figures of a failure diff, drawn from a result alone."""

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from interp.anatomy import ROLES
from interp.failure_diff.carry_flow import (
    INK,
    WRONG,
    Flow,
    draw_flow,
    legend_handles,
    mistaken_carry,
)
from interp.failure_diff.patching import DIRECTIONS, WHOLE_SITES
from interp.failure_diff.result import Result, records
from interp.output import ONE_COLUMN, TWO_COLUMNS, paper_style
from model.task import N_ANSWER, N_DIGITS

_SITE_LABELS = {
    "resid_pre": "input token",
    "k": "keys",
    "v": "values",
    "attn_scores": "scores",
    "pattern": "pattern",
    "q": "query",
    "skip": "around attention",
    "attn_out": "attention output",
    "resid_mid": "stream after attention",
    "pre": "units, pre GELU",
    "mlp_out": "feed-forward output",
    "skip_mid": "around feed-forward",
    "resid_post": "stream after both",
}

_BY_ROLE = ("resid_pre", "k", "v", "attn_scores", "pattern")


def plot_carry_flow(result: Result) -> Figure:
    """Draw the input's carry flow and the first control's side by side."""
    flows = [Flow(_title(result), result.columns, result.attention[0])]
    if result.controls:
        control = result.controls[0]
        changed = frozenset(
            (name, j)
            for name, own, other in (("a", result.a, control.a), ("b", result.b, control.b))
            for j in range(N_DIGITS)
            if own // 10**j % 10 != other // 10**j % 10
        )
        title = f"control: {control.a} + {control.b}"
        flows.append(Flow(title, result.control_columns, result.attention[1], changed))
    with paper_style():
        width = TWO_COLUMNS if len(flows) > 1 else ONE_COLUMN
        figure = Figure(figsize=(width, 2.25))
        for ax, flow in zip(np.ravel(figure.subplots(1, len(flows))), flows, strict=True):
            draw_flow(ax, flow, result.focus)
        figure.legend(
            handles=legend_handles(mistaken_carry(records(result.columns), result.focus)),
            loc="outside lower center",
            ncols=6 if len(flows) > 1 else 2,
            frameon=False,
            handlelength=1.4,
            columnspacing=1.2,
        )
    return figure


def _title(result: Result) -> str:
    return f"{'wrong' if result.focus.wrong else 'right'}: {result.a} + {result.b}"


def plot_margins(result: Result) -> Figure:
    """Draw the margin of every column, on the true prefix, of the input and the first control."""
    runs = [("input", result.columns, INK, "o")]
    if result.controls:
        runs.append(
            (f"control ({result.controls[0].name})", result.control_columns, "#0173b2", "D")
        )
    with paper_style():
        figure = Figure(figsize=(ONE_COLUMN, 2.1))
        ax = figure.subplots()
        ax.axhline(0, color=WRONG, lw=0.8)
        ax.axvspan(
            result.focus.column - 0.4, result.focus.column + 0.4, color=WRONG, alpha=0.09, lw=0
        )
        for index, (label, table, colour, marker) in enumerate(runs):
            rows = records(table)[:N_ANSWER]
            x = [row["column"] + 0.16 * (index - (len(runs) - 1) / 2) for row in rows]
            y = [row["forced_margin"] for row in rows]
            ax.vlines(x, 0, y, color=colour, lw=0.9, alpha=0.5)
            ax.plot(x, y, marker, color=colour, ms=3.2, label=label, ls="none")
        ax.set_yscale("symlog", linthresh=1, linscale=0.5)
        ax.set_xticks(range(N_ANSWER))
        ax.invert_xaxis()
        ax.set_xlabel("answer column (0 = units)")
        ax.set_ylabel("margin in logits (symlog)")
        figure.legend(loc="outside upper center", ncols=2, frameon=False)
        sns.despine(fig=figure)
    return figure


def plot_patching(result: Result) -> Figure:
    """Draw what patching each site and role does, averaged over random passing controls.

    Colour is the median share of the way from the receiver's gap to the donor's; numbers are the
    percentage of controls whose patch flips the digit, where any does (for an input that the model
    gets right: moves it at least half of the way).
    """
    rows = records(result.tables["patching_mean"])
    found = {(row["direction"], row["site"], row["element"]): row for row in rows}
    roles = [r for r in ROLES if any(row["element"] == r for row in rows)]
    units = list(dict.fromkeys(row["element"] for row in rows if row["site"] == "post"))
    with paper_style():
        figure = Figure(figsize=(TWO_COLUMNS, 2.9))
        if not rows:
            figure.text(0.5, 0.5, "no passing control to patch from", ha="center", va="center")
            return figure
        grid = figure.subplots(2, 2, height_ratios=[len(_BY_ROLE), 1.4])
        images = []
        for place, direction in enumerate(DIRECTIONS):
            upper = [[(site, role) for role in [*roles, "all"]] for site in _BY_ROLE]
            lower = [[(site, "all") for site in WHOLE_SITES] + [("post", u) for u in units]]
            images.append(_heat(grid[0, place], _cells(found, direction, upper)))
            images.append(_heat(grid[1, place], _cells(found, direction, lower)))
            _label(grid[0, place], [*map(_role_label, roles), "all"])
            _label(grid[1, place], [*(_SITE_LABELS[s] for s in WHOLE_SITES), *units])
            does = ("restores", "breaks")[place] + " the digit" if result.focus.wrong else "matters"
            grid[0, place].set_title(f"{direction}: what {does}")
            shown = [_SITE_LABELS[s] for s in _BY_ROLE] if place == 0 else [""] * len(_BY_ROLE)
            grid[0, place].set_yticks(range(len(_BY_ROLE)), shown)
            grid[1, place].set_yticks([0], ["whole site, unit"] if place == 0 else [""])
        figure.colorbar(images[0], ax=grid, label="share of the gap", shrink=0.7, extend="both")
    return figure


def _label(ax: Axes, labels: list[str]) -> None:
    ax.set_xticks(range(len(labels)), labels, rotation=60, ha="right", rotation_mode="anchor")


def _role_label(role: str) -> str:
    return f"${role}$" if "_" in role else role


def _cells(
    found: dict[tuple[str, str, str], dict], direction: str, keys: list[list[tuple[str, str]]]
) -> np.ndarray:
    """Gather (effect, flips) of a grid of (site, element) cells."""
    return np.array(
        [
            [[found[direction, *key]["effect"], found[direction, *key]["flips"]] for key in line]
            for line in keys
        ]
    )


def _heat(ax: Axes, cells: np.ndarray) -> AxesImage:
    image = ax.imshow(
        cells[..., 0], cmap="vlag", vmin=-1.5, vmax=1.5, aspect="auto", interpolation="nearest"
    )
    small = 5.5 if cells.shape[1] <= 20 else 3.5
    for (y, x), share in np.ndenumerate(cells[..., 1]):
        if share > 0:
            ink = "white" if abs(cells[y, x, 0]) > 0.9 else INK
            style = {"ha": "center", "va": "center", "fontsize": small, "color": ink}
            ax.text(x, y, f"{100 * share:.0f}", **style)
    ax.tick_params(length=0)
    sns.despine(ax=ax, left=True, bottom=True)
    return image
