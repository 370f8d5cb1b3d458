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

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analyses.algorithm.agreement import choose_winner, fit_all, score_agreement, shift_curve
from analyses.algorithm.config import Config
from analyses.algorithm.details import print_tables
from analyses.algorithm.failure_prediction import (
    failure_directions,
    predict_failures,
    score_directions,
)
from analyses.algorithm.figure import plot
from analyses.algorithm.local_answers import enumerate_contexts, sample_true
from analyses.algorithm.program import compare_program, write_program
from analyses.algorithm.scrubbing import scrub, summarise_scrubbing
from interp.output import save_figure, save_json, save_table
from model.adder import Adder
from model.decode import tables_of
from model.dense import dense
from model.factored import init_params
from model.handbuilt import handbuilt_adder
from model.shell import DETAILS, write_atomic, write_details


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


def write_tables(result: Result, config: Config, name: str, folder: Path) -> None:
    """Write tables, verdict and program."""
    for table in TABLES:
        save_table(getattr(result, table), folder / f"{table}.csv")
    save_json(
        {"checkpoint": name, "verdict": result.verdict, "config": asdict(config)},
        folder / "verdict.json",
    )
    write_atomic(folder / "program.py", result.program)
    write_atomic(folder / DETAILS, write_details(partial(print_tables, tables_in(result), name)))


def write(result: Result, config: Config, name: str, folder: Path) -> None:
    """Write tables, verdict, program and figure."""
    write_tables(result, config, name, folder)
    frames = (result.agreement, result.shifts, result.scrubbing, result.failures)
    save_figure(plot(*frames, title=name), folder / "algorithm")


def tables_in(result: Result) -> dict[str, pd.DataFrame]:
    """Give the tables of a result by name."""
    return {name: getattr(result, name) for name in TABLES}


def describe(result: Result) -> str:
    """Put the verdict into one line."""
    v = result.verdict
    who = f"winner: {v['winner']}" if v["is_rival"] else f"no rival beats {v['winner']!r}"
    return (
        f"{who}, {v['agreement']:.4f} of held-out contexts; lead over {v['runner_up']} "
        f"{v['lead']:.4f} ({v['lead_low']:.4f} to {v['lead_high']:.4f}); "
        f"any function of (S, T, s) {v['ceiling']:.4f}"
    )
