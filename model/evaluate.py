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

from tyro.conf import Positional, arg

from model.shell import Between, Pairs, Seed, progress_bar, run_command

DEFAULT_PAIRS = 100_000


def run(
    checkpoint: Positional[str],
    official: bool = False,
    pairs: Pairs | None = None,
    hard: bool = False,
    stratified: Pairs | None = None,
    seed: Seed = 0,
    json: bool = False,
    show: Annotated[int, Between(0, 1_000), arg(metavar="N")] = 20,
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
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

    from model.anyone import read_network
    from model.decode import tables_of
    from model.evaluation import evaluate, official_chunks, stratified_chunks, uniform_chunks
    from model.evaluation_tables import print_failures, print_results
    from model.task import OFFICIAL_SEEDS, hard_pairs

    loaded = read_network(checkpoint)
    layout = loaded.network.layout
    if not (official or pairs or hard or stratified):
        pairs = DEFAULT_PAIRS
    sets: list[tuple[str, bool, int, Iterable[Any]]] = []
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

    results = []
    columns = (TextColumn("{task.description}"), BarColumn())
    count = TextColumn("{task.completed:,.0f} of {task.total:,.0f} pairs")
    with progress_bar(*columns, count, TimeRemainingColumn()) as progress:
        tables = tables_of(loaded.network)
        for name, sampled, n, chunks in sets:
            task = progress.add_task(name, total=n)

            def counted(chunks: Iterable[Any] = chunks, task: Any = task) -> Iterator[Any]:
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
    print_results(loaded, results)
    for result in results:
        print_failures(result, show)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        run,
        argv,
        prog="python -m model.evaluate",
        example="python -m model.evaluate 262p --official --hard",
        can_be_quiet=False,
    )


if __name__ == "__main__":
    sys.exit(main())
