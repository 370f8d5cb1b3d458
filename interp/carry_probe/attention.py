"""Where the answer columns look: attention by digit role, beside the baselines that it needs.

Weights are averaged over inputs, all together and split by carry_in. `share` weighs each source by
the norm of what it writes, ||alpha_j v_j W_O|| (Kobayashi et al. 2020), as a share of the column's
total. Baselines: the uniform causal pattern, random-init models, and the position mean, which has
by construction the same average by role and is therefore judged by what it does: the answer digit's
accuracy with the live pattern replaced by it.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.anatomy import ROLES, Network, Trace, role_index, trace_columns, trace_hooks, upstream
from interp.carry_probe.data import ProbeInputs
from model.intervals import clopper_pearson
from model.task import N_ANSWER, N_PROMPT, query_position


def written(network: Network, trace: Trace) -> Float[Tensor, "batch source d"]:
    """Compute what each source writes into the query's residual stream, alpha_j v_j W_O."""
    return trace["pattern"][:, :, None] * (trace["v"] @ network.matrix("W_O"))


def by_role(values: Float[Tensor, "batch source"], column: int) -> Float[Tensor, "batch role"]:
    """Sum over the sources of each role."""
    index = role_index()[column, : values.shape[1]]
    return values.new_zeros(len(values), len(ROLES)).index_add(1, index, values)


def attention_by_role(
    network: Network, inputs: Mapping[str, ProbeInputs], columns: Sequence[int]
) -> pd.DataFrame:
    """Average attention by role.

    Args:
        network: The network.
        inputs: Input sets by name ("uniform", "stratified").
        columns: Answer columns, 0 to 10.

    Returns:
        One row per input set, carry_in ("all", "0", "1"), column and role that the column has:
        `weight` and its standard deviation over inputs, `share`, `uniform`, number of inputs `n`.
    """
    rows = []
    for name, data in inputs.items():
        traces = trace_columns(network, data.tokens, columns)
        for column, trace in zip(columns, traces, strict=True):
            weight = by_role(trace["pattern"], column)
            norms = by_role(written(network, trace).norm(dim=-1), column)
            share = norms / norms.sum(dim=1, keepdim=True).clamp(min=1e-300)
            carry = data.features["carry_in"][:, column]
            count = (role_index()[column][:, None] == torch.arange(len(ROLES))).sum(dim=0)
            for split in ("all", "0", "1"):
                chosen = torch.ones_like(carry, dtype=torch.bool)
                if split != "all":
                    chosen = carry == int(split)
                if not chosen.any():
                    continue
                for r, role in enumerate(ROLES):
                    if count[r]:
                        rows.append(
                            {
                                "inputs": name,
                                "carry_in": split,
                                "column": column,
                                "role": role,
                                "weight": float(weight[chosen, r].mean()),
                                "weight_sd": float(weight[chosen, r].std(correction=0)),
                                "share": float(share[chosen, r].mean()),
                                "uniform": int(count[r]) / (query_position(column) + 1),
                                "n": int(chosen.sum()),
                            }
                        )
    return pd.DataFrame(rows)


def with_random_init(table: pd.DataFrame, controls: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put the mean and the largest weight of random-init models beside each row."""
    keys = ["inputs", "carry_in", "column", "role"]
    pooled = pd.concat(controls).groupby(keys, sort=False)["weight"].agg(["mean", "max"])
    pooled.columns = ["random_init", "random_init_max"]
    return table.merge(pooled.reset_index(), on=keys, how="left")


def pattern_baselines(network: Network, data: ProbeInputs, columns: Sequence[int]) -> pd.DataFrame:
    """Ask how often the digit is right when the pattern is fixed to a mean or made uniform.

    Returns:
        One row per column and pattern ("live", "position mean", "uniform causal"): accuracy of the
        answer digit with its interval, and the mean total-variation distance from the live pattern.
    """
    rows = []
    half = len(data.tokens) // 2
    for column in columns:
        mean = trace_hooks(network, data.tokens[:half], column)["pattern"].mean(dim=0)
        tokens, digit = data.tokens[half:], data.features["answer"][half:, column]
        live = trace_hooks(network, tokens, column)
        patterns = {
            "live": live["pattern"],
            "position mean": mean.expand_as(live["pattern"]),
            "uniform causal": torch.full_like(live["pattern"], 1 / live["pattern"].shape[1]),
        }
        for name, pattern in patterns.items():
            known = {**upstream(live, "pattern"), "pattern": pattern}
            logits = trace_hooks(network, tokens, column, known=known)["logits"]
            hits = int((logits.argmax(dim=1) == digit).sum())
            low, high = clopper_pearson(hits, len(tokens))
            distance = 0.5 * (pattern - live["pattern"]).abs().sum(dim=1).mean()
            rows.append(
                {
                    "column": column,
                    "pattern": name,
                    "accuracy": hits / len(tokens),
                    "low": low,
                    "high": high,
                    "distance": float(distance),
                    "n": len(tokens),
                }
            )
    return pd.DataFrame(rows)


def score_table(network: Network) -> Float[Tensor, "column query pos token"]:
    """Tabulate every attention score that can occur; there are finitely many.

    Returns:
        q . k / sqrt(d_head) for answer column x query token x source position x source token,
        12 x 14 x 33 x 14; sources after the query's position are NaN.
    """
    params = network.params
    n_vocab, n_pos = params["W_E"].shape[0], N_PROMPT + N_ANSWER
    tokens = torch.arange(n_vocab)[:, None].expand(-1, n_pos)
    last = trace_hooks(network, tokens, n_pos - N_PROMPT)
    h = last["ln1_normalized"] * params["ln1_w"] + params.get("ln1_b", 0.0)
    q = (h @ network.matrix("W_Q"))[:, N_PROMPT - 1 :] / network.config.d_model**0.5
    scores = torch.einsum("tcd,ujd->ctju", q, h @ network.matrix("W_K"))
    future = torch.arange(n_pos) > torch.arange(N_PROMPT - 1, n_pos)[:, None]
    return scores.masked_fill(future[:, None, :, None], float("nan"))
