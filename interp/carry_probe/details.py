"""What the carry probe found, at length: condensed tables and every statement, as text."""

import pandas as pd
from rich.console import Console
from rich.table import Table

from interp.carry_probe.result import Result


def show(result: Result, to: Console) -> None:
    """Print condensed tables, then every statement of the verdict."""
    for title, table in summaries(result):
        view = Table(title=f"{result.name}: {title}", title_justify="left")
        for name in table.columns:
            view.add_column(str(name), justify="left" if name == table.columns[0] else "right")
        for row in table.itertuples(index=False):
            view.add_row(
                *("" if pd.isna(x) else x if isinstance(x, str) else f"{x:.3f}" for x in row)
            )
        to.print(view)
    for statement in result.statements:
        to.print(f"{statement.topic.capitalize()}. {statement.text}\n", markup=False)
    for note in result.notes:
        to.print(f"{note}\n", markup=False, highlight=False)
    if result.wrapper_difference is not None:
        to.print(
            f"Largest difference of any hook from the TransformerLens wrapper: "
            f"{result.wrapper_difference:.1e}.",
            highlight=False,
        )


def summaries(result: Result) -> list[tuple[str, pd.DataFrame]]:
    """Condense the tables to what fits a terminal: means over the columns looked at."""
    found = []
    attention = result.tables["attention"]
    chosen = attention[attention["inputs"] == "uniform"]
    several = sorted(set(chosen["head"]) - {"all"}, key=int)
    heads = chosen[chosen["carry_in"] == "all"].pivot_table("weight", "role", "head", sort=False)
    chosen = chosen[chosen["head"] == "all"]
    wide = chosen.pivot_table("weight", "role", "carry_in", sort=False)
    rest = chosen[chosen["carry_in"] == "all"].groupby("role", sort=False)
    wide = wide.join(rest[["share", "uniform", "random_init"]].mean())
    wide.columns = [f"carry_in {x}" if x in ("0", "1") else str(x) for x in wide.columns]
    for head in several:
        wide[f"head {head}"] = heads[head]
    found.append(("attention by role, mean of columns", wide.reset_index()))
    probes = result.tables["probes"]
    if not probes.empty:
        rows = probes[probes["feature"] == "carry_in"]
        wide = rows.pivot_table("accuracy", "site", "kind", sort=False)
        floors = ["bayes_query", "bayes_below", "shuffled", "control_task", "random_init"]
        rest = rows[rows["kind"] == "conditional"].groupby("site", sort=False)[floors].mean()
        wide = wide[["global", "conditional", "shared"]].join(rest)
        found.append(("probes of carry_in (floors of the conditional one)", wide.reset_index()))
    moved = result.tables["interchange"]
    if not moved.empty:
        wide = moved.pivot_table("moved", "site", "method", sort=False)
        found.append(("answers moved by exactly one", wide.reset_index()))
    return found
