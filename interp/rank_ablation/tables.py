"""A sweep at length, as text: components by kind, truncations, and the spread over gauges."""

from collections.abc import Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table

from interp.rank_ablation.metrics import select


def print_ablations(ablations: pd.DataFrame, metrics: Sequence[str], to: Console) -> None:
    """Print single components and truncations: the value, and the median of its null in brackets.

    Args:
        ablations: The table of a sweep, with a column "checkpoint".
        metrics: Which metrics; of those with several strata the first stratum is shown.
        to: Where to print.
    """
    for name, table in ablations.groupby("checkpoint", sort=False):
        for metric in metrics:
            rows = select(table, metric)
            rows = rows[rows["stratum"] == rows["stratum"].iloc[0]]
            for scope in ("single", "truncation"):
                _print_scope(rows, scope, f"{name}: {metric} {rows['stratum'].iloc[0]}", to)


def _print_scope(rows: pd.DataFrame, scope: str, title: str, to: Console) -> None:
    chosen = rows[rows["scope"] == scope]
    if chosen.empty:
        return
    intact = rows.loc[rows["scope"] == "intact", "value"]
    half = ((chosen["high"] - chosen["low"]) / 2).max()
    shown = Table(title=f"{title}, {scope}", title_justify="left")
    shown.caption = f"(median of random terms of equal norm); intact {intact.iloc[0]:.5g}" + (
        "" if pd.isna(half) else f"; 95 % intervals at most +-{half:.2g}"
    )
    kinds = list(dict.fromkeys(zip(chosen["kind"], chosen["norm"], strict=True)))
    shown.add_column("removed")
    shown.add_column("basis")
    for kind, norm in kinds:
        shown.add_column(kind if norm == "live" else f"{kind}, frozen", justify="right")
    for key, group in chosen.groupby(["matrix", "component", "basis"], sort=False):
        matrix, component, basis = key if isinstance(key, tuple) else (key, "", "")
        cells = []
        for kind, norm in kinds:
            row = group[(group["kind"] == kind) & (group["norm"] == norm)]
            cells.append(
                f"{row['value'].iloc[0]:.4f} ({row['null_median'].iloc[0]:.2f})" if len(row) else ""
            )
        shown.add_row(f"{matrix} {component}", str(basis), *cells)
    to.print(shown)


def print_gauges(gauges: pd.DataFrame, to: Console) -> None:
    """Print how far the exact match without a component moves over random gauges."""
    if gauges.empty:
        return
    shown = Table(title="Exact match without a component, over random gauges", title_justify="left")
    for head in ("checkpoint", "basis", "removed", "as stored", "lowest", "median", "highest"):
        shown.add_column(head)
    for row in gauges.to_dict("records"):
        rates = (f"{row[x]:.4f}" for x in ("as_stored", "low", "median", "high"))
        shown.add_row(
            row["checkpoint"], row["basis"], f"{row['matrix']} {row['component']}", *rates
        )
    to.print(shown)
