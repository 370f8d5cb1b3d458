"""How many of all pairs does any one-layer network add rightly? python -m interp.certify FILE.

Method and bounds: docs/certification.md. This module makes what is written and shown: failing
contexts with a pair each that the network gets wrong, the columns, and the tightest margin found.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from interp.certify_any.certificate import Count, Proof, certify_network
from interp.certify_any.count import draw, masses
from interp.certify_any.file import write_certificate
from interp.certify_any.search import RIGHT, UNDECIDED, WRONG
from interp.output import save_json, save_table
from model.anyone import AnyAdder
from model.decode import decode_exactly
from model.errors import InputError
from model.shell import Row, Summary, progress_bar
from model.stored import save_network

VERDICTS = {RIGHT: "right", WRONG: "wrong", UNDECIDED: "undecided"}
LARGEST = 20_000
"""Failing contexts that are listed, and undecided ones."""
TIGHTEST = 500
"""Pairs that are drawn from the right cells with the smallest margins."""


@dataclass(frozen=True)
class Result:
    """What was found.

    Attributes:
        proof: Counts and cells.
        columns: Exact numbers of pairs on whose true prefix a column is right, wrong, undecided.
        contexts: Failing and undecided contexts, the largest first, each with a pair.
        tightest: The pair with the smallest margin that was found among those that are right.
    """

    proof: Proof
    columns: pd.DataFrame
    contexts: pd.DataFrame
    tightest: dict[str, Any]


def run(adder: AnyAdder, *, budget: int, end_budget: int, seed: int = 0) -> Result:
    """Certify a network and list what fails.

    Raises:
        InputError: A cell that is proved wrong holds a pair that the network gets right. That would
            be a fault of this program.
    """
    network = adder.network
    with progress_bar() as bar:
        task = bar.add_task("certifying", total=network.layout.n_target)
        proof = certify_network(
            network,
            budget=budget,
            end_budget=end_budget,
            progress=lambda step: bar.update(task, completed=step + 1),
        )
    rng = np.random.default_rng(seed)
    return Result(proof, tabulate_columns(proof), list_contexts(proof, rng), tightest(proof, rng))


def tabulate_columns(proof: Proof) -> pd.DataFrame:
    """Sum up the verdicts of each column, each judged alone on the true prefix."""
    rows = []
    for column in range(proof.network.layout.n_target):
        sums = [sum(masses(proof.pool, proof.column(column, verdict))) for verdict in VERDICTS]
        cells = sum(len(x.cells) for x in proof.leaves if x.column == column)
        rows.append([column, *sums, cells])
    return pd.DataFrame(rows, columns=["column", *VERDICTS.values(), "cells"])


def list_contexts(proof: Proof, rng: np.random.Generator) -> pd.DataFrame:
    """List the contexts that are not right, the largest first, with a random pair of each."""
    layout, pool = proof.network.layout, proof.pool
    tables = []
    for verdict in (WRONG, UNDECIDED):
        found: list[pd.DataFrame] = []
        for tree, leaves in enumerate(proof.leaves):
            rows = np.flatnonzero(leaves.verdict == verdict)
            mass = masses(pool, leaves.cells[rows])
            found.append(
                pd.DataFrame(
                    {
                        "verdict": VERDICTS[verdict],
                        "column": leaves.column,
                        "mass": pd.Series(mass, dtype=object),
                        "tree": tree,
                        "leaf": rows,
                    }
                )
            )
        table = pd.concat(found, ignore_index=True)
        table = table[table["mass"] > 0]
        order = table["mass"].astype(float).sort_values(ascending=False, kind="stable").index
        tables.append(table.loc[order[:LARGEST]])
    table = pd.concat(tables, ignore_index=True)
    cells = np.array(
        [proof.leaves[t].cells[i] for t, i in zip(table["tree"], table["leaf"], strict=True)]
    ).reshape(-1, layout.width)
    a, b = draw(pool, cells, rng)
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    truth = layout.encode(x, y)[:, layout.n_prompt :]
    forced = decode_exactly(proof.network, x, y, prefix=truth[:, :-1])
    steps = torch.tensor([layout.step(int(c)) for c in table["column"]], dtype=torch.int64)
    margin = forced.margin[torch.arange(len(a)), steps].numpy()
    wrong = (table["verdict"] == VERDICTS[WRONG]).to_numpy()
    if (margin[wrong] > 0).any():
        raise InputError("a cell that was proved wrong holds a right pair: please report this")
    total = layout.capacity**2
    templates = [template(proof, cell) for cell in cells]
    return table.assign(
        share=[mass / total for mass in table["mass"]],
        a_digits=[x for x, _ in templates],
        b_digits=[y for _, y in templates],
        a=a,
        b=b,
        true=a + b,
        answer=decode_exactly(proof.network, x, y).sums.numpy(),
        margin=margin,
    )


def template(proof: Proof, cell: np.ndarray) -> tuple[str, str]:
    """Write the digits that a cell fixes, most significant first, ? where free."""
    pool = proof.pool
    mark = "" if pool.base <= 10 else " "
    found = []
    for name in ("a", "b"):
        digits = [int(pool.value(cell[k : k + 1], name)[0]) for k in reversed(range(len(cell)))]
        found.append(mark.join("?" if digit < 0 else str(digit) for digit in digits))
    return found[0], found[1]


def tightest(proof: Proof, rng: np.random.Generator) -> dict[str, Any]:
    """Find a right pair with a small margin: draw from the right cells whose margins are least.

    The true smallest margin of all right pairs is positive and at most the one given here.
    """
    layout = proof.network.layout
    margins, cells, steps = [], [], []
    for leaves in proof.leaves:
        rows = np.flatnonzero((leaves.verdict == RIGHT) & (leaves.step < layout.n_answer))
        if not len(rows):
            continue
        near = rows[np.argsort(leaves.margin[rows], kind="stable")[:TIGHTEST]]
        margins.append(leaves.margin[near])
        cells.append(leaves.cells[near])
        steps.append(np.full(len(near), leaves.step))
    if not margins:
        return {}
    order = np.argsort(np.concatenate(margins), kind="stable")[:TIGHTEST]
    chosen, step = np.concatenate(cells)[order], np.concatenate(steps)[order]
    held = np.array(masses(proof.pool, chosen), dtype=float) > 0
    a, b = draw(proof.pool, chosen[held], rng)
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    forced = decode_exactly(
        proof.network, x, y, prefix=layout.encode(x, y)[:, layout.n_prompt : -1]
    )
    margin = forced.margin[torch.arange(len(a)), torch.from_numpy(step[held])].numpy()
    at = int(margin.argmin())
    column = layout.step(int(step[held][at]))
    return {"margin": float(margin[at]), "column": column, "a": int(a[at]), "b": int(b[at])}


def collect(result: Result) -> dict[str, Any]:
    """Collect counts and what else others tabulate; integers above 2^53 as strings."""
    proof = result.proof
    failing = result.contexts[result.contexts["verdict"] == "wrong"]
    largest = failing.iloc[0] if len(failing) else None
    return {
        "counts": {name: _plain(count) for name, count in named_counts(proof).items()},
        "arithmetic": "real",
        "total": str(proof.digits.total),
        "failing_contexts": len(failing),
        "undecided_contexts": len(result.contexts) - len(failing),
        "largest_failing": None
        if largest is None
        else {
            "column": int(largest["column"]),
            "a_digits": largest["a_digits"],
            "b_digits": largest["b_digits"],
            "mass": str(largest["mass"]),
            "share": float(largest["share"]),
            "a": int(largest["a"]),
            "b": int(largest["b"]),
            "answer": int(largest["answer"]),
        },
        "smallest_margin_found": result.tightest,
    }


def named_counts(proof: Proof) -> dict[str, Count]:
    """Name the counts: "real", and "real_with_end" where there is an end token."""
    counts = {"real": proof.digits}
    if proof.with_end is not None:
        counts["real_with_end"] = proof.with_end
    return counts


def _plain(count: Count) -> dict[str, Any]:
    smallest, largest = count.error_rates
    return {
        "lower": str(count.lower),
        "upper": str(count.upper),
        "gap": str(count.upper - count.lower),
        "counting": count.counting,
        "error_rate_smallest": smallest,
        "error_rate_largest": largest,
    }


def write(result: Result, adder: AnyAdder, folder: Path) -> None:
    """Write certificate, network, tables and summary, and beside them how long it took."""
    network = result.proof.network
    source = {name: adder.card[name] for name in ("source", "n_params") if name in adder.card}
    save_network(folder, network, source)
    write_certificate(result.proof, result.contexts, result.tightest, folder / "certificate.json")
    save_json(collect(result), folder / "summary.json")
    save_json({"seconds": result.proof.seconds}, folder / "timing.json")
    save_table(result.columns, folder / "columns.csv")
    save_table(result.contexts, folder / "atlas.csv")


def summarise(result: Result, name: str) -> Summary:
    """Say in one screen what was proved."""
    proof = result.proof
    total = proof.digits.total
    width, base = proof.network.layout.width, proof.network.layout.base
    pairs = f"{base}^{2 * width}"
    rows = [_row("right, real arithmetic", proof.digits)]
    if proof.with_end is not None:
        rows.append(_row("with end token", proof.with_end))
    digits = result.columns[result.columns["column"] <= width]
    wrong = {int(r["column"]): int(r["wrong"]) for r in digits.to_dict("records")}
    worst = max(wrong, key=lambda column: wrong[column])
    if wrong[worst]:
        found = f"{wrong[worst] / total:.2e} of pairs"
        hit = sum(1 for mass in wrong.values() if mass)
        rows.append(Row("worst column", f"column {worst}", found, f"{hit} columns err"))
    failing = result.contexts[result.contexts["verdict"] == "wrong"]
    left = len(result.contexts) - len(failing)
    count = f"{len(failing):,}" if len(failing) else "none"
    rows.append(Row("failing contexts", count, "", f"{left:,} undecided"))
    if len(failing):
        first = failing.iloc[0]
        rows.append(
            Row(
                "a wrong sum",
                f"{first['a']} + {first['b']}",
                f"answers {first['answer']}",
                f"true {first['true']}",
            )
        )
    if result.tightest:
        margin = f"{result.tightest['margin']:.3g}"
        rows.append(Row("smallest margin", margin, "", "of right pairs that were tried"))
    return Summary(
        f"{name}: how many of the {pairs} pairs are right?", tuple(rows), tuple(_say(proof, pairs))
    )


def _row(question: str, found: Count) -> Row:
    most, least = found.total - found.lower, found.total - found.upper
    if not most:
        return Row(question, "all pairs", "0 wrong", "0 undecided")
    if found.exact:
        return Row(question, "exact count", f"{most:,} wrong", "0 undecided")
    return Row(question, "bounds", f"at most {most:,} wrong", f"at least {least:,}")


def _say(proof: Proof, pairs: str) -> list[str]:
    found = proof.digits
    low, high = found.error_rates
    if found.lower == found.total:
        sentences = [f"In real arithmetic all {pairs} pairs are right."]
    elif found.exact:
        sentences = [
            f"In real arithmetic exactly {found.total - found.lower:,} of {pairs} pairs are wrong, "
            f"a share of {low:.6g}."
        ]
    else:
        sentences = [f"Between {low:.6g} and {high:.6g} of all pairs are wrong."]
        layout = proof.network.layout
        left = sum(
            sum(masses(proof.pool, proof.column(column, UNDECIDED)))
            for column in range(layout.n_answer)
        )
        if left:
            sentences.append(
                f"A share of {left / found.total:.3g} stays undecided, because distant digits move "
                "those margins across zero, and a larger --budget narrows it."
            )
        if found.counting == "columns":
            sentences.append(
                "Wrong cells of several columns overlap in too many ways to be counted together."
            )
    sentences.append("The count is of real arithmetic, not of float32, and nothing is sampled.")
    return sentences
