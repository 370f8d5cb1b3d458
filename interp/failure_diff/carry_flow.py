"""The carry-flow diagram: a sum as columns, its carries, and where one column looks."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch, PathPatch
from matplotlib.path import Path

from interp.failure_diff.columns import Focus, is_carry_error
from interp.failure_diff.result import records
from model.task import N_ANSWER, N_DIGITS, TOKENS, a_position, b_position, query_position

STATE_COLOURS = {"kill": "#e9e9e9", "propagate": "#bfe3f2", "generate": "#ffd9a0"}
CARRY, WRONG, ATTENTION, INK = "#c26a00", "#c2185b", "#3a5ba0", "#222222"

_ROW_A, _ROW_B, _ROW_MODEL, _ROW_TRUE = 3.55, 2.65, 0.55, -0.3
_HALF = 0.36
_LEAST_DRAWN = 0.015
_CUBIC = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]


@dataclass(frozen=True)
class Flow:
    """What one diagram shows.

    Attributes:
        title: Above the diagram.
        columns: The sum's column table (interp.failure_diff.columns).
        pattern: Attention of the 12 answer columns over the 33 positions.
        changed: Digits that differ from the other diagram's, as (operand, column).
    """

    title: str
    columns: pd.DataFrame
    pattern: np.ndarray
    changed: frozenset[tuple[str, int]] = frozenset()


def draw_flow(ax: Axes, flow: Flow, focus: Focus) -> None:
    """Draw one sum, most significant column on the left, the focus column marked.

    Columns are tinted by state, carries arch from the column that makes them to the one that gets
    them, and lines from the focus column's answer to its sources are as thick as its attention.
    """
    rows = records(flow.columns)
    ax.set_xlim(-1.35, N_ANSWER - 0.35)
    ax.set_ylim(-1.0, 5.15)
    ax.set_aspect("equal")
    ax.axis("off")
    ax.set_title(flow.title, fontsize=8, loc="left", x=0.02, y=1.0)
    for y, label in ((_ROW_A, "a"), (_ROW_B, "b"), (_ROW_MODEL, "model"), (_ROW_TRUE, "true")):
        ax.text(-0.58, y, label, ha="right", va="center", fontsize=7, color="#666666")
    _mark_focus(ax, rows[focus.column], focus)
    for row in rows[:N_ANSWER]:
        _draw_column(ax, row, flow.changed)
    mistaken = mistaken_carry(rows, focus)
    for column in range(N_DIGITS):
        if mistaken is not None and column == focus.column - 1:
            _arch(ax, column, mistaken, WRONG, line=(0, (3, 2)))
        elif rows[column]["carry_out"]:
            _arch(ax, column, "1", CARRY)
    _draw_attention(ax, flow.pattern[focus.column], focus.column)


def mistaken_carry(rows: list[dict[str, Any]], focus: Focus) -> str | None:
    """Say what a sum's answer made of the carry into the focus column.

    Returns:
        "?" for a carry that is not there, "\N{MULTIPLICATION SIGN}" for one that got lost, None
        where the column is right or wrong in another way.
    """
    row = rows[focus.column]
    if row["forced_predicted"] == row["true"]:
        return None
    said = dataclasses.replace(focus, rival=TOKENS.index(row["forced_predicted"]))
    if not is_carry_error(said, row["carry_in"]):
        return None
    return "\N{MULTIPLICATION SIGN}" if row["carry_in"] else "?"


def legend_handles(mistake: str | None) -> list[Any]:
    """Give the legend entries of a diagram; `mistake` is what `mistaken_carry` returned."""
    states = [Patch(color=colour, label=name) for name, colour in STATE_COLOURS.items()]
    handles = [*states, Line2D([], [], color=CARRY, lw=1.3, label="carry")]
    if mistake is not None:
        label = "spurious carry" if mistake == "?" else "missed carry"
        handles.append(Line2D([], [], color=WRONG, lw=1.3, ls=(0, (3, 2)), label=label))
    seen = "attention of the marked column"
    return [*handles, Line2D([], [], color=ATTENTION, lw=2, alpha=0.6, label=seen)]


def _x(column: int) -> float:
    return float(N_DIGITS - column)


def _box(ax: Axes, x: float, y: float, face: str, edge: str = "none", lw: float = 0.8) -> None:
    ax.add_patch(
        FancyBboxPatch(
            (x - _HALF, y - _HALF),
            2 * _HALF,
            2 * _HALF,
            boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=face,
            edgecolor=edge,
            linewidth=lw,
            zorder=3,
        )
    )


def _digit(ax: Axes, x: float, y: float, text: str, fontsize: float = 8.0, **style: Any) -> None:
    ax.text(x, y - 0.02, text, ha="center", va="center", zorder=4, fontsize=fontsize, **style)


def _draw_column(ax: Axes, row: dict[str, Any], changed: frozenset[tuple[str, int]]) -> None:
    column, x = row["column"], _x(row["column"])
    if column < N_DIGITS:
        tint = STATE_COLOURS[row["state"]]
        for operand, y in (("a", _ROW_A), ("b", _ROW_B)):
            edge = INK if (operand, column) in changed else "none"
            _box(ax, x, y, tint, edge, 1.1)
            _digit(ax, x, y, str(row[operand]), color=INK)
    wrong = row["greedy_predicted"] != row["true"]
    _box(ax, x, _ROW_MODEL, WRONG if wrong else "white", WRONG if wrong else "#bbbbbb")
    answer = row["greedy_predicted"]
    _digit(
        ax,
        x,
        _ROW_MODEL,
        answer,
        color="white" if wrong else INK,
        fontsize=8.0 if len(answer) == 1 else 4.0,
        fontweight="bold" if wrong else "normal",
    )
    _digit(ax, x, _ROW_TRUE, row["true"], color=WRONG if wrong else "#888888", fontsize=7.0)


def _mark_focus(ax: Axes, row: dict[str, Any], focus: Focus) -> None:
    x = _x(focus.column)
    colour = WRONG if row["greedy_predicted"] != row["true"] else "#7a7a7a"
    band = FancyBboxPatch(
        (x - 0.47, -0.72),
        0.94,
        4.78,
        boxstyle="round,pad=0,rounding_size=0.2",
        facecolor=colour,
        alpha=0.09,
        edgecolor="none",
        zorder=0,
    )
    ax.add_patch(band)
    ax.text(x, -0.95, f"column {focus.column}", ha="center", va="center", fontsize=6, color=colour)


def _arch(ax: Axes, column: int, text: str, colour: str, line: Any = "-") -> None:
    """Draw a carry out of `column`, an arch to the column on its left."""
    start, end, y = _x(column), _x(column) - 1, _ROW_A + _HALF + 0.06
    ax.add_patch(
        FancyArrowPatch(
            (start - 0.08, y),
            (end + 0.1, y),
            connectionstyle="arc3,rad=0.85",
            arrowstyle="-|>,head_width=1.6,head_length=2.6",
            color=colour,
            shrinkA=0,
            shrinkB=0,
            zorder=5,
            linewidth=1.1,
            linestyle=line,
        )
    )
    at = ((start + end) / 2, y + 0.4)
    ax.add_patch(Circle(at, 0.2, facecolor="white", edgecolor=colour, linewidth=0.8, zorder=6))
    ax.text(*at, text, ha="center", va="center", fontsize=5.5, color=colour, zorder=7)


def _draw_attention(ax: Axes, pattern: np.ndarray, column: int) -> None:
    """Draw lines from the focus column's answer to every digit that it attends to."""
    start = (_x(column), _ROW_MODEL + _HALF)
    targets = [(a_position(j), _x(j), _ROW_A) for j in range(N_DIGITS)]
    targets += [(b_position(j), _x(j), _ROW_B) for j in range(N_DIGITS)]
    targets += [(query_position(j + 1), _x(j), _ROW_MODEL) for j in range(column)]
    for position, x, y in targets:
        weight = float(pattern[position])
        if weight >= _LEAST_DRAWN:
            _draw_line(ax, start, x, y, weight)
    rest = [
        f"“{TOKENS[token]}” {float(pattern[position]):.2f}"
        for token, position in ((10, N_DIGITS), (11, query_position(0)))
        if pattern[position] >= _LEAST_DRAWN
    ]
    if rest:
        left = column < N_DIGITS // 2
        ax.text(
            start[0] + (-0.65 if left else 0.65),
            _ROW_MODEL + 0.8,
            "and " + ", ".join(rest),
            fontsize=5.5,
            color=ATTENTION,
            ha="right" if left else "left",
            va="center",
        )


def _draw_line(ax: Axes, start: tuple[float, float], x: float, y: float, weight: float) -> None:
    """Draw one attention line; lines to the a row climb through the gap beside a b cell."""
    x0, y0 = start
    if y == _ROW_MODEL:
        path = Path([(x0, y0), (x0, y0 + 0.5), (x, y0 + 0.5), (x, y0)], _CUBIC)
    elif y == _ROW_B:
        path = Path([(x0, y0), (x0, y0 + 0.7), (x, y0 + 0.5), (x, y - _HALF)], _CUBIC)
    else:
        side = 1 if x < x0 else -1
        gap, foot = x + 0.5 * side, _ROW_B - _HALF
        path = Path(
            [
                (x0, y0),
                (x0, y0 + 0.6),
                (gap, y0 + 0.5),
                (gap, foot),
                (gap, y - 0.35),
                (gap, y),
                (gap, y),
                (x + _HALF * side, y),
            ],
            [*_CUBIC, Path.LINETO, *_CUBIC[1:]],
        )
    ax.add_patch(
        PathPatch(
            path,
            facecolor="none",
            edgecolor=ATTENTION,
            alpha=0.6,
            linewidth=0.4 + 5 * weight,
            capstyle="butt",
            joinstyle="round",
            zorder=2,
        )
    )
