"""What does each source of attention do for the answer? Edges are cut, one role at a time.

An edge is what the sources of one role write into the query's residual stream. It is cut in five
ways that answer different questions: `zero` removes it; `mean` puts its position mean in its place
(what its variation is worth); `k`, `v` and `k+v` give the role's keys, values or both those of
another input, so that routing (K) and content (V) come apart even where K = V. The norm after the
edit is live or frozen at its clean scale, which are two estimands; `direct` holds the feed-forward
output at its clean value, so that only the path from the edge to the logits is left.
"""

from collections.abc import Callable, Sequence

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.anatomy import ROLES, Network, Trace, role_index, trace_hooks, upstream
from interp.carry_probe.attention import written
from interp.carry_probe.data import ProbeInputs
from model.intervals import clopper_pearson

CUTS = ("zero", "mean", "k", "v", "k+v")
NORMS = ("live", "frozen")
PATHS = ("total", "direct")


def margin(
    logits: Float[Tensor, "batch vocab"], true: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Compute the logit of the true token less the largest other."""
    others = logits.scatter(1, true[:, None], float("-inf")).max(dim=1).values
    return logits.gather(1, true[:, None])[:, 0] - others


def hold(trace: Trace, *sites: str) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return edits that keep sites at the values of `trace`."""
    return {site: lambda _, value=trace[site]: value for site in sites}


def cut_edges(
    network: Network, data: ProbeInputs, columns: Sequence[int], generator: torch.Generator
) -> pd.DataFrame:
    """Cut every role's edge in every column and read the margin of the true digit.

    Args:
        network: The network.
        data: Teacher-forced inputs; donors of keys and values are drawn among them.
        columns: Answer columns, 0 to 10.
        generator: Draws the donors.

    Returns:
        One row per column, role, cut, norm and path: mean clean margin, mean `drop` of the margin
        with its standard error, accuracy of the digit after the cut with its interval.
    """
    rows = []
    donor = torch.randperm(len(data.tokens), generator=generator)
    for column in columns:
        clean = trace_hooks(network, data.tokens, column)
        true = data.features["answer"][:, column]
        clean_margin = margin(clean["logits"], true)
        roles = role_index()[column, : clean["pattern"].shape[1]]
        for r in roles.unique().tolist():
            for cut in CUTS:
                edits = cut_edits(network, clean, roles == r, cut, donor)
                known = upstream(clean, "q" if cut in ("k", "v", "k+v") else "pattern")
                live = trace_hooks(network, data.tokens, column, known=known, edits=edits)
                known = upstream(live, "resid_mid")
                for norm in NORMS:
                    for path in PATHS:
                        held = {}
                        if norm == "frozen":
                            held |= hold(clean, "ln2_scale", "final_scale")
                        if path == "direct":
                            held |= hold(clean, "mlp_out")
                        edited = trace_hooks(network, data.tokens, column, known=known, edits=held)
                        drop = clean_margin - margin(edited["logits"], true)
                        hits = int((edited["logits"].argmax(dim=1) == true).sum())
                        low, high = clopper_pearson(hits, len(true))
                        rows.append(
                            {
                                "column": column,
                                "role": ROLES[r],
                                "cut": cut,
                                "norm": norm,
                                "path": path,
                                "clean_margin": float(clean_margin.mean()),
                                "drop": float(drop.mean()),
                                "drop_se": float(drop.std() / len(true) ** 0.5),
                                "accuracy": hits / len(true),
                                "low": low,
                                "high": high,
                                "n": len(true),
                            }
                        )
    return pd.DataFrame(rows)


def cut_edits(
    network: Network,
    clean: Trace,
    sources: Bool[Tensor, " source"],
    cut: str,
    donor: Int[Tensor, " batch"],
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Make the edits that cut the edges from `sources` in one of the ways of `CUTS`."""
    if cut in ("zero", "mean"):
        edge = written(network, clean)[:, sources].sum(dim=1)
        instead = edge.mean(dim=0) if cut == "mean" else torch.zeros_like(edge[0])
        return {"attn_out": lambda value: value - edge + instead}
    edits: dict[str, Callable[[Tensor], Tensor]] = {}
    for site in cut.split("+"):
        mixed = torch.where(sources[:, None], clean[site][donor], clean[site])
        edits[site] = lambda _, mixed=mixed: mixed
    return edits


def swap_routes(
    network: Network, base: Trace, source: Trace, tokens: Int[Tensor, "batch pos"], column: int
) -> dict[str, Float[Tensor, "batch vocab"]]:
    """Give the base run the other run's keys, values, or both, at every source.

    Returns:
        Logits by route: "keys", "values", "keys and values".
    """
    routes = {"keys": ("k",), "values": ("v",), "keys and values": ("k", "v")}
    known = upstream(base, "q")
    return {
        name: trace_hooks(network, tokens, column, known=known, edits=hold(source, *sites))[
            "logits"
        ]
        for name, sites in routes.items()
    }
