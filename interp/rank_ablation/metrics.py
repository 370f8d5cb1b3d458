"""What an ablation breaks: rates by column, carry chain and digit state, margins and divergence.

Question: which sums fail when something is taken out, and how?

Method: sums are decoded with the true digits fed back ("forced": every column is judged alone) and
with the network's own ("greedy"). Until its first error a greedy run *is* the forced run, so only
sums with a forced error are decoded again. Every wrong digit falls into a cell (inputs, column,
chain length, states, carry in) and a type: spurious (one too many without a carry coming in),
missed (one too few with a carry), other. All rates are sums over cells. Rates carry 95 %
Clopper-Pearson intervals (digits of one sum count as independent, which is exact for "exact" only),
means carry 1.96 standard errors.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Shaped
from scipy.sparse import csr_array
from scipy.stats import beta
from torch import Tensor

from interp.rank_ablation.kernel import decode_keyed, no_change
from interp.rank_ablation.kinds import Ablation, Setting
from model.decode import Decoded, decode, teacher_forced
from model.layouts import WRITE_UPS, Layout
from model.task import STATE_NAMES, Pairs, carries, chain_length, column_state

INPUTS = ("uniform", "stratified")
TYPES = ("spurious", "missed", "other")
_NONE = len(STATE_NAMES)
_BOTH = ("forced", "greedy")
_MODES = {"exact": _BOTH, "digit_accuracy": _BOTH, "first_error": _BOTH[1:]}
"""How a metric is measured; with the true digits fed back where nothing is said."""


@dataclass(frozen=True)
class Cases:
    """The evaluated sums and the cell of each of their columns.

    Attributes:
        pairs: Uniform pairs first, then pairs stratified by chain length.
        n_uniform: How many are uniform.
        layout: The task.
        cell: Flat index over (inputs, column, chain length, own state, state below, carry in).
        carry_in: Carry into each column.
        probed: Whether the divergence of a sum is computed.
    """

    pairs: Pairs
    n_uniform: int
    layout: Layout
    cell: Int[Tensor, "batch column"]
    carry_in: Int[Tensor, "batch column"]
    probed: Bool[Tensor, " batch"]

    @functools.cached_property
    def trials(self) -> np.ndarray:
        """How many columns fall into each cell."""
        return np.bincount(self.cell.numpy().ravel(), minlength=_n_cells(self.layout.n_answer))


@dataclass(frozen=True)
class Answers:
    """What an ablated network answers.

    Attributes:
        forced: With the true digits fed back.
        greedy: Tokens with its own digits fed back.
        divergence: KL(intact || ablated) in nats, summed over the digits of the answer, with the
            true digits fed back; NaN where a sum is not probed.
    """

    forced: Decoded
    greedy: Int[Tensor, "batch step"]
    divergence: Float[Tensor, " batch"]


def make_cases(
    uniform: Pairs, stratified: Pairs, n_probed: int, layout: Layout = WRITE_UPS
) -> Cases:
    """Put sums together, probe the first of either sort, and find the cell of every column."""
    a, b = (torch.cat(side) for side in zip(uniform, stratified, strict=True))
    n, first = a.shape[0], uniform[0].shape[0]
    columns, spelled = layout.n_answer, (layout.width, layout.base)
    carry_in, _ = carries(a, b, *spelled)
    state = column_state(a, b, *spelled)
    nothing = torch.full((n, 1), _NONE, dtype=torch.int64)
    inputs = (torch.arange(n) >= first).long()[:, None].expand(n, columns)
    parts = [
        inputs,
        torch.arange(columns).expand(n, columns),
        chain_length(a, b, *spelled),
        torch.cat([state, nothing], dim=1),
        torch.cat([nothing, state], dim=1),
        carry_in,
    ]
    cell = np.ravel_multi_index([part.numpy() for part in parts], _shape(columns))
    row = torch.arange(n)
    probed = (row < n_probed) | ((row >= first) & (row < first + n_probed))
    return Cases((a, b), first, layout, torch.from_numpy(cell), carry_in, probed)


def answer(setting: Setting, ablations: Sequence[Ablation], cases: Cases) -> Answers:
    """Decode the evaluated sums under an ablation (in groups that cover them, in any order)."""
    n = cases.cell.shape[0]
    order = torch.cat([ablation.rows for ablation in ablations])
    parts = [_decode_group(setting, ablation, cases.probed) for ablation in ablations]
    back = torch.empty(n, dtype=torch.int64)
    back[order] = torch.arange(n)
    tokens, margin, truth = (
        torch.cat([getattr(part[0], name) for part in parts])[back]
        for name in ("tokens", "margin", "truth")
    )
    greedy = torch.cat([part[1] for part in parts])[back]
    forced = Decoded(tokens, margin, truth, cases.layout)
    return Answers(forced, greedy, torch.cat([part[2] for part in parts])[back])


def _decode_group(
    setting: Setting, ablation: Ablation, probed: Tensor
) -> tuple[Decoded, Tensor, Tensor]:
    rows, tables = ablation.rows, ablation.tables
    a, b = (side[rows] for side in setting.run.pairs)
    tokens = setting.run.tokens[rows]
    some = torch.nonzero(probed[rows])[:, 0]
    n_answer = tables.layout.n_answer
    keyed = ablation.keyed
    if keyed is None:
        forced = teacher_forced(tables, a, b)
        _, logits = decode_keyed(tables, no_change(tables, len(some)), tokens[some], greedy=False)
    else:
        forced, logits = decode_keyed(tables, keyed, tokens, greedy=False)
        logits = logits[some]
    intact = setting.run.log_probabilities[rows[some], :n_answer]
    weight = setting.run.probabilities[rows[some], :n_answer]
    ablated = logits[:, :n_answer].double().log_softmax(dim=-1)
    divergence = torch.full((len(rows),), float("nan"), dtype=torch.float64)
    divergence[some] = (weight * (intact - ablated)).sum(dim=(1, 2))
    greedy = forced.tokens.clone()
    failed = torch.nonzero(~forced.exact)[:, 0]
    if len(failed):
        again = (
            decode(tables, a[failed], b[failed])
            if keyed is None
            else decode_keyed(tables, keyed.rows(failed), tokens[failed], greedy=True)[0]
        )
        greedy[failed] = again.tokens
    return forced, greedy, divergence


@dataclass(frozen=True)
class Measured:
    """One value per row of `row_keys`: rates as counts, means with a standard error."""

    columns: int
    events: np.ndarray
    trials: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


@functools.cache
def row_keys(columns: int) -> pd.DataFrame:
    """Name the rows that `measure` returns for answers of that many digits."""
    return pd.DataFrame(
        [(*key, metric, stratum) for key, metric, stratum, _ in _rows(columns)],
        columns=["inputs", "mode", "metric", "stratum"],
    )


@functools.cache
def _sums(columns: int) -> csr_array:
    """Sum counts by cell into rows of `row_keys`, all at once: zero where a row is no sum."""
    nothing = np.zeros(_n_cells(columns), dtype=bool)
    cells = [nothing if cells is None else cells for *_, cells in _rows(columns)]
    return csr_array(np.stack(cells).astype(np.int64))


@functools.cache
def _rows(columns: int) -> list[tuple[tuple[str, str], str, str, np.ndarray | None]]:
    """Rows with the cells that each sums over (None where it is no sum of cells)."""
    axes = np.unravel_index(np.arange(_n_cells(columns)), _shape(columns))
    inputs, column, chain, own, below, carry = axes
    rows: list[tuple[tuple[str, str], str, str, np.ndarray | None]] = []
    for i, name in enumerate(INPUTS):
        here, forced, greedy = inputs == i, (name, "forced"), (name, "greedy")
        rows += [(mode, "exact", "all", None) for mode in (forced, greedy)]
        for mode in (forced, greedy):
            rows += [(mode, "digit_accuracy", str(c), here & (column == c)) for c in range(columns)]
        rows += [(greedy, "first_error", str(c), None) for c in range(columns)]
        rows += [(forced, "chain_error", str(c), here & (chain == c)) for c in range(columns)]
        for s, state in enumerate(STATE_NAMES):
            rows.append((forced, "state_error", state, here & (own == s)))
            rows.append((forced, "below_error", state, here & (below == s)))
        risk = {"spurious": carry == 0, "missed": carry == 1, "other": carry >= 0}
        rows += [(forced, kind, "all", here & risk[kind]) for kind in TYPES]
        rows.append((forced, "margin", "mean of worst column", None))
        rows += [(forced, "kl", part, None) for part in ("mean", "median", "99th percentile")]
    return rows


def measure(cases: Cases, answers: Answers) -> Measured:
    """Score answers on every row of `row_keys`."""
    forced, layout = answers.forced, cases.layout
    columns = layout.n_answer
    n, first = forced.tokens.shape[0], cases.n_uniform
    wrong_steps = answers.greedy[:, :columns] != forced.truth[:, :columns]
    greedy_wrong = by_column(wrong_steps, layout)
    per_type = _errors(cases, by_column(forced.tokens, layout), by_column(forced.truth, layout))
    counts = {"forced": per_type.sum(axis=0), "greedy": _count(cases, greedy_wrong)}
    counts |= dict(zip(TYPES, per_type, strict=True))
    wrong = {name: _sums(columns) @ count for name, count in counts.items()}
    asked = _sums(columns) @ cases.trials
    step = torch.tensor([layout.step(column) for column in range(columns)])
    first_wrong = torch.where(wrong_steps.any(1), step[wrong_steps.long().argmax(1)], -1)
    worst = forced.margin[:, :columns].amin(dim=1).double()
    exact = {"forced": forced.exact, "greedy": ~greedy_wrong.any(dim=1)}
    spans = {"uniform": slice(0, first), "stratified": slice(first, n)}

    rows = _rows(columns)
    size = len(rows)
    events, trials, value, half = (np.full(size, np.nan) for _ in range(4))
    for row, ((inputs, mode), metric, stratum, _) in enumerate(rows):
        span = spans[inputs]
        if metric == "exact":
            events[row], trials[row] = int(exact[mode][span].sum()), span.stop - span.start
        elif metric == "first_error":
            events[row] = int((first_wrong[span] == int(stratum)).sum())
            trials[row] = span.stop - span.start
        elif metric == "margin":
            value[row], half[row] = _mean(worst[span])
        elif metric == "kl":
            x = answers.divergence[span]
            x = x[~x.isnan()]
            if len(x) and stratum == "mean":
                value[row], half[row] = _mean(x)
            elif len(x):
                value[row] = float(x.quantile(0.5 if stratum == "median" else 0.99))
        else:
            trials[row] = asked[row]
            events[row] = wrong[metric if metric in TYPES else mode][row]
            if metric == "digit_accuracy":
                events[row] = trials[row] - events[row]
    rate = ~np.isnan(trials)
    with np.errstate(invalid="ignore"):
        value[rate] = events[rate] / np.where(trials[rate] > 0, trials[rate], np.nan)
    return Measured(columns, events, trials, value, value - half, value + half)


def tabulate_measured(measured: Measured) -> pd.DataFrame:
    """Write measurements as a tidy table with 95 % intervals."""
    k, n = measured.events, measured.trials
    with np.errstate(invalid="ignore"):
        low = np.where(k > 0, beta.ppf(0.025, k, n - k + 1), 0.0)
        high = np.where(k < n, beta.ppf(0.975, k + 1, n - k), 1.0)
    rate = ~np.isnan(n)
    table = row_keys(measured.columns).copy()
    table["value"] = measured.value
    table["low"] = np.where(rate, low, measured.low)
    table["high"] = np.where(rate, high, measured.high)
    table["events"], table["trials"] = k, n
    return table


def select(
    table: pd.DataFrame, metric: str, *, inputs: str = "uniform", mode: str = "greedy"
) -> pd.DataFrame:
    """Pick the rows of one metric, forced ones where there are no greedy ones."""
    modes = _MODES.get(metric, ("forced",))
    mode = mode if mode in modes else modes[0]
    chosen = (table["metric"] == metric) & (table["inputs"] == inputs) & (table["mode"] == mode)
    return table[chosen]


def by_column(
    steps: Shaped[Tensor, "batch step"], layout: Layout
) -> Shaped[Tensor, "batch column"]:
    """Order what is known of each step of an answer by columns, units first."""
    return steps[:, [layout.step(column) for column in range(layout.n_answer)]]


def _errors(cases: Cases, tokens: Tensor, truth: Tensor) -> np.ndarray:
    """Count wrong digits per type and cell."""
    base, place = cases.layout.base, tokens - cases.layout.first_digit
    off = (tokens - truth) % base
    digit = (place >= 0) & (place < base)
    spurious = digit & (off == 1) & (cases.carry_in == 0)
    missed = digit & (off == base - 1) & (cases.carry_in == 1)
    other = (tokens != truth) & ~spurious & ~missed
    return np.stack([_count(cases, wrong) for wrong in (spurious, missed, other)])


def _count(cases: Cases, chosen: Tensor) -> np.ndarray:
    n_cells = _n_cells(cases.layout.n_answer)
    return np.bincount(cases.cell[chosen].numpy(), minlength=n_cells)


def _shape(columns: int) -> tuple[int, ...]:
    return (len(INPUTS), columns, columns, _NONE + 1, _NONE + 1, 2)


def _n_cells(columns: int) -> int:
    return int(np.prod(_shape(columns)))


def _mean(x: Tensor) -> tuple[float, float]:
    if len(x) < 2:
        return (float(x.mean()) if len(x) else float("nan")), float("nan")
    return float(x.mean()), 1.96 * float(x.std()) / len(x) ** 0.5
