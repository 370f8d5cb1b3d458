"""Section "failure" of a report: one sum taken apart, a wrong one where the network has any."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.claims import pair_of
from analyses.report.accuracy import measure
from analyses.report.section import Heading, Part, Picture, Section, Table, Text, picture
from analyses.report.source import Source
from interp import failure_diff
from interp.failure_diff import (
    Result,
    SearchConfig,
    SearchResult,
    error_kind,
    records,
    save_result,
    search,
)
from model.evaluation import evaluate
from model.task import HARD_CASES, N_DIGITS, TOKENS

PUBLISHED_CASE = HARD_CASES["published failing case"]
LISTED = 12
CONTROLS = {
    "single_edits": "all single-digit edits",
    "two_digit_edits": "two-digit edits of the neighbouring columns",
    "same_context": "random, same local context",
    "wider_context": "random, same local context, column above free",
    "chains": "random, same carry chain into the column",
}


@dataclass(frozen=True)
class Choice:
    """The sum that is taken apart, in words why this one, and the search that it took."""

    a: int
    b: int
    why: str
    found: SearchResult | None = None


def choose_pair(source: Source, config: SearchConfig) -> Choice:
    """Choose a wrong sum if any is found, and the one with the smallest margin otherwise.

    Args:
        source: The checkpoint.
        config: How hard to look for a wrong sum where no sampled one is.
    """
    measured = measure(source)
    failures = {(f.a, f.b): f for result in measured for f in result.failures}
    if PUBLISHED_CASE in failures:
        return Choice(
            *PUBLISHED_CASE, "the failing case that its write-up prints, and wrong here too"
        )
    if failures:
        # The clearest error is far from a coincidence of rounding.
        worst = min(failures.values(), key=lambda failure: failure.margin)
        return Choice(worst.a, worst.b, "the clearest of the failing pairs that were sampled")
    found = search(source.model, config)
    for row in records(found.contexts):
        pair = int(row["a"]), int(row["b"])
        if evaluate(source.model, [pair_of(*pair)], name="witness").errors:
            why = "found by a search over contexts, since no sampled pair fails"
            return Choice(*pair, why, found)
    thin = min(measured, key=lambda result: result.smallest_margin)
    assert thin.smallest_at is not None
    return Choice(
        *thin.smallest_at[:2],
        f"that with the smallest margin among the {sum(r.n for r in measured):,} pairs decoded "
        "for this report, since none of them fails and a search over contexts found none either",
        found,
    )


def build_failure(source: Source, folder: Path) -> Section:
    """Take one sum apart against its controls."""
    sizes: dict[str, Any] = {}
    if source.quick:
        few = SearchConfig(completions=2, attacked=20, listed=20, samples=200)
        sizes = {"search": few, "samples": 200, "patched": 10}
    config = failure_diff.Config(seed=source.seed, **sizes)
    choice = choose_pair(source, config.search)
    config = dataclasses.replace(config, a=choice.a, b=choice.b)
    result = failure_diff.run(source.model, config, source.name, found=choice.found)
    save_result(result, folder)
    figures = draw(result, folder)
    kind = "wrong" if result.focus.wrong else "right"
    why, edits, often = result.why.split("\n\n")
    shrunk = (
        f" This is a quick report: {config.samples} samples and {config.patched} patched "
        "controls, fewer than the command below takes."
        if source.quick
        else ""
    )
    parts: list[Part] = [
        Text(
            f"The sum taken apart is **{choice.a} + {choice.b}**: {choice.why}. The network gets "
            f"it **{kind}**. Column {result.focus.column} is "
            + ("the first that is wrong" if result.focus.wrong else "its thinnest")
            + f"; everything below is about that column, in float64 on the true prefix.{shrunk}"
        ),
        figures["carry_flow"],
        Table("The sum column by column, most significant first.", tabulate_columns(result)),
        Heading("What was taken for what"),
        Text(why),
        figures["margins"],
        Heading("Controls and patching"),
        *(Text(paragraph) for paragraph in split_controls(edits)),
        Table("Controls: how many are right.", tabulate_controls(result)),
        figures["patching"],
        Heading("How often"),
        Text(often),
        *tabulate_groups(result),
    ]
    return Section(
        name="failure",
        title="A wrong sum, taken apart" if result.focus.wrong else "The thinnest sum, taken apart",
        finding=_finding(result),
        parts=tuple(parts),
        commands=(
            source.command("interp.failure_diff", choice.a, choice.b, "--seed", source.seed),
        ),
        sources=("result.json", "why.txt", *(f"{name}.csv" for name in CONTROLS)),
    )


def split_controls(text: str) -> list[str]:
    """Part the sentences about edits from those about patching, which are many."""
    edits, patching, rest = text.partition("From the control ")
    return [part.strip() for part in (edits, patching + rest) if part.strip()]


def draw(result: Result, folder: Path) -> dict[str, Picture]:
    """Draw the figures of a failure diff with their captions."""
    other = f", beside the control {result.controls[0].name}" if result.controls else ""
    flips = "flips the digit" if result.focus.wrong else "moves the margin at least half of the way"
    captions = {
        "carry_flow": (
            f"The sum with its carries and the attention of the column in question{other}; digits "
            "that differ are framed. Columns that generate, propagate or kill a carry are coloured."
        ),
        "margins": f"Margin of every column on the true prefix{other}; the column is shaded.",
        "patching": (
            "Activation patching between the sum and random controls that pass, site by site and "
            "source by source. Colour: median share of the way from the receiver's logit gap to "
            f"the donor's; numbers: percentage of controls whose patch {flips}."
        ),
    }
    return {
        stem: picture(figure, folder, stem, captions[stem])
        for stem, figure in failure_diff.plot(result).items()
    }


def tabulate_columns(result: Result) -> pd.DataFrame:
    """Put the sum into a table: digits, carries, answer and margins, column by column."""
    rows = []
    for row in reversed(records(result.columns)):
        inside = row["column"] < N_DIGITS
        rows.append(
            {
                "column": row["column"],
                "a": str(row["a"]) if inside else "",
                "b": str(row["b"]) if inside else "",
                "carry in": row["carry_in"],
                "carry out": str(row["carry_out"]) if inside else "",
                "state": row["state"] if inside else "",
                "true": row["true"],
                "answer": row["greedy_predicted"],
                "margin": float(row["forced_margin"]),
                "runner-up": row["forced_runner_up"],
                "": "first wrong"
                if row["first_error"]
                else "thinnest"
                if row["column"] == result.focus.column
                else "",
            }
        )
    return pd.DataFrame(rows)


def tabulate_controls(result: Result) -> pd.DataFrame:
    """Count how many inputs of each kind of control are right."""
    rows = []
    for name, label in CONTROLS.items():
        table = records(result.tables[name])
        rows.append(
            {
                "inputs": label,
                "number": len(table),
                "whole sum right": sum(bool(row["passes"]) for row in table),
                f"column {result.focus.column} right": sum(
                    bool(row["right_here"]) for row in table
                ),
            }
        )
    return pd.DataFrame(rows)


def tabulate_groups(result: Result) -> list[Part]:
    """List the groups of failing contexts that the search found, where it found any."""
    groups = result.tables["search_groups"]
    if groups.empty:
        return []
    shown = records(groups.head(LISTED))
    names = {
        "column": "column",
        "carry_in": "carry in",
        "previous_digit": "s_(i-1)",
        "digit_sum": "a_i + b_i",
        "true": "true",
        "answered": "answered",
        "contexts": "contexts",
    }
    frame = pd.DataFrame(
        [{new: _whole(row[old]) for old, new in names.items()} for row in shown]
    ).assign(
        **{
            "share of all pairs": [float(row["mass"]) for row in shown],
            "smallest margin": [float(row["margin"]) for row in shown],
            "for example": [f"{row['a']} + {row['b']}" for row in shown],
        }
    )
    text = (
        f"Failing contexts found by the search, gathered; the {len(shown)} of {len(groups)} groups "
        "with the thinnest margins. Shares are estimated from samples of each context."
    )
    return [Table(text, frame)]


def _whole(value: object) -> str:
    return "" if pd.isna(value) else str(int(float(str(value))))  # pyright: ignore


def _finding(result: Result) -> str:
    focus = result.focus
    carry_in = records(result.columns)[focus.column]["carry_in"]
    true, rival = TOKENS[focus.true], TOKENS[focus.rival]
    kind = error_kind(focus, carry_in)
    if focus.wrong:
        return (
            f"{result.a} + {result.b} is answered {result.answer}: column {focus.column} says "
            f"{rival} for {true} by {focus.gap:.2f} logits, {kind}."
        )
    return (
        f"No failing pair was found. In the thinnest, {result.a} + {result.b}, column "
        f"{focus.column} prefers {true} to {rival} by {-focus.gap:.2f} logits; {rival} would be "
        f"{kind}."
    )
