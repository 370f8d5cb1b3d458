"""What does each source of attention do for the answer? Edges are cut, one role at a time.

An edge is what the sources of one role write into the query's residual stream. It is cut in five
ways that answer different questions: `zero` removes it; `mean` puts its position mean in its place
(what its variation is worth); `k`, `v` and `k+v` give the role's keys, values or both those of
another input, so that routing (K) and content (V) come apart even where K = V. The norm after the
edit is live or frozen at its clean scale, which are two estimands; `direct` holds the feed-forward
output at its clean value, so that only the path from the edge to the logits is left. Where there
are several heads, `zero` and `mean` are also done to one head at a time (keys and values may be
shared). What a network lacks (norms, a feed-forward layer) cannot be held, and is left out.
"""

from collections.abc import Callable, Sequence

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.anatomy import Specimen, Trace, role_index, roles_of, trace_hooks, upstream
from interp.carry_probe.attention import ALL_HEADS, written
from interp.carry_probe.data import ProbeInputs
from model.intervals import clopper_pearson

CUTS = ("zero", "mean", "k", "v", "k+v")
CUTS_OF_A_HEAD = ("zero", "mean")
NORMS = ("live", "frozen")
PATHS = ("total", "direct")


def margin(
    logits: Float[Tensor, "batch vocab"], true: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Compute the logit of the true token less the largest other."""
    others = logits.scatter(1, true[:, None], float("-inf")).max(dim=1).values
    return logits.gather(1, true[:, None])[:, 0] - others


def hold(trace: Trace, *sites: str) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return edits that keep sites at the values of `trace`, those of them that it has."""
    return {site: lambda _, value=trace[site]: value for site in sites if site in trace}


def cut_edges(
    specimen: Specimen, data: ProbeInputs, columns: Sequence[int], generator: torch.Generator
) -> pd.DataFrame:
    """Cut every role's edge in every column and read the margin of the true digit.

    Args:
        specimen: The network.
        data: Teacher-forced inputs; donors of keys and values are drawn among them.
        columns: Answer columns.
        generator: Draws the donors.

    Returns:
        One row per column, role, head ("all", and each where there are several), cut, norm and
        path: mean clean margin, mean `drop` of the margin with its standard error, accuracy of the
        digit after the cut with its interval.
    """
    names, network = roles_of(specimen.layout), specimen.network
    norms = NORMS if network.norm != "none" else NORMS[:1]
    paths = PATHS if network.act != "none" else PATHS[:1]
    several = range(network.n_heads) if network.n_heads > 1 else ()
    ways = [(cut, None) for cut in CUTS] + [(cut, h) for h in several for cut in CUTS_OF_A_HEAD]
    rows = []
    donor = torch.randperm(len(data.tokens), generator=generator)
    for column in columns:
        clean = trace_hooks(specimen, data.tokens, column)
        true = data.answer(column)
        clean_margin = margin(clean["logits"], true)
        roles = role_index(specimen.layout)[column, : clean["pattern"].shape[-1]]
        for r in roles.unique().tolist():
            for cut, head in ways:
                edits = cut_edits(specimen, clean, roles == r, cut, donor, head)
                known = upstream(clean, "q" if cut in ("k", "v", "k+v") else "pattern")
                live = trace_hooks(specimen, data.tokens, column, known=known, edits=edits)
                known = upstream(live, specimen.mid)
                for norm in norms:
                    for path in paths:
                        held = {}
                        if norm == "frozen":
                            held |= hold(clean, "ln2_scale", "final_scale")
                        if path == "direct":
                            held |= hold(clean, "mlp_out")
                        edited = trace_hooks(specimen, data.tokens, column, known=known, edits=held)
                        drop = clean_margin - margin(edited["logits"], true)
                        hits = int((edited["logits"].argmax(dim=1) == true).sum())
                        low, high = clopper_pearson(hits, len(true))
                        rows.append(
                            {
                                "column": column,
                                "role": names[r],
                                "head": ALL_HEADS if head is None else str(head),
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
    specimen: Specimen,
    clean: Trace,
    sources: Bool[Tensor, " source"],
    cut: str,
    donor: Int[Tensor, " batch"],
    head: int | None = None,
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Make the edits that cut the edges from `sources` in one of the ways of `CUTS`.

    Args:
        specimen: The network.
        clean: Its activations.
        sources: Which sources are cut off.
        cut: One of `CUTS`; for a single head one of `CUTS_OF_A_HEAD`.
        donor: Which row gives each row its keys and values.
        head: The only head that is cut; None for all.
    """
    if cut in CUTS_OF_A_HEAD:
        edges = written(specimen, clean)
        edges = edges.sum(dim=1) if head is None else edges[:, head]
        edge = edges[:, sources].sum(dim=1)
        instead = edge.mean(dim=0) if cut == "mean" else torch.zeros_like(edge[0])
        return {"attn_out": lambda value: value - edge + instead}
    edits: dict[str, Callable[[Tensor], Tensor]] = {}
    for site in cut.split("+"):
        mixed = torch.where(sources[:, None, None], clean[site][donor], clean[site])
        edits[site] = lambda _, mixed=mixed: mixed
    return edits


def swap_routes(
    specimen: Specimen, base: Trace, source: Trace, tokens: Int[Tensor, "batch pos"], column: int
) -> dict[str, Float[Tensor, "batch vocab"]]:
    """Give the base run the other run's keys, values, or both, at every source.

    Returns:
        Logits by route: "keys", "values", "keys and values".
    """
    routes = {"keys": ("k",), "values": ("v",), "keys and values": ("k", "v")}
    known = upstream(base, "q")
    return {
        name: trace_hooks(specimen, tokens, column, known=known, edits=hold(source, *sites))[
            "logits"
        ]
        for name, sites in routes.items()
    }
