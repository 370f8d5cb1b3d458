"""The study of the algorithm at length, as text: every account's scores side by side."""

from collections.abc import Mapping

import pandas as pd
from rich.console import Console
from rich.table import Table

from analyses.algorithm.local_answers import PREFIXES
from analyses.algorithm.scrubbing import SITES


def print_tables(tables: Mapping[str, pd.DataFrame], name: str, to: Console) -> None:
    """Print the three scores side by side, and the program's."""
    by_prefix = tables["agreement"].pivot(index="hypothesis", columns="prefix", values="agreement")
    prefixes = [p for p in ("all", *PREFIXES) if p in by_prefix]
    table = Table(title=f"{name}: agreement by kind of s_(i-1)", title_justify="left")
    for head in ("account", *prefixes):
        table.add_column(head, justify="left" if head == "account" else "right", no_wrap=True)
    for account in by_prefix.sort_values("all", ascending=False).index:
        table.add_row(account, *(f"{by_prefix.loc[account, p]:.4f}" for p in prefixes))
    to.print(table)
    table = Table(
        title="share of answers changed (mean KL) by swapping what the account calls equal",
        title_justify="left",
    )
    for head in ("account", "s", *SITES):
        table.add_column(head, justify="right" if head in SITES else "left", no_wrap=True)
    for (account, population), part in tables["scrubbing"].groupby(
        ["account", "population"], sort=False
    ):
        by_site = part.set_index("site")
        cells = (f"{by_site.loc[s, 'flips']:.4f} ({by_site.loc[s, 'kl_mean']:.3g})" for s in SITES)
        table.add_row(str(account), str(population), *cells)
    to.print(table)
    _print_failures(tables["failures"], to)
    for row in tables["comparison"].to_dict("records"):
        to.print(
            f"program.py on {row['pairs']} ({row['n']:,}): the network's answer in "
            f"{row['same']:.5f} ({row['low']:.5f} to {row['high']:.5f}); wrong sums: network "
            f"{row['network_wrong']:,}, program {row['program_wrong']:,}",
        )


def _print_failures(failures: pd.DataFrame, to: Console) -> None:
    """Print how well each account ranks held-out failures, where there are any."""
    n = int(failures.loc[failures["account"] == "column alone", "failures"].iloc[0])
    if not n:
        pairs = int(failures["examples"].max()) // 10
        to.print(f"no column of {pairs:,} held-out pairs fails")
        return
    table = Table(title=f"which columns fail ({n:,} held-out failures)", title_justify="left")
    for head in ("account", "AUC", "95 %", "bits a failure", "recall"):
        table.add_column(head, justify="left" if head == "account" else "right", no_wrap=True)
    for row in failures.sort_values("auc", ascending=False).to_dict("records"):
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        cells = (f"{row['auc']:.3f}", interval, f"{row['bits']:+.2f}", f"{row['recall']:.3f}")
        table.add_row(row["account"], *cells)
    table.caption = "bits: gained over the column alone; recall: in cells that mostly failed"
    to.print(table)
