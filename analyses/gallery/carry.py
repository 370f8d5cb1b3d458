"""Gallery: carry-flow diagrams of a long chain and of the sum with the least margin."""

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from analyses.gallery.about import MODEL, describe_model, number, subject_of, title_of
from analyses.gallery.figure import GalleryFigure, Source, Tables
from analyses.gallery.margins import draw_margins
from interp.anatomy import trace_column
from interp.failure_diff import (
    Flow,
    Focus,
    column_sum_text,
    column_table,
    draw_flow,
    find_focus,
    legend_handles,
    mistaken_carry,
    records,
)
from interp.output import TWO_COLUMNS, paper_style
from model.checkpoint import read_checkpoint
from model.dense import dense
from model.task import HARD_CASES, N_INPUT, N_TARGET, TOKENS, encode

CHAIN = "long chain that stops below the top"
SHOWN = ("chain", "least")
_TEXT = ("state", "true", "forced_predicted", "forced_runner_up", "greedy_predicted",
         "greedy_runner_up")  # fmt: skip


def compute(source: Source) -> Tables:
    """Tabulate a long chain, and the sum of the sample with the least margin, with attention."""
    read = read_checkpoint(source.checkpoint)
    (a, b), margin = draw_margins(source, read.model)
    worst = int(margin.min(dim=1).values.argmin())
    weights = dense(read.model)
    columns, patterns = [], []
    for name, pair in zip(SHOWN, (HARD_CASES[CHAIN], (int(a[worst]), int(b[worst]))), strict=True):
        table = column_table(weights, *pair)
        columns.append(table.assign(sum_shown=name, operand_a=pair[0], operand_b=pair[1]))
        tokens = encode(*(torch.tensor([x]) for x in pair))
        for column in range(N_TARGET):
            weight = trace_column(weights, tokens, column)["pattern"][0].numpy()
            rows = {"sum_shown": name, "column": column, "position": range(len(weight))}
            patterns.append(pd.DataFrame({**rows, "weight": weight}))
    about = describe_model(read, pairs=len(a), failing=int((margin < 0).any(dim=1).sum()))
    return {"columns": pd.concat(columns), "attention": pd.concat(patterns), MODEL: about}


def flow_of(tables: Tables, name: str) -> Flow:
    """Read one diagram back; tokens are words, whatever a CSV makes of them."""
    columns = tables["columns"]
    columns = columns[columns["sum_shown"] == name].reset_index(drop=True)
    columns = columns.astype(dict.fromkeys(_TEXT, str))
    attention = tables["attention"]
    attention = attention[attention["sum_shown"] == name]
    pattern = np.zeros((N_TARGET, N_INPUT))
    pattern[attention["column"], attention["position"]] = attention["weight"]
    a, b = (int(columns[f"operand_{x}"].iloc[0]) for x in "ab")
    right = not bool(columns["first_error"].any())
    return Flow(f"{'right' if right else 'wrong'}: {a} + {b}", columns, pattern)


def mark(flow: Flow, name: str) -> Focus:
    """Choose the column to mark: the first wrong one; else the chain's end, or the least margin."""
    focus = find_focus(flow.columns)
    if focus.wrong or name != "chain":
        return focus
    row = flow.columns.loc[flow.columns["chain_length"].idxmax()]
    return Focus(
        column=int(row["column"]),
        true=TOKENS.index(row["true"]),
        rival=TOKENS.index(row["forced_runner_up"]),
        gap=-float(row["forced_margin"]),
        wrong=False,
    )


def plot(tables: Tables) -> Figure:
    """Draw the two sums side by side, each with one column marked."""
    with paper_style():
        figure = Figure(figsize=(TWO_COLUMNS, 2.35))
        mistake = None
        for ax, name in zip(figure.subplots(1, 2), SHOWN, strict=True):
            flow = flow_of(tables, name)
            focus = mark(flow, name)
            draw_flow(ax, flow, focus)
            mistake = mistaken_carry(records(flow.columns), focus) or mistake
        figure.legend(
            handles=legend_handles(mistake),
            loc="outside lower center",
            ncols=6,
            frameon=False,
            handlelength=1.4,
            columnspacing=1.2,
        )
        figure.suptitle(title_of(tables), x=0.01, ha="left", fontsize=8)
    return figure


def caption(tables: Tables) -> str:
    """Word the figure from its tables."""

    def describe(name: str) -> str:
        flow = flow_of(tables, name)
        focus = mark(flow, name)
        weight = flow.pattern[focus.column]
        most = float(np.sort(weight)[-2:].sum())
        row = flow.columns.loc[focus.column]
        said = f"answered {row['forced_predicted']}, true {row['true']}, " if focus.wrong else ""
        return (
            f"column {focus.column} ({column_sum_text(flow.columns, focus.column)}; {said}margin "
            f"{-focus.gap:.2f}; two sources hold {most:.2f} of its attention)"
        )

    return (
        f"Carry flow of two sums, {subject_of(tables)}; the most significant column is on the "
        "left. Colours say what a column does with a carry. Arches lead from the column that makes "
        "a carry to the one that gets it. Lines lead from the answer of the marked column to its "
        "sources, as thick as its attention. Answers are greedy. The first wrong column is marked; "
        "in a right sum, the end of the chain (left) or the least margin (right). Left: a chain of "
        f"carries, {describe('chain')}. Right: the least margin of {number(tables, 'pairs'):,.0f} "
        f"pairs, uniform and with evenly spread chains, {describe('least')}; "
        f"{number(tables, 'failing'):,.0f} of these pairs have a wrong digit."
    )


FIGURES: tuple[GalleryFigure, ...] = (
    GalleryFigure(
        name="carry_flow",
        title="Carry flow of a long chain and of the sum with the least margin, with attention",
        group="mechanism",
        of_checkpoint=True,
        compute=compute,
        plot=plot,
        caption=caption,
    ),
)
