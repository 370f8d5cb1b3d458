"""One sum against its controls: where a model goes wrong, what it took for a carry, how often.

Question: on this pair, which column fails (or is thinnest), why, and for which other inputs?

Method: the column table, teacher-forced and greedy, names the first error. Controls: all 180
single-digit edits, two-digit edits nearby, inputs of the same local context, carry chains of the
same shape, the commuted pair. The wrong logit difference is attributed exactly to embeddings,
sources and units, placed between the inputs without and with a carry, split over the other columns
by Shapley values, and patched from passing controls in both directions. A search over contexts says
where else the model fails.

    python -m interp.failure_diff 311p 9304630660 8594408863
    python -m interp.failure_diff 311p --search
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure

from interp.anatomy import context_of, context_share, trace_column
from interp.failure_diff.atlas import atlas_tables
from interp.failure_diff.attribution import attribute_gap, attribute_units, lens_table
from interp.failure_diff.columns import Focus, column_table, find_focus, greedy_sum, is_carry_error
from interp.failure_diff.controls import (
    Control,
    carry_reference_table,
    chain_table,
    choose_controls,
    commuted_table,
    edit_table,
    neighbourhood,
    same_context_table,
    single_digit_edits,
    two_digit_edits,
)
from interp.failure_diff.differences import difference_table
from interp.failure_diff.error_search import SearchConfig, SearchResult, search
from interp.failure_diff.evidence import CarryScale, carry_scale, column_shapley
from interp.failure_diff.explain import explain
from interp.failure_diff.figures import plot_carry_flow, plot_margins, plot_patching
from interp.failure_diff.patching import average_patching, minimal_sets, patch_table
from interp.failure_diff.report import print_result, print_search
from interp.failure_diff.result import HowOften, Result, records, save_result
from interp.output import save_figure, save_json, save_table
from model.adder import Adder
from model.dense import dense
from model.intervals import clopper_pearson
from model.network import Network
from model.shell import DETAILS, write_atomic, write_details
from model.task import HARD_CASES, N_INPUT, N_TARGET, check_operands, encode

DEFAULT_A, DEFAULT_B = HARD_CASES["published failing case"]
_QUICK_SEARCH = SearchConfig(completions=8, attacked=100, listed=100, samples=1_000)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to compare, and with how many controls."""

    a: int = DEFAULT_A
    """First operand."""
    b: int = DEFAULT_B
    """Second operand."""
    samples: int = 2_000
    """Random inputs of the same local context, of the same chain, and for each carry."""
    edit_controls: int = 3
    """Single-digit edits to patch from."""
    patched: int = 50
    """Random passing controls over which the patching map is averaged."""
    search: SearchConfig = _QUICK_SEARCH
    """How hard to look for other failing contexts."""
    certify: bool = False
    """Whether to count all failing pairs exactly with the certifier, for its atlas."""
    seed: int = 0
    """Seed of all random draws."""


def run(
    model: Adder,
    config: Config | None = None,
    name: str = "model",
    report: Callable[[str], None] | None = None,
    found: SearchResult | None = None,
) -> Result:
    """Compare one pair with its controls.

    Args:
        model: The network; everything but the greedy verdicts is computed in float64.
        config: What to compare.
        name: The checkpoint's name, for the result.
        report: Called with the name of each stage before it starts.
        found: What the search that `config` asks for has found, where it was made before.

    Raises:
        InputError: An operand is out of range.
    """
    config = config or Config()
    a, b = config.a, config.b
    check_operands(min(a, b), max(a, b))
    say = report or (lambda _: None)
    weights = dense(model)
    generator = torch.Generator().manual_seed(config.seed)

    say("column table")
    columns = column_table(weights, a, b)
    focus = find_focus(columns)
    say("controls")
    tables = _judge_controls(weights, config, focus, generator)
    others = {
        "same local context": tables["same_context"],
        "same chain": tables["chains"],
        "same digits here": tables["references"],
    }
    controls = choose_controls(a, b, focus, tables["single_edits"], others, config.edit_controls)
    say("attribution and patching")
    tables |= _open_up(weights, config, focus, controls, tables["references"])
    if found is None:
        say("search for other failures")
        found = search(model, config.search)
    tables |= {
        "search_columns": found.columns,
        "search_contexts": found.contexts,
        "search_groups": found.groups,
    }
    if config.certify:
        say("certifier's atlas")
        tables |= atlas_tables(model)
    pairs = [(a, b), *((c.a, c.b) for c in controls[:1])]
    result = Result(
        checkpoint=name,
        a=a,
        b=b,
        answer=greedy_sum(columns),
        focus=focus,
        columns=columns,
        control_columns=column_table(weights, *pairs[1]) if controls else pd.DataFrame(),
        attention=torch.stack([_pattern(weights, *pair) for pair in pairs]).numpy(),
        controls=controls,
        scale=_scale(focus, columns, tables["references"]),
        how_often=_how_often(a, b, focus, tables["same_context"]),
        tables=tables,
    )
    return dataclasses.replace(result, why=explain(result))


def plot(result: Result) -> dict[str, Figure]:
    """Draw the figures of a result, by name."""
    return {
        "carry_flow": plot_carry_flow(result),
        "margins": plot_margins(result),
        "patching": plot_patching(result),
    }


def _judge_controls(
    weights: Network, config: Config, focus: Focus, generator: torch.Generator
) -> dict[str, pd.DataFrame]:
    a, b, n = config.a, config.b, config.samples
    near = two_digit_edits(a, b, neighbourhood(focus.column))
    references = carry_reference_table(weights, a, b, focus, n, generator)
    return {
        "single_edits": edit_table(weights, a, b, focus, single_digit_edits(a, b)),
        "two_digit_edits": edit_table(weights, a, b, focus, near),
        "same_context": same_context_table(weights, a, b, focus, n, generator),
        "wider_context": same_context_table(weights, a, b, focus, n, generator, open_above=True),
        "chains": chain_table(weights, a, b, focus, n, generator),
        "commuted": commuted_table(weights, a, b, focus),
        "references": references,
        "evidence": column_shapley(weights, a, b, focus, references),
    }


def _open_up(
    weights: Network,
    config: Config,
    focus: Focus,
    controls: tuple[Control, ...],
    references: pd.DataFrame,
) -> dict[str, pd.DataFrame]:
    """Attribute, compare and patch: the input and every control."""
    names = ["input", *(c.name for c in controls)]
    first = torch.tensor([config.a, *(c.a for c in controls)])
    second = torch.tensor([config.b, *(c.b for c in controls)])
    tokens = encode(first, second)
    own = tokens[:1]
    others = {name: tokens[i : i + 1] for i, name in enumerate(names) if i}

    def gather(tables: list[pd.DataFrame], key: str, labels: Sequence[str]) -> pd.DataFrame:
        kept = [t.assign(**{key: label}) for t, label in zip(tables, labels, strict=True)]
        return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame()

    lens = lens_table(weights, tokens, focus)
    lens["input"] = [names[i] for i in lens["input"]]
    drawn = [
        (row["a"], row["b"])
        for row in records(references)
        if row["passes"] and row["right_here"] and row["true"] == focus.true
    ]
    pairs = torch.tensor(drawn[: config.patched], dtype=torch.int64).reshape(-1, 2)
    passing = encode(pairs[:, 0], pairs[:, 1])
    return {
        "attribution": gather(attribute_gap(weights, tokens, focus), "input", names),
        "unit_attribution": gather(attribute_units(weights, tokens, focus), "input", names),
        "lens": lens,
        "differences": difference_table(weights, own, others, focus.column),
        "patching": gather(
            [patch_table(weights, own, x, focus) for x in others.values()], "control", [*others]
        ),
        "minimal_sets": gather(
            [minimal_sets(weights, own, x, focus) for x in others.values()], "control", [*others]
        ),
        "patching_mean": average_patching(weights, own, passing, focus),
    }


def _pattern(weights: Network, a: int, b: int) -> torch.Tensor:
    """Attention of all 12 answer columns over the 33 positions, on the true prefix."""
    tokens = encode(torch.tensor([a]), torch.tensor([b]))
    rows = torch.zeros(N_TARGET, N_INPUT, dtype=torch.float64)
    for column in range(N_TARGET):
        pattern = trace_column(weights, tokens, column)["pattern"][0]
        rows[column, : len(pattern)] = pattern
    return rows


def _scale(focus: Focus, columns: pd.DataFrame, references: pd.DataFrame) -> CarryScale | None:
    """Place the input between no carry and a carry, if the error is one of the carry."""
    carry_in = records(columns)[focus.column]["carry_in"]
    return carry_scale(references, focus.gap) if is_carry_error(focus, carry_in) else None


def _how_often(a: int, b: int, focus: Focus, same_context: pd.DataFrame) -> HowOften:
    context = context_of(a, b, focus.column)
    failing = sum(not row["right_here"] for row in records(same_context))
    return HowOften(
        context=context.describe(),
        share=str(context_share(context)),
        failing=failing,
        sampled=len(same_context),
        interval=clopper_pearson(failing, len(same_context)),
    )


def write(result: Result, folder: Path) -> None:
    """Write tables and figures."""
    save_result(result, folder)
    write_atomic(folder / DETAILS, write_details(partial(print_result, result)))
    for name, figure in plot(result).items():
        save_figure(figure, folder / name)


def write_search(result: SearchResult, name: str, seed: int, folder: Path) -> None:
    """Write what a search alone found."""
    for table in ("columns", "contexts", "groups"):
        save_table(getattr(result, table), folder / f"{table}.csv")
    summary = {"checkpoint": name, "evaluations": result.evaluations, "seed": seed}
    save_json(summary, folder / "search.json")
    write_atomic(folder / DETAILS, write_details(partial(print_search, result, name)))
