"""The kinds of ablation: a component of one matrix replaced by something, as editable tables.

Question: each kind asks another one. "zero": what if the part were absent? "mean": what if it
carried only what it carries at this position on average? "conditional": ... on average at this
position and digit sum a_i + b_i (what remains is lost beyond the sum)? "resample": ... what another
random sum has there? A part that matters should matter to at least two of them.

Method: W = rest + term, and the term's contribution is replaced where it arises: on queries, keys
and values for what reads the sources, on the stream of each answer column for what comes later.
W_pos does not vary over sums and has its own kinds (`positions`). Means, classes and donors come
from reference sums of the intact network under the true digits.

A "frozen" norm keeps the scale that the intact network has on the same sum.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.anatomy import (
    FIRST,
    CleanRun,
    Component,
    attend,
    class_means,
    matrices,
    normed_sources,
    position_means,
    without,
)
from interp.rank_ablation.config import Kind, NormMode
from interp.rank_ablation.kernel import Keyed, no_change
from interp.rank_ablation.positions import POSITION_DRAWS, replace_positions
from model.network import Network
from model.tables import Tables, tabulate
from model.task import N_INPUT, N_TARGET

_STREAMS = {
    "W_OV": "attn",
    "W_O": "attn",
    "edges": "attn",
    "W_in": "pre",
    "ln2": "pre",
    "W_out": "mlp",
    "ln_final": "logits",
}


@dataclass(frozen=True)
class Setting:
    """What ablations of one network are made against.

    Attributes:
        folded: The network, gains folded.
        reference: Its clean run on reference sums: means, classes and donors.
        run: Its clean run on the evaluated sums.
        donor: Row of the reference that each evaluated sum borrows from, when resampling.
        seed: Seed of the positions that a resampled W_pos borrows from.
    """

    folded: Network
    reference: CleanRun
    run: CleanRun
    donor: Int[Tensor, " batch"]
    seed: int


@dataclass(frozen=True)
class Ablation:
    """A network with something replaced, ready to be decoded.

    Attributes:
        tables: What is left (and whatever replacement is the same for all sums).
        keyed: Replacements that differ between sums, and frozen norms; None when there are none.
        rows: The evaluated sums that this is for.
    """

    tables: Tables
    keyed: Keyed | None
    rows: Int[Tensor, " batch"]


def ablate(setting: Setting, part: Component, kind: Kind, norm: NormMode) -> list[Ablation]:
    """Replace a component of one matrix.

    Args:
        setting: The network and the sums.
        part: What is replaced.
        kind: By what.
        norm: Whether later norms are recomputed ("live") or keep the clean run's scale.

    Returns:
        One ablation for all the evaluated sums, or (W_pos resampled) one per group of sums.
    """
    n = setting.run.tokens.shape[0]
    if part.matrix == "W_pos":
        groups = POSITION_DRAWS if kind == "resample" else 1
        generator = torch.Generator().manual_seed(setting.seed)
        made = [
            (
                replace_positions(setting.folded, part, kind, generator, frozen=norm == "frozen"),
                None,
                torch.arange(group, n, groups),
            )
            for group in range(groups)
        ]
    else:
        replace = _replace_stream if part.matrix in _STREAMS else _replace_sources
        made = [(*replace(setting, part, kind), torch.arange(n))]
    if norm == "live":
        return [
            Ablation(tables, keyed.rows(rows) if keyed else None, rows)
            for tables, keyed, rows in made
        ]
    scales = {"scale2": setting.run.scale2, "scale_final": setting.run.scale_final}
    return [
        Ablation(
            tables, dataclasses.replace(keyed or no_change(tables, n), **scales).rows(rows), rows
        )
        for tables, keyed, rows in made
    ]


def ablate_set(setting: Setting, parts: Sequence[Component]) -> list[Ablation]:
    """Remove (kind "zero", norms live) components of any matrices but "edges" together."""
    tables = tabulate(without(setting.folded, parts))
    return [Ablation(tables, None, torch.arange(setting.run.tokens.shape[0]))]


def removed_output(setting: Setting, part: Component) -> Float[Tensor, "batch column width"]:
    """Compute what a component of the streams passes on in the reference run."""
    folded, run = setting.folded, setting.reference
    if part.matrix == "edges":
        tables = tabulate(folded)
        return attend(tables, run.tokens, tables.ov, part.term)
    read = {
        "W_OV": run.attended,
        "W_O": run.attended @ folded.W_V[0],
        "W_in": run.h_mid,
        "ln2": run.h_mid,
        "W_out": run.post,
        "ln_final": run.h_final,
    }[part.matrix]
    out = read @ part.term
    reader = {"ln2": folded.W_in, "ln_final": folded.W_U}.get(part.matrix)
    return out if reader is None else out @ reader


def _replace_stream(setting: Setting, part: Component, kind: Kind) -> tuple[Tables, Keyed | None]:
    """Replace a part at the answer columns, after attention."""
    name = _STREAMS[part.matrix]
    edges = part.matrix == "edges"
    tables = tabulate(setting.folded if edges else without(setting.folded, [part]))
    n = setting.run.tokens.shape[0]
    keyed = no_change(tables, n)
    if edges:
        keyed = dataclasses.replace(keyed, edges=matrices(setting.folded)["edges"] - part.term)
    if kind == "zero":
        return tables, keyed if edges else None
    values = removed_output(setting, part).transpose(0, 1)
    if kind == "mean" and not edges and name != "logits":
        bias = {"attn": "attn_bias", "pre": "b_in", "mlp": "b_out"}[name]
        return tables.edit(**{bias: values.mean(dim=1)}), None
    if kind == "mean":
        table, key = values.mean(dim=1, keepdim=True), keyed.stream_key
    elif kind == "conditional":
        table = class_means(values, setting.reference.column_class)
        key = setting.run.column_class
    else:
        table, key = values.contiguous(), setting.donor[:, None].expand(n, N_TARGET)
    return tables, dataclasses.replace(keyed, stream_key=key, **{name: table})


def _replace_sources(setting: Setting, part: Component, kind: Kind) -> tuple[Tables, Keyed | None]:
    """Replace a part of queries, keys or values, all of them tables over (position, token)."""
    folded, reference = setting.folded, setting.reference
    tables = tabulate(without(folded, [part]))
    if kind == "zero":
        return tables, None
    h = normed_sources(folded)
    if part.matrix == "W_QK":
        return _replace_scores(setting, tables, h @ part.term / h.shape[-1] ** 0.5, h, kind)
    term = part.term
    reads = {
        "W_Q": {"q": term},
        "W_K": {"k": term},
        "W_V": {"ov": term @ folded.W_O[0]},
        "W_KV": {"k": term, "ov": term @ folded.W_O[0]},
        "ln1": {
            "q": term @ folded.W_Q[0],
            "k": term @ folded.W_K[0],
            "ov": term @ folded.W_V[0] @ folded.W_O[0],
        },
    }[part.matrix]
    lost = {name: h @ matrix for name, matrix in reads.items()}
    if "q" in lost:
        lost["q"] = lost["q"][FIRST:] / h.shape[-1] ** 0.5
    seen, here = _keys(reference), _keys(setting.run)
    if kind == "mean":
        means = {name: position_means(c, seen[name][0]) for name, c in lost.items()}
        return tables.edit(**{x: getattr(tables, x) + m for x, m in means.items()}), None
    changes: dict[str, Tensor] = {}
    for name, c in lost.items():
        tokens, classes = seen[name]
        side = "query_key" if name == "q" else "source_key"
        if kind == "conditional":
            values = c[torch.arange(c.shape[0])[:, None], tokens.T]
            changes |= {name: class_means(values, classes), side: here[name][1]}
        else:
            changes |= {name: c, side: tokens[setting.donor]}
    return tables, dataclasses.replace(no_change(tables, setting.donor.shape[0]), **changes)


def _keys(run: CleanRun) -> dict[str, tuple[Tensor, Tensor]]:
    """Tokens and classes of what queries, keys and values are looked up by."""
    tokens, columns = run.tokens[:, :N_INPUT], slice(FIRST, FIRST + N_TARGET)
    sources = (tokens, run.source_class)
    return {"q": (tokens[:, columns], run.column_class), "k": sources, "ov": sources}


def _replace_scores(
    setting: Setting,
    tables: Tables,
    query_side: Float[Tensor, "pos vocab d"],
    key_side: Float[Tensor, "pos vocab d"],
    kind: Kind,
) -> tuple[Tables, Keyed]:
    """Replace a part of the scores, by giving queries and keys further dimensions to carry it."""
    reference, n = setting.reference, setting.donor.shape[0]
    keyed = no_change(tables, n)
    tokens = reference.tokens[:, :N_INPUT]
    queries, d = tokens[:, FIRST:], tables.q.shape[-1]
    if kind == "resample":
        changes = {
            "q": _pad_left(query_side[FIRST:], d),
            "query_key": queries[setting.donor],
            "k": _pad_left(key_side, d),
            "source_key": tokens[setting.donor],
        }
    else:
        places = torch.arange(N_INPUT)
        q = query_side[places[FIRST:], queries]
        k = key_side[places, tokens]
        if kind == "mean":
            bias = torch.einsum("ncd,njd->cj", q, k)[:, None] / len(tokens)
        else:
            products = [
                class_means((q[:, c, None] * k).sum(-1)[None], reference.column_class[:, c, None])
                for c in range(N_TARGET)
            ]
            bias = torch.cat(products)
        changes = {
            "q": _pad_left(bias, d),
            "k": _pad_left(torch.eye(N_INPUT, dtype=bias.dtype)[:, None], d),
            "query_key": keyed.query_key if kind == "mean" else setting.run.column_class,
        }
    return tables, dataclasses.replace(keyed, **changes)


def _pad_left(x: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(x, (width, 0))
