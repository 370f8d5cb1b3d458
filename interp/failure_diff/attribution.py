"""Direct logit attribution: the rival's logit less the true one, split into an exact sum.

With the last norm's scale taken as it is, the logit difference is linear in the residual stream:
token embedding, position embedding, one term per source position (pattern times v W_O), one per
feed-forward unit, and the last norm's bias. The units' pre-activations split over sources likewise.
"""

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.anatomy import Trace, logit_gap, role_of, trace_column
from interp.failure_diff.columns import Focus
from model.network import Network
from model.task import TOKENS, query_position


def final_direction(
    weights: Network, resid_post: Float[Tensor, "batch d"], focus: Focus
) -> tuple[Float[Tensor, "batch d"], float]:
    """Linearise (rival - true) at the stream's own scale: gap = resid_post . direction + constant.

    Exact, not an approximation, at this stream; LayerNorm's centring is moved onto the direction.
    """
    readout = weights.W_U[:, focus.rival] - weights.W_U[:, focus.true]
    return (
        _through_norm(weights, resid_post, "ln_final", readout),
        float(weights.ln_final_b @ readout),
    )


def _through_norm(
    weights: Network, x: Float[Tensor, "batch d"], name: str, readout: Float[Tensor, " d"]
) -> Float[Tensor, "batch d"]:
    """Pull a readout of norm(x) back to x, with the scale that the norm has at x."""
    centred = x - x.mean(dim=-1, keepdim=True) if weights.norm == "layer" else x
    scale = torch.sqrt(centred.pow(2).mean(dim=-1, keepdim=True) + weights.eps)
    gained = getattr(weights, f"{name}_w") * readout
    if weights.norm == "layer":
        gained = gained - gained.mean()
    return gained / scale


def stream_terms(
    weights: Network, trace: Trace, tokens: Int[Tensor, "batch pos"]
) -> dict[str, Float[Tensor, "batch n d"]]:
    """Split the residual stream at the query into terms: embeddings, sources, units.

    Returns:
        `token`, `position` (n = 1), `source` (n sources) and `unit` (n units); their sum over
        all n is resid_post, without `unit` it is resid_mid.
    """
    n = trace["pattern"].shape[1]
    written = trace["v"] @ weights.W_O[0]
    token = weights.W_E[tokens[:, n - 1]]
    return {
        "token": token[:, None],
        "position": weights.W_pos[n - 1].expand_as(token)[:, None],
        "source": trace["pattern"][:, :, None] * written,
        "unit": trace["post"][:, :, None] * weights.W_out,
    }


def attribute_gap(
    weights: Network, tokens: Int[Tensor, "batch pos"], focus: Focus
) -> list[pd.DataFrame]:
    """Attribute (rival - true) of the focus column, one table an input.

    Returns:
        Rows of component, element (source position or unit), role, token, attention and
        contribution. The contributions sum to the gap.
    """
    trace = trace_column(weights, tokens, focus.column)
    direction, constant = final_direction(weights, trace["resid_post"], focus)
    terms = stream_terms(weights, trace, tokens)
    tables = []
    for row in range(tokens.shape[0]):
        values = {name: (term[row] @ direction[row]).tolist() for name, term in terms.items()}
        query = query_position(focus.column)
        rows: list[tuple] = [
            ("token embedding", query, "s_{i-1}", int(tokens[row, query]), None, *values["token"]),
            ("position embedding", query, "s_{i-1}", None, None, *values["position"]),
        ]
        rows += [
            (
                "attention",
                j,
                role_of(focus.column, j),
                int(tokens[row, j]),
                float(trace["pattern"][row, j]),
                value,
            )
            for j, value in enumerate(values["source"])
        ]
        rows += [
            ("feed-forward unit", u, None, None, None, value)
            for u, value in enumerate(values["unit"])
        ]
        rows.append(("norm bias", None, None, None, None, constant))
        table = pd.DataFrame(
            rows, columns=["component", "element", "role", "token", "attention", "contribution"]
        )
        table["token"] = [None if pd.isna(t) else TOKENS[int(t)] for t in table["token"]]
        tables.append(table.astype({"element": "Int64"}))
    return tables


def attribute_units(
    weights: Network, tokens: Int[Tensor, "batch pos"], focus: Focus
) -> list[pd.DataFrame]:
    """Split each unit's pre-activation over what it reads, one table an input.

    Returns:
        Rows of unit, component, element, role, pre (this term's part; the parts of a unit sum to
        its pre-activation), with the unit's own `post` and `weight` (its output per unit of post on
        the gap) repeated.
    """
    trace = trace_column(weights, tokens, focus.column)
    direction, _ = final_direction(weights, trace["resid_post"], focus)
    terms = stream_terms(weights, trace, tokens)
    tables = []
    for row in range(tokens.shape[0]):
        rows: list[tuple] = []
        for unit in range(weights.W_in.shape[1]):
            readout = weights.W_in[:, unit]
            reading = _through_norm(weights, trace["resid_mid"][row : row + 1], "ln2", readout)[0]
            parts: list[tuple[str, int | None, float]] = [
                ("token embedding", None, float(terms["token"][row, 0] @ reading)),
                ("position embedding", None, float(terms["position"][row, 0] @ reading)),
                *(
                    ("attention", j, value)
                    for j, value in enumerate((terms["source"][row] @ reading).tolist())
                ),
                ("norm bias", None, float(weights.ln2_b @ readout)),
            ]
            post = float(trace["post"][row, unit])
            weight = float(weights.W_out[unit] @ direction[row])
            for component, element, pre in parts:
                role = None if element is None else role_of(focus.column, element)
                rows.append((unit, component, element, role, pre, post, weight))
        names = ["unit", "component", "element", "role", "pre", "post", "weight"]
        tables.append(pd.DataFrame(rows, columns=names).astype({"element": "Int64"}))
    return tables


def lens_table(weights: Network, tokens: Int[Tensor, "batch pos"], focus: Focus) -> pd.DataFrame:
    """Read the stream after each stage through the last norm and the head (the logit lens).

    Returns:
        Rows of input, stage (token embedding, + position, + attention, + feed-forward), top token,
        gap and probabilities of the true token and of the rival.
    """
    trace = trace_column(weights, tokens, focus.column)
    n = trace["pattern"].shape[1]
    stages = {
        "token embedding": weights.W_E[tokens[:, n - 1]],
        "+ position embedding": trace["skip"],
        "+ attention": trace["resid_mid"],
        "+ feed-forward": trace["resid_post"],
    }
    rows = []
    for stage, stream in stages.items():
        logits = weights.normalise(stream, "ln_final") @ weights.W_U
        gap, chance = logit_gap(logits, focus.rival, focus.true), logits.softmax(dim=-1)
        for row in range(tokens.shape[0]):
            rows.append(
                {
                    "input": row,
                    "stage": stage,
                    "top": TOKENS[int(logits[row].argmax())],
                    "gap": float(gap[row]),
                    "p_true": float(chance[row, focus.true]),
                    "p_rival": float(chance[row, focus.rival]),
                }
            )
    return pd.DataFrame(rows)
