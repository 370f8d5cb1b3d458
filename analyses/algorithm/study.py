"""Which algorithm does a network run? Rival executable hypotheses, scored three ways.

Question: soft base-10 place value, a carry bit, look-ahead at the operands, or a lookup table?

Method: (i) agreement with the network's own answers on all local contexts, wrong prefixes
included, which is where the rivals part (`agreement`; numbers fitted on one half of the contexts,
scored on the other); (ii) causal scrubbing at attn_out and resid_mid (`scrubbing`); (iii) which
columns of uniform pairs fail (`failure_prediction`). The account with the best agreement is
written out as program.py and run beside the network.
Controls: baselines and ceilings in every table, the hand-built adder in its three variants and a
random initialisation (--controls).

    python -m analyses.algorithm 262p
    python -m analyses.algorithm 262p --controls
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import tyro
from rich.table import Table
from tyro.conf import Positional

from analyses.algorithm.agreement import choose_winner, fit_all, score_agreement, shift_curve
from analyses.algorithm.failure_prediction import (
    failure_directions,
    predict_failures,
    score_directions,
)
from analyses.algorithm.figure import plot
from analyses.algorithm.local_answers import PREFIXES, enumerate_contexts, sample_true
from analyses.algorithm.program import compare_program, write_program
from analyses.algorithm.scrubbing import SITES, scrub, summarise_scrubbing
from interp.output import save_figure, save_json, save_table
from model.adder import Adder
from model.checkpoint import read_checkpoint
from model.decode import tables_of
from model.dense import dense
from model.errors import InputError
from model.factored import init_params
from model.handbuilt import handbuilt_adder
from model.shell import console, progress_console, run_command, write_atomic


@dataclass(frozen=True, kw_only=True)
class Config:
    """How much is sampled.

    Raises:
        InputError: A number that is too small.
    """

    contexts: int = 100_000
    """Contexts per column for agreement; 100000 is all of them."""
    pairs: int = 300_000
    """Uniform pairs whose failing columns are to be predicted."""
    receivers: int = 400
    """Inputs per column, site and account that are scrubbed."""
    pool: int = 8_000
    """Inputs per column from which donors come."""
    programs: int = 10_000
    """Pairs of each kind on which the program runs beside the network."""
    draws: int = 200
    """Bootstrap draws of every interval."""
    seed: int = 0
    """For everything that is drawn."""

    def __post_init__(self) -> None:
        """Check every field."""
        least = {"contexts": 100, "pairs": 100, "receivers": 10, "programs": 10, "draws": 20}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise InputError(f"--{name} is {getattr(self, name)}: it must be at least {value}")
        if self.pool < self.receivers:
            raise InputError(f"--pool is {self.pool}: it must be at least --receivers")


@dataclass(frozen=True)
class Result:
    """Everything that was measured on one network.

    Attributes:
        verdict: Winner, lead and ceiling of (i); odds ratio of the direction of errors.
        agreement: Table of (i).
        shifts: What the network adds to S, by T - s.
        scrubbing: Table of (ii).
        failures: Table of (iii).
        directions: Failures by previous carry and size of the error.
        program: Source of the winner.
        comparison: The program beside the network.
        differences: Pairs on which they differ.
    """

    verdict: dict[str, Any]
    agreement: pd.DataFrame
    shifts: pd.DataFrame
    scrubbing: pd.DataFrame
    failures: pd.DataFrame
    directions: pd.DataFrame
    program: str
    comparison: pd.DataFrame
    differences: pd.DataFrame


def run(model: Adder, config: Config, name: str = "network") -> Result:
    """Score every account on one network."""
    tables = tables_of(model)
    contexts = enumerate_contexts(tables, config.contexts, config.seed)
    fitted = np.random.default_rng(config.seed).random(len(contexts)) < 0.5
    fitted |= contexts.column == 0
    fits = fit_all(contexts.take(np.flatnonzero(fitted)))
    held_out = contexts.take(np.flatnonzero(~fitted))
    agreement, boot = score_agreement(held_out, fits, config.draws, config.seed)
    verdict = choose_winner(agreement, boot)

    examples = scrub(
        dense(model), fits, receivers=config.receivers, pool=config.pool, seed=config.seed
    )
    sampled, a, b = sample_true(tables, config.pairs, config.seed + 1)
    wrong = np.flatnonzero((sampled.margin < 0).reshape(-1, 10).any(axis=1))[:1_000]
    winner = str(verdict["winner"])
    program = write_program(winner, name, fit_all(contexts))
    comparison, differences = compare_program(
        program, tables, (a[wrong], b[wrong]), config.programs, config.seed + 2
    )
    directions = failure_directions(sampled)
    verdict |= score_directions(directions)
    return Result(
        verdict=verdict,
        agreement=agreement,
        shifts=shift_curve(contexts),
        scrubbing=summarise_scrubbing(examples, config.draws, config.seed),
        failures=predict_failures(sampled, config.draws, config.seed),
        directions=directions,
        program=program,
        comparison=comparison,
        differences=differences,
    )


def controls(model: Adder) -> dict[str, Adder]:
    """Build the networks whose algorithm is known, and one that has none."""
    built = {
        f"handbuilt-{carry}": handbuilt_adder(carry=carry)
        for carry in ("discrete", "soft", "ignored")
    }
    return {**built, "random-init": Adder(model.config, init_params(model.config, seed=0))}


TABLES = ("agreement", "shifts", "scrubbing", "failures", "directions", "comparison", "differences")


def write(result: Result, config: Config, name: str, folder: Path) -> None:
    """Write tables, verdict, program and figure."""
    for table in TABLES:
        save_table(getattr(result, table), folder / f"{table}.csv")
    save_json(
        {"checkpoint": name, "verdict": result.verdict, "config": asdict(config)},
        folder / "verdict.json",
    )
    write_atomic(folder / "program.py", result.program)
    frames = (result.agreement, result.shifts, result.scrubbing, result.failures)
    save_figure(plot(*frames, title=name), folder / "algorithm")


def describe(result: Result) -> str:
    """Put the verdict into one line."""
    v = result.verdict
    who = f"winner: {v['winner']}" if v["is_rival"] else f"no rival beats {v['winner']!r}"
    return (
        f"{who}, {v['agreement']:.4f} of held-out contexts; lead over {v['runner_up']} "
        f"{v['lead']:.4f} ({v['lead_low']:.4f} to {v['lead_high']:.4f}); "
        f"any function of (S, T, s) {v['ceiling']:.4f}"
    )


def print_result(result: Result, name: str) -> None:
    """Print the three scores side by side, and the program's."""
    by_prefix = result.agreement.pivot(index="hypothesis", columns="prefix", values="agreement")
    prefixes = [p for p in ("all", *PREFIXES) if p in by_prefix]
    table = Table(title=f"{name}: agreement by kind of s_(i-1)", title_justify="left")
    for head in ("account", *prefixes):
        table.add_column(head, justify="left" if head == "account" else "right", no_wrap=True)
    for account in by_prefix.sort_values("all", ascending=False).index:
        table.add_row(account, *(f"{by_prefix.loc[account, p]:.4f}" for p in prefixes))
    console.print(table)
    table = Table(
        title="share of answers changed (mean KL) by swapping what the account calls equal",
        title_justify="left",
    )
    for head in ("account", "s", *SITES):
        table.add_column(head, justify="right" if head in SITES else "left", no_wrap=True)
    for (account, population), part in result.scrubbing.groupby(
        ["account", "population"], sort=False
    ):
        by_site = part.set_index("site")
        cells = (f"{by_site.loc[s, 'flips']:.4f} ({by_site.loc[s, 'kl_mean']:.3g})" for s in SITES)
        table.add_row(str(account), str(population), *cells)
    console.print(table)
    _print_failures(result.failures)
    for row in result.comparison.to_dict("records"):
        console.print(
            f"program.py on {row['pairs']} ({row['n']:,}): the network's answer in "
            f"{row['same']:.5f} ({row['low']:.5f} to {row['high']:.5f}); wrong sums: network "
            f"{row['network_wrong']:,}, program {row['program_wrong']:,}",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"{name}: {describe(result)}", highlight=False, soft_wrap=True)


def _print_failures(failures: pd.DataFrame) -> None:
    """Print how well each account ranks held-out failures, where there are any."""
    n = int(failures.loc[failures["account"] == "column alone", "failures"].iloc[0])
    if not n:
        pairs = int(failures["examples"].max()) // 10
        console.print(f"no column of {pairs:,} held-out pairs fails", highlight=False)
        return
    table = Table(title=f"which columns fail ({n:,} held-out failures)", title_justify="left")
    for head in ("account", "AUC", "95 %", "bits a failure", "recall"):
        table.add_column(head, justify="left" if head == "account" else "right", no_wrap=True)
    for row in failures.sort_values("auc", ascending=False).to_dict("records"):
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        cells = (f"{row['auc']:.3f}", interval, f"{row['bits']:+.2f}", f"{row['recall']:.3f}")
        table.add_row(row["account"], *cells)
    table.caption = "bits: gained over the column alone; recall: in cells that mostly failed"
    console.print(table)


def find_algorithm(
    checkpoint: Positional[str],
    config: Annotated[Config, tyro.conf.arg(name="")],
    controls_too: Annotated[bool, tyro.conf.arg(name="controls")] = False,
    out: Path = Path("out/algorithm"),
) -> None:
    """Score rival hypotheses about a network's algorithm and write the winner as a program.

    Args:
        checkpoint: Shipped name, folder, NAME@STEP, or published .pt file.
        config: How much is sampled.
        controls_too: Also the hand-built adder in three variants and a random initialisation.
        out: Folder of the results; each network gets its own in it.
    """
    source = read_checkpoint(checkpoint)
    networks = {source.name: source.model}
    if controls_too:
        networks |= controls(source.model)
    for name, model in networks.items():
        with progress_console.status(f"{name} ..."):
            result = run(model, config, name)
        write(result, config, name, out / name)
        print_result(result, name)
        console.print(f"tables, figure and program: {out / name}", highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        find_algorithm,
        argv,
        prog="python -m analyses.algorithm",
        example="python -m analyses.algorithm 262p --controls",
    )
