"""The figure of a component portrait: readings, writings, and the sums that break."""

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from interp.component_portrait.portrait import Result, digit_tokens, writes_tokens
from interp.output import TWO_COLUMNS, paper_style
from model.layouts import Layout


def plot(result: Result, checkpoint: str) -> Figure:
    """Draw one portrait: reads, what the reading varies with, writes, roles, and what breaks."""
    panels: list[Callable[[Axes], None]] = []
    if len(result.reads):
        side = "query reading" if len(result.key_reads) else "reading"
        panels.append(lambda axis: _table(axis, result.reads, side, result.layout))
    if len(result.key_reads):
        panels.append(lambda axis: _table(axis, result.key_reads, "key reading", result.layout))
    panels.append(lambda axis: _shares(axis, result.shares))
    if len(result.writes):
        panels.append(lambda axis: _writes(axis, result))
    if result.roles:
        panels.append(lambda axis: _roles(axis, result.roles))
    panels.append(lambda axis: _classes(axis, result.by_class))
    panels.append(lambda axis: _columns(axis, result.by_column))
    with paper_style():
        rows = -(-len(panels) // 2)
        figure, axes = plt.subplots(rows, 2, figsize=(TWO_COLUMNS, 0.4 + 2.1 * rows), squeeze=False)
        for axis, draw in zip(axes.ravel(), panels, strict=False):
            draw(axis)
        for axis in axes.ravel()[len(panels) :]:
            axis.set_visible(False)
        title = f"{checkpoint}: {result.name}, singular value {result.weight:.3g}"
        figure.suptitle(title, fontsize=9)
    return figure


def _table(axis: Axes, table: Tensor, title: str, layout: Layout) -> None:
    """Draw a (position, token) table of readings, positions along the sequence."""
    digits = range(*digit_tokens(layout).indices(layout.vocab_size))
    seen = sorted({*digits, *layout.separators.values()})
    values = table.T[seen].numpy()
    limit = float(np.abs(values).max())
    image = axis.imshow(values, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit)
    axis.figure.colorbar(image, ax=axis, shrink=0.85)
    roles = layout.roles()
    ends = []
    for letter in "abs":
        of_number = [i for i, role in enumerate(roles) if role[0] == letter and role[1:].isdigit()]
        ends += [of_number[0], of_number[-1]] if of_number else []
    axis.set_xticks(ends, [roles[i] for i in ends], fontsize=5.5)
    every = range(0, len(seen), max(1, len(seen) // 12))
    axis.set_yticks(every, [layout.token_names[seen[i]] for i in every], fontsize=5.5)
    axis.set_title(f"{title} of (position, token)", loc="left")


def _shares(axis: Axes, shares: dict[str, float]) -> None:
    names = list(shares)[::-1]
    axis.barh(names, [shares[name] for name in names], color="C0", height=0.65)
    for place, name in enumerate(names):
        axis.text(
            min(shares[name], 0.98) + 0.02, place, f"{shares[name]:.2f}", va="center", fontsize=6
        )
    axis.set(xlim=(0, 1.15), xlabel="share of the reading's variance explained")
    axis.set_title("what the reading varies with", loc="left")


def _roles(axis: Axes, roles: dict[str, float]) -> None:
    names = list(roles)[::-1]
    axis.barh(names, [roles[name] for name in names], color="C0", height=0.65)
    axis.axvline(0, color="0.3", linewidth=0.6)
    axis.tick_params(axis="y", labelsize=5.5)
    signed = min(roles.values()) < 0
    axis.set_xlabel("mean score, less the mean over sources" if signed else "standard deviation")
    axis.set_title("by role of the source", loc="left")


def _writes(axis: Axes, result: Result) -> None:
    neurons = not writes_tokens(result)
    digits = range(*digit_tokens(result.layout).indices(result.layout.vocab_size))
    values = result.writes.numpy()
    colours = ["C0" if neurons or i in digits else "0.6" for i in range(len(values))]
    axis.bar([name.strip("<>") for name in result.written], values, color=colours)
    axis.axhline(0, color="0.3", linewidth=0.6)
    axis.tick_params(axis="x", labelsize=5.5)
    axis.set_title("writes to neuron" if neurons else "writes: logit per token", loc="left")


def _classes(axis: Axes, by_class: Tensor) -> None:
    sums = np.arange(len(by_class))
    for carry, marker in ((0, "o"), (1, "s")):
        label = "carry in" if carry else "no carry in"
        axis.plot(sums, by_class[:, carry].numpy(), marker=marker, ms=3, lw=1, label=label)
    axis.set(
        xlabel="a_i + b_i",
        ylabel="wrong digits",
        ylim=(-0.04, 1.04),
        xticks=range(0, len(sums), 3 if len(sums) < 30 else 30),
    )
    axis.legend(frameon=False)
    axis.set_title("breaks without it, by class", loc="left")


def _columns(axis: Axes, by_column: pd.DataFrame) -> None:
    value = 1 - by_column["value"].to_numpy()
    low, high = 1 - by_column["high"].to_numpy(), 1 - by_column["low"].to_numpy()
    spread = np.clip(np.stack([value - low, high - value]), 0, None)
    axis.bar(by_column["stratum"], value, yerr=spread, color="C0", error_kw={"elinewidth": 0.8})
    axis.set(xlabel="answer column (0 = units)", ylim=(0, max(0.05, float(high.max()) * 1.1)))
    axis.set_title("breaks without it, by column", loc="left")
