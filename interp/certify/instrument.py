"""How many of the 10^20 pairs does a checkpoint add correctly? python -m interp.certify CHECKPOINT.

Decoding is right exactly when every column is right on the true prefix. There the query token is
s_{i-1} and attention is a ratio of sums over finite tables, so all pairs that share the digits next
to a column (a cell) can be judged at once; the rest of the digits only move the residual stream
within a small box. Undecided cells are split, and the pairs that avoid every wrong (every wrong or
undecided) cell are counted exactly. Method, bounds and file format: docs/certification.md. The
second program is python -m interp.check_certificate.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from interp.certify.atlas import build_atlas
from interp.certify.certificate import ARITHMETICS, Certificate, certify
from interp.certify.config import CertifyConfig
from interp.certify.count import TOTAL, cell_masses
from interp.certify.figures import plot_atlas, tabulate_contexts
from interp.certify.file import CLAIMS, COUNTS, write_certificate
from interp.certify.verdicts import RIGHT, UNDECIDED, WRONG
from interp.output import save_figure, save_json, save_table
from model.adder import Adder
from model.shell import DETAILS, progress_bar, write_atomic, write_details
from model.task import N_TARGET

LISTED = 50
"""Contexts that are written out; all are in their table."""


@dataclass(frozen=True)
class Result:
    """What certification of one model found.

    Attributes:
        certificate: Counts and cells.
        columns: Per column and arithmetic, the exact numbers of pairs on whose true prefix the
            column is right, wrong, undecided; and the number of cells.
        atlas: Failing and undecided contexts (see `atlas.build_atlas`).
        contexts: Masses on the context grid (see `figures.tabulate_contexts`).
    """

    certificate: Certificate
    columns: pd.DataFrame
    atlas: pd.DataFrame
    contexts: pd.DataFrame


def run(model: Adder, config: CertifyConfig | None = None) -> Result:
    """Certify a model and list what fails."""
    with progress_bar() as bar:
        task = bar.add_task("certifying", total=N_TARGET)
        certificate = certify(model, config, lambda column, _: bar.update(task, completed=column))
    return Result(
        certificate,
        tabulate_columns(certificate),
        build_atlas(certificate, model),
        tabulate_contexts(certificate),
    )


def plot(result: Result) -> Figure:
    """Draw the atlas of failing contexts."""
    return plot_atlas(result.contexts)


def tabulate_columns(certificate: Certificate) -> pd.DataFrame:
    """Sum up the verdicts of each column, each judged alone on the true prefix."""
    rows = []
    for column in range(N_TARGET):
        for arithmetic in ARITHMETICS:
            right, wrong, undecided = (
                sum(cell_masses(certificate.cells(arithmetic, [v], [column])[0]))
                for v in (RIGHT, WRONG, UNDECIDED)
            )
            cells = sum(len(t.leaves) for t in certificate.trees if t.column == column)
            rows.append([column, arithmetic, right, wrong, undecided, cells])
    return pd.DataFrame(
        rows, columns=["column", "arithmetic", "right", "wrong", "undecided", "cells"]
    )


def collect(result: Result) -> dict[str, Any]:
    """Collect counts, rates and assumptions for JSON; integers above 2^53 as strings."""
    certificate = result.certificate
    counts = {}
    for name in COUNTS:
        count = getattr(certificate, name)
        smallest, largest = count.error_rates
        counts[name] = {
            "lower": str(count.lower),
            "upper": str(count.upper),
            "gap": str(count.gap),
            "counting": count.counting,
            "error_rate_smallest": smallest,
            "error_rate_largest": largest,
        }
    return {
        "counts": counts,
        "total": str(TOTAL),
        "claims": CLAIMS,
        "weights_sha256": certificate.sha256,
        "failing_contexts": int((result.atlas["real"] == "wrong").sum()),
    }


def report(result: Result, to: Console) -> None:
    """Print counts, columns and the largest failing contexts."""
    certificate = result.certificate
    to.print(f"right pairs out of {TOTAL:,}:")
    for name in COUNTS:
        count = getattr(certificate, name)
        smallest, largest = count.error_rates
        amount, rate = f"exactly {count.lower:,}", f"{smallest:.4e}"
        if count.gap:
            amount = f"{count.lower:,} to {count.upper:,}"
            rate = f"{smallest:.4e} to {largest:.4e}"
        to.print(
            f"  {name.replace('_', ' ')}: {amount}; error rate {rate}",
        )
    for key in ("right", "real", "float32"):
        to.print(f"{key}: {CLAIMS[key]}")
    table = Table(
        title="share of pairs by column, each column on the true prefix", title_justify="left"
    )
    for name in ("column", "wrong (real)", "undecided", "wrong (float32)", "undecided", "cells"):
        table.add_column(name, justify="right")
    by_column = result.columns.set_index(["column", "arithmetic"])
    for column in range(N_TARGET):
        real, float32 = by_column.loc[(column, "real")], by_column.loc[(column, "float32")]
        numbers = [real["wrong"], real["undecided"], float32["wrong"], float32["undecided"]]
        label = "EOS" if column == N_TARGET - 1 else str(column)
        shares = (f"{float(x) / TOTAL:.3e}" if x else "0" for x in numbers)
        table.add_row(label, *shares, f"{real['cells']:,}")
    to.print(table)
    atlas = result.atlas
    failing = int((atlas["real"] == "wrong").sum())
    to.print(
        f"{failing} failing contexts, {len(atlas) - failing} others not proved right in both "
        f"arithmetics; largest {min(LISTED, len(atlas))}:",
    )
    for row in atlas.head(LISTED).to_dict("records"):
        to.print(
            f"  column {row['column']}: {row['a_digits']} + {row['b_digits']} ({row['context']}): "
            f"{row['mass']:,} pairs, real {row['real']}, float32 {row['float32']}; for example "
            f"{row['a']} + {row['b']} = {row['true']}, model {row['answer']}",
        )


def write(result: Result, folder: Path) -> None:
    """Write certificate, tables, summary and figure, and beside them how long it took."""
    wrong = result.atlas[result.atlas["real"] == "wrong"]
    witnesses = wrong[["tree", "leaf", "a", "b"]].to_numpy("int64")
    write_certificate(result.certificate, witnesses, folder / "certificate.json")
    save_json(collect(result), folder / "summary.json")
    save_json({"seconds": result.certificate.seconds}, folder / "timing.json")
    write_atomic(folder / DETAILS, write_details(partial(report, result)))
    save_table(result.columns, folder / "columns.csv")
    save_table(result.atlas, folder / "atlas.csv")
    save_table(result.contexts, folder / "contexts.csv")
    save_figure(plot(result), folder / "atlas")
