"""Evaluations as tables on the terminal."""

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from model.anyone import AnyAdder
from model.evaluation import Evaluation
from model.shell import console


def print_results(adder: AnyAdder, results: Sequence[Evaluation]) -> None:
    """Print counts, errors by column and smallest margins."""
    layout = adder.network.layout
    n_params = f", {adder.n_params} parameters" if adder.n_params else ""
    title = f"{adder.name}{n_params}: greedy decoding, exact match of {layout.n_answer} digits in %"
    ends = ["EOS"] if layout.end is not None else []
    table = _table(escape(title) + (", and EOS errors" if ends else ""))
    for heading in ("pairs", "number", "errors", "exact", "95 % interval", *ends):
        table.add_column(heading, justify="left" if heading == "pairs" else "right", no_wrap=True)
    columns = _table("errors by column: pairs first wrong there / wrong there")
    for heading in ("pairs", *map(str, range(layout.n_answer))):
        columns.add_column(heading, justify="left" if heading == "pairs" else "right")
    margins = _table("smallest margin (true logit less the best other one)")
    for heading in ("pairs", "margin", "a", "b", "column"):
        margins.add_column(heading, justify="left" if heading == "pairs" else "right")
    for result in results:
        bounds = result.interval
        table.add_row(
            result.name,
            f"{result.n:,}",
            f"{result.errors:,}",
            f"{100 * result.exact_match:.6f}",
            f"{100 * bounds[0]:.6f} to {100 * bounds[1]:.6f}" if bounds else "no sample",
            *([f"{result.eos_errors:,}"] if ends else []),
        )
        cells = zip(result.first_errors, result.column_errors, strict=True)
        columns.add_row(result.name, *(f"{one}/{all_}" if all_ else "0" for one, all_ in cells))
        if result.smallest_at:
            where = map(str, result.smallest_at)
            margins.add_row(result.name, f"{result.smallest_margin:.4f}", *where)
    for each in (table, columns, margins):
        console.print(each)


def print_failures(result: Evaluation, show: int) -> None:
    """Print the first failing pairs of one set."""
    shown = result.failures[:show]
    if shown:
        table = _table(f"failing pairs, {result.name}")
        for heading in ("a", "b", "model", "true"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("where they part")
        for failure in shown:
            answer = "no number" if failure.predicted is None else str(failure.predicted)
            parts = failure.parts.partition(" (")[0]
            table.add_row(str(failure.a), str(failure.b), answer, str(failure.true), parts)
        console.print(table)
    if result.errors > len(shown):
        more = result.errors - len(shown)
        console.print(f"{more:,} more failing pairs, {result.name}: see --show", highlight=False)


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
