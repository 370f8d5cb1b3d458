"""How often a model adds correctly, where it errs, and by how little it succeeds.

Every set of pairs is decoded greedily in chunks, so that memory does not grow with their number;
counts, the smallest margin and the first failing pairs are kept. Random sets come with the exact
binomial (Clopper-Pearson) interval of their rate; the hard set is no sample and has none.

    python -m model.evaluate 262p --pairs 1000000 --seed 1
    python -m model.evaluate 262p --official --hard --json
"""

import json as json_format
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

from rich import box
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tyro.conf import Positional, arg

from model.anyone import AnyAdder, read_network
from model.decode import tables_of
from model.errors import InputError
from model.evaluation import (
    Evaluation,
    evaluate,
    official_chunks,
    stratified_chunks,
    uniform_chunks,
)
from model.shell import console, progress_console, run_command
from model.task import OFFICIAL_SEEDS, Pairs, hard_pairs

DEFAULT_PAIRS = 100_000
_WORTH_A_BAR = 1_000_000


def run(
    checkpoint: Positional[str],
    official: bool = False,
    pairs: int | None = None,
    hard: bool = False,
    stratified: int | None = None,
    seed: int = 0,
    json: bool = False,
    show: Annotated[int, arg(metavar="N")] = 20,
) -> None:
    """Count how often a model adds correctly, and list the pairs that it gets wrong.

    Without a choice of pairs, 100,000 uniform ones are used; several choices may be combined.

    Args:
        checkpoint: Shipped name, folder, or published file (.pt, .npz, .safetensors).
        official: The write-ups' protocol: ten test sets of 10,000 pairs.
        pairs: This many uniform pairs.
        hard: The named hard cases and every single-carry chain.
        stratified: This many pairs with evenly spread carry chains.
        seed: Seed of the uniform and of the stratified pairs.
        json: Print JSON instead of tables.
        show: How many failing pairs to list for each set, at most 1,000 (as in JSON).
    """
    for name, value, low in (("pairs", pairs, 1), ("stratified", stratified, 1), ("show", show, 0)):
        if value is not None and value < low:
            raise InputError(f"--{name} is {value}: it must be {low} or more")
    if not 0 <= seed < 2**63:
        raise InputError(f"--seed is {seed}: it must be 0 to {2**63 - 1}")
    loaded = read_network(checkpoint)
    layout = loaded.network.layout
    if not (official or pairs or hard or stratified):
        pairs = DEFAULT_PAIRS
    sets: list[tuple[str, bool, int, Iterable[Pairs]]] = []
    if official:
        n = 10_000 * len(OFFICIAL_SEEDS)
        sets.append(("official", True, n, official_chunks(layout)))
    if pairs:
        sets.append((f"uniform {seed}", True, pairs, uniform_chunks(pairs, seed, layout)))
    if stratified:
        chunks = stratified_chunks(stratified, seed, layout)
        sets.append((f"stratified {seed}", True, stratified, chunks))
    if hard:
        chosen = hard_pairs(layout)
        sets.append(("hard", False, len(chosen[0]), [chosen]))

    total = sum(n for _, _, n, _ in sets)
    results = []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} pairs"),
        TimeRemainingColumn(),
        console=progress_console,
        transient=True,
        disable=total < _WORTH_A_BAR,
    ) as progress:
        tables = tables_of(loaded.network)
        for name, sampled, n, chunks in sets:
            task = progress.add_task(name, total=n)

            def counted(chunks: Iterable[Pairs] = chunks, task: Any = task) -> Iterator[Pairs]:
                for chunk in chunks:
                    yield chunk
                    progress.advance(task, len(chunk[0]))

            results.append(evaluate(tables, counted(), name=name, sampled=sampled))
    if json:
        document = {
            "checkpoint": loaded.name,
            "n_params": loaded.n_params,
            "sets": [result.to_dict() for result in results],
        }
        print(json_format.dumps(document, indent=2))
        return
    _print_results(loaded, results)
    for result in results:
        _print_failures(result, show)


def _print_results(loaded: AnyAdder, results: Sequence[Evaluation]) -> None:
    layout = loaded.network.layout
    n_params = f", {loaded.n_params} parameters" if loaded.n_params else ""
    title = (
        f"{loaded.name}{n_params}: greedy decoding, exact match of {layout.n_answer} digits in %"
    )
    with_end = layout.end is not None
    headings = ["pairs", "number", "errors", "exact", "95 % interval", *(["EOS"] * with_end)]
    table = _table(title + (", and EOS errors" if with_end else ""))
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "pairs" else "right", no_wrap=True)
    columns = _table("errors by column: pairs first wrong there / wrong there")
    for heading in ("pairs", *map(str, range(layout.n_answer))):
        columns.add_column(heading, justify="left" if heading == "pairs" else "right")
    margins = _table("smallest margin (true logit less the best other one)")
    for heading in ("pairs", "margin", "a", "b", "column"):
        margins.add_column(heading, justify="left" if heading == "pairs" else "right")
    for result in results:
        bounds = result.interval
        cells = [
            result.name,
            f"{result.n:,}",
            f"{result.errors:,}",
            f"{100 * result.exact_match:.6f}",
            f"{100 * bounds[0]:.6f} to {100 * bounds[1]:.6f}" if bounds else "no sample",
        ]
        table.add_row(*cells, *([f"{result.eos_errors:,}"] if with_end else []))
        cells = zip(result.first_errors, result.column_errors, strict=True)
        columns.add_row(result.name, *(f"{one}/{all_}" if all_ else "0" for one, all_ in cells))
        if result.smallest_at:
            where = map(str, result.smallest_at)
            margins.add_row(result.name, f"{result.smallest_margin:.4f}", *where)
    for each in (table, columns, margins):
        console.print(each)


def _print_failures(result: Evaluation, show: int) -> None:
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        run,
        argv,
        prog="python -m model.evaluate",
        example="python -m model.evaluate 262p --official --hard",
    )


if __name__ == "__main__":
    sys.exit(main())
