"""Where the answer columns look: attention by digit role, beside the baselines that it needs.

Weights are averaged over inputs, all together and split by carry_in. `share` weighs each source by
the norm of what it writes, ||alpha_j v_j W_O|| (Kobayashi et al. 2020), as a share of the column's
total. Where there are several heads, each is given beside all of them together (weights averaged,
what they write summed). Baselines: the uniform causal pattern, random models, and the position
mean, which has by construction the same average by role and is therefore judged by what it does:
the answer digit's accuracy with the live pattern replaced by it.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.anatomy import (
    Specimen,
    Trace,
    by_head,
    role_index,
    roles_of,
    trace_columns,
    trace_hooks,
    upstream,
)
from interp.carry_probe.data import ProbeInputs
from model.intervals import clopper_pearson
from model.layouts import Layout
from model.network import split_heads
from model.tables import tabulate

ALL_HEADS = "all"


def written(specimen: Specimen, trace: Trace) -> Float[Tensor, "batch head source d"]:
    """Compute what each source writes into the query's residual stream, alpha_j v_j W_O."""
    W_O = specimen.network.W_O
    values = by_head(trace["v"], len(W_O))
    moves = [values[:, head] @ W_O[head] for head in range(len(W_O))]
    return trace["pattern"][..., None] * torch.stack(moves, dim=1)


def by_role(
    values: Float[Tensor, "batch source"], column: int, layout: Layout
) -> Float[Tensor, "batch role"]:
    """Sum over the sources of each role."""
    index = role_index(layout)[column, : values.shape[1]]
    return values.new_zeros(len(values), len(roles_of(layout))).index_add(1, index, values)


def attention_by_role(
    specimen: Specimen, inputs: Mapping[str, ProbeInputs], columns: Sequence[int]
) -> pd.DataFrame:
    """Average attention by role.

    Args:
        specimen: The network.
        inputs: Input sets by name ("uniform", "stratified").
        columns: Answer columns.

    Returns:
        One row per input set, carry_in ("all", "0", "1"), column, head ("all", and each where there
        are several) and role that the column has: `weight` and its standard deviation over inputs,
        `share`, `uniform`, number of inputs `n`.
    """
    layout = specimen.layout
    roles, index = roles_of(layout), role_index(layout)
    rows = []
    for name, data in inputs.items():
        traces = trace_columns(specimen, data.tokens, columns)
        for column, trace in zip(columns, traces, strict=True):
            carry = data.features["carry_in"][:, column]
            count = (index[column][:, None] == torch.arange(len(roles))).sum(dim=0)
            splits = {"all": torch.ones_like(carry, dtype=torch.bool)}
            splits |= {str(value): carry == value for value in (0, 1)}
            for head, pattern, moves in _heads(specimen, trace):
                weight = by_role(pattern, column, layout)
                norms = by_role(moves.norm(dim=-1), column, layout)
                share = norms / norms.sum(dim=1, keepdim=True).clamp(min=1e-300)
                for split, chosen in splits.items():
                    if not chosen.any():
                        continue
                    for r, role in enumerate(roles):
                        if count[r]:
                            rows.append(
                                {
                                    "inputs": name,
                                    "carry_in": split,
                                    "column": column,
                                    "head": head,
                                    "role": role,
                                    "weight": float(weight[chosen, r].mean()),
                                    "weight_sd": float(weight[chosen, r].std(correction=0)),
                                    "share": float(share[chosen, r].mean()),
                                    "uniform": int(count[r]) / (layout.query_position(column) + 1),
                                    "n": int(chosen.sum()),
                                }
                            )
    return pd.DataFrame(rows)


def _heads(specimen: Specimen, trace: Trace) -> list[tuple[str, Tensor, Tensor]]:
    """List the pattern and what sources write, for all heads together and for each of several."""
    pattern, moves = trace["pattern"], written(specimen, trace)
    if pattern.shape[1] == 1:
        return [(ALL_HEADS, pattern[:, 0], moves[:, 0])]
    together = (ALL_HEADS, pattern.mean(dim=1), moves.sum(dim=1))
    return [together, *((str(h), pattern[:, h], moves[:, h]) for h in range(pattern.shape[1]))]


def with_random_init(table: pd.DataFrame, controls: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put the mean and the largest weight of random-init models beside each row."""
    keys = ["inputs", "carry_in", "column", "head", "role"]
    pooled = pd.concat(controls).groupby(keys, sort=False)["weight"].agg(["mean", "max"])
    pooled.columns = ["random_init", "random_init_max"]
    return table.merge(pooled.reset_index(), on=keys, how="left")


def pattern_baselines(
    specimen: Specimen, data: ProbeInputs, columns: Sequence[int]
) -> pd.DataFrame:
    """Ask how often the digit is right when the pattern is fixed to a mean or made uniform.

    Returns:
        One row per column and pattern ("live", "position mean", "uniform causal"): accuracy of the
        answer digit with its interval, and the mean total-variation distance from the live pattern.
    """
    rows = []
    half = len(data.tokens) // 2
    for column in columns:
        mean = trace_hooks(specimen, data.tokens[:half], column)["pattern"].mean(dim=0)
        tokens, digit = data.tokens[half:], data.answer(column)[half:]
        live = trace_hooks(specimen, tokens, column)
        patterns = {
            "live": live["pattern"],
            "position mean": mean.expand_as(live["pattern"]),
            "uniform causal": torch.full_like(live["pattern"], 1 / live["pattern"].shape[-1]),
        }
        for name, pattern in patterns.items():
            known = {**upstream(live, "pattern"), "pattern": pattern}
            logits = trace_hooks(specimen, tokens, column, known=known)["logits"]
            hits = int((logits.argmax(dim=1) == digit).sum())
            low, high = clopper_pearson(hits, len(tokens))
            distance = 0.5 * (pattern - live["pattern"]).abs().sum(dim=-1)
            rows.append(
                {
                    "column": column,
                    "pattern": name,
                    "accuracy": hits / len(tokens),
                    "low": low,
                    "high": high,
                    "distance": float(distance.mean()),
                    "n": len(tokens),
                }
            )
    return pd.DataFrame(rows)


def score_table(specimen: Specimen) -> Float[Tensor, "head column query pos token"]:
    """Tabulate every attention score that can occur; there are finitely many.

    Returns:
        q . k / attn_scale for head x answer column x query token x source position x source token;
        the last column is the end token, where there is one. Sources after the query are NaN.
    """
    layout, n_heads = specimen.layout, specimen.network.n_heads
    tables = tabulate(specimen.network)
    q = split_heads(tables.q[[layout.step(column) for column in range(layout.n_target)]], n_heads)
    scores = torch.einsum("cthd,juhd->hctju", q, split_heads(tables.k, n_heads))
    queries = torch.tensor([layout.query_position(column) for column in range(layout.n_target)])
    future = torch.arange(layout.n_input) > queries[:, None]
    return scores.masked_fill(future[:, None, :, None], float("nan"))


def tokens_at(layout: Layout, position: int) -> list[int]:
    """List the tokens that can stand at a position: every digit, or one separator."""
    if position in layout.separators:
        return [layout.separators[position]]
    return list(range(layout.first_digit, layout.first_digit + layout.base))


def token_effect(scores: Float[Tensor, "head column query pos token"], layout: Layout) -> float:
    """Return the most that tokens can change an attention weight of an answer digit.

    A weight is largest where its own source scores most and every other least. Every digit may
    stand in every place, so this bounds all inputs. At 0 attention depends on position alone.
    """
    largest = 0.0
    for column in range(layout.n_answer):
        query = layout.query_position(column)
        tokens = tokens_at(layout, query)
        rows = scores[:, column, tokens].double()
        sources = [rows[:, :, j, tokens_at(layout, j)] for j in range(query)]
        own = rows[:, range(len(tokens)), query, tokens]
        high = torch.stack([*(source.amax(dim=-1) for source in sources), own], dim=-1)
        low = torch.stack([*(source.amin(dim=-1) for source in sources), own], dim=-1)
        most, least = _alone(high, low).amax(dim=1), _alone(low, high).amin(dim=1)
        largest = max(largest, float((most - least).max()))
    return largest


def _alone(
    own: Float[Tensor, "*batch source"], others: Float[Tensor, "*batch source"]
) -> Float[Tensor, "*batch source"]:
    """Give each source its weight where it has the score `own` and the rest have `others`."""
    n = own.shape[-1]
    table = others[..., None, :].expand(*others.shape, n).clone()
    table.diagonal(dim1=-2, dim2=-1).copy_(own)
    return table.softmax(dim=-1).diagonal(dim1=-2, dim2=-1)
