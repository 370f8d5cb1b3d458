"""A failure diff and a search for failures at length, as text."""

from rich import box
from rich.console import Console
from rich.table import Table

from interp.failure_diff.error_search import SearchResult
from interp.failure_diff.result import Result, records
from model.task import N_DIGITS

LISTED = 50
"""Groups that are written out; the rest are in their table."""
_STATES = {"kill": "kill", "propagate": "prop", "generate": "gen", "-": ""}


def print_result(result: Result, to: Console) -> None:
    """Print the column table, the controls and the explanation."""
    title = f"{result.checkpoint}: {result.a} + {result.b}"
    table = _table(title)
    heads = ("col", "a", "b", "sum", "c_in", "c_out", "state", "true", "forced", "margin")
    for name in (*heads, "next", "greedy", "margin"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in reversed(records(result.columns)):
        digit = row["column"] < N_DIGITS
        cells = [row["column"], *(row[k] if digit else "" for k in ("a", "b", "sum"))]
        cells += [
            row["carry_in"],
            row["carry_out"] if digit else "",
            _STATES[row["state"]],
            row["true"],
        ]
        cells += [row["forced_predicted"], f"{row['forced_margin']:.3f}", row["forced_runner_up"]]
        cells += [row["greedy_predicted"], f"{row['greedy_margin']:.3f}"]
        focus = row["column"] == result.focus.column
        style = "bold red" if row["first_error"] else "yellow" if focus else None
        table.add_row(*(str(cell).strip("<>") for cell in cells), style=style)
    to.print(table)
    controls = _table("controls")
    for name in ("inputs", "number", "whole sum right", f"column {result.focus.column} right"):
        controls.add_column(name, justify="left" if name == "inputs" else "right")
    for key, label in (
        ("single_edits", "single-digit edits"),
        ("two_digit_edits", "two-digit edits nearby"),
        ("same_context", "same local context"),
        ("wider_context", "same, column above free"),
        ("chains", "same carry chain"),
    ):
        rows = records(result.tables[key])
        counts = [len(rows), *(sum(row[k] for row in rows) for k in ("passes", "right_here"))]
        controls.add_row(label, *map(str, counts))
    to.print(controls)
    to.print(result.why, markup=False)


def print_search(result: SearchResult, name: str, to: Console) -> None:
    """Print the groups of failing contexts and the thinnest margin of each column."""
    groups, columns = records(result.groups), records(result.columns)
    failing = sum(row["failing_contexts"] for row in columns)
    table = _table(f"{name}: {failing} failing contexts")
    keys = ("column", "carry_in", "previous_digit", "digit_sum", "true", "answered", "contexts")
    for head in ("col", "c_in", "s_{i-1}", "a+b", "true", "said", "n", "errors", "margin"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("witness", no_wrap=True)
    for row in groups[:LISTED]:
        cells = ["-" if row[k] is None or row[k] != row[k] else str(int(row[k])) for k in keys]
        cells += [f"{row['mass']:.1e}", f"{row['margin']:.3f}", f"{row['a']}+{row['b']}"]
        table.add_row(*cells)
    if groups:
        to.print(table)
    if len(groups) > LISTED:
        to.print(f"and {len(groups) - LISTED} more groups in groups.csv")
    margins = _table("columns")
    for head in ("col", "contexts", "failing", "error rate", "95 % interval", "thinnest margin"):
        margins.add_column(head, justify="right", no_wrap=True)
    for row in columns:
        interval = f"{row['error_rate_low']:.1e} to {row['error_rate_high']:.1e}"
        cells = [
            row["column"],
            row["contexts"],
            row["failing_contexts"],
            f"{row['error_rate']:.2g}",
        ]
        margins.add_row(*map(str, cells), interval, f"{row['thinnest_margin']:.3f}")
    to.print(margins)
    if not groups:
        text = f"no failing pair found in {result.evaluations} column evaluations; that is no proof"
        to.print(text)


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
