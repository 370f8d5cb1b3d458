"""Parts of queries, keys and values replaced: everything that reads the sources.

Question: how is a part of W_Q, W_K, W_V, W_QK or the first gain replaced by a mean, by the mean of
a class, or by another example's?

Method: what the part gives is a table over (position, token). It is replaced where it arises, in
front of the norms of q and k and of the rotation. Where nothing but the rotation follows, the
replacement is an addition to queries and keys; behind a norm the addition also depends on the token
that is there, and the table is crossed with it. A part of the scores themselves (W_QK) gets further
dimensions of queries and keys.
"""

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.anatomy import (
    CleanRun,
    Component,
    class_means,
    n_classes,
    normed_sources,
    position_means,
    without,
)
from interp.rank_ablation.config import Kind
from interp.rank_ablation.kernel import Keyed, no_change
from model.network import Network, join_heads, split_heads
from model.tables import Tables, tabulate


def replace_sources(
    folded: Network,
    reference: CleanRun,
    run: CleanRun,
    donor: Int[Tensor, " batch"],
    part: Component,
    kind: Kind,
) -> tuple[Tables, Keyed | None]:
    """Replace a part of queries, keys or values, all of them tables over (position, token).

    Args:
        folded: The network, gains folded.
        reference: Its clean run on the sums that means, classes and donors come from.
        run: Its clean run on the evaluated sums.
        donor: Row of the reference that each evaluated sum borrows from.
        part: What is replaced.
        kind: By what.

    Returns:
        What is left, and replacements that differ between sums; None where there are none.
    """
    rest = without(folded, [part])
    tables = tabulate(rest)
    if kind == "zero":
        return tables, None
    h = normed_sources(folded)
    if part.stem == "W_QK":
        return _replace_scores(folded, reference, run, donor, tables, part, h, kind)
    layout = folded.layout
    first = layout.n_prompt - 1
    changes: dict[str, Tensor] = {}
    means: dict[str, Tensor] = {}
    crossed = folded.q_norm_w is not None
    for name, lost in _lost(folded, part, h).items():
        lost = lost[first:] if name == "q" else lost
        side = "query_key" if name == "q" else "source_key"
        seen, classes = _keys(reference, name)
        if kind == "mean":
            mean = position_means(lost.flatten(2), seen).unflatten(-1, lost.shape[2:])
            means[name] = _added(rest, name, mean, h)
            continue
        if kind == "conditional":
            values = lost.flatten(2)[torch.arange(lost.shape[0])[:, None], seen.T]
            table = class_means(values, classes, n_classes(layout)).unflatten(-1, lost.shape[2:])
            changes |= {name: _added(rest, name, table, h), side: _keys(run, name)[1]}
        else:
            changes |= {name: _added(rest, name, lost, h), side: seen[donor]}
    if kind == "mean":
        return tables.edit(**{x: getattr(tables, x) + m for x, m in means.items()}), None
    keyed = no_change(tables, donor.shape[0])
    return tables, dataclasses.replace(keyed, crossed=crossed, **changes)


def _lost(
    folded: Network, part: Component, h: Float[Tensor, "pos vocab d"]
) -> dict[str, Float[Tensor, "pos vocab head width"]]:
    """Compute what a part gives to queries, keys, and values times W_O, norms and turns apart."""
    if part.stem == "ln1":
        moved = h @ part.term
        return {
            "q": split_heads(moved @ join_heads(folded.W_Q), folded.n_heads),
            "k": split_heads(moved @ join_heads(folded.W_K), folded.n_kv_heads),
            "ov": folded.write(split_heads(moved @ join_heads(folded.W_V), folded.n_kv_heads)),
        }
    n = folded.n_heads if part.stem == "W_Q" else folded.n_kv_heads
    given = h.new_zeros(*h.shape[:2], n, part.term.shape[1])
    given[:, :, part.head] = h @ part.term
    if part.stem == "W_Q":
        return {"q": given}
    keys = {"k": given} if part.stem in ("W_K", "W_KV") else {}
    return keys | ({"ov": folded.write(given)} if part.stem in ("W_V", "W_KV") else {})


def _added(
    rest: Network,
    name: str,
    table: Float[Tensor, "place key head width"],
    h: Float[Tensor, "pos vocab d"],
) -> Float[Tensor, "place keys joined"]:
    """Turn what replaces a part into an addition to the tables of the rest."""
    if name == "ov":
        return table.flatten(-2)
    layout = rest.layout
    places = torch.arange(layout.n_input)[layout.n_prompt - 1 if name == "q" else 0 :, None]
    finish = rest.finish_queries if name == "q" else rest.finish_keys
    if rest.q_norm_w is None:
        out = finish(table, places)
    else:
        W, b = (rest.W_Q, rest.b_Q) if name == "q" else (rest.W_K, rest.b_K)
        raw = split_heads(h[places[:, 0]] @ join_heads(W), W.shape[0]) + b
        both = finish(raw[:, None] + table[:, :, None], places[:, :, None])
        out = (both - finish(raw, places)[:, None]).flatten(1, 2)
    if name == "k":
        out = out.repeat_interleave(rest.n_heads // rest.n_kv_heads, dim=-2)
    return out.flatten(-2)


def _keys(
    run: CleanRun, name: str
) -> tuple[Int[Tensor, "batch place"], Int[Tensor, "batch place"]]:
    """Give the token and the class at each place that a table is looked up at."""
    layout = run.layout
    tokens = run.tokens[:, : layout.n_input]
    if name == "q":
        return tokens[:, layout.n_prompt - 1 :], run.column_class
    return tokens, run.source_class


def _replace_scores(
    folded: Network,
    reference: CleanRun,
    run: CleanRun,
    donor: Int[Tensor, " batch"],
    tables: Tables,
    part: Component,
    h: Float[Tensor, "pos vocab d"],
    kind: Kind,
) -> tuple[Tables, Keyed]:
    """Replace a part of the scores, by giving queries and keys further dimensions to carry it."""
    layout, keyed = folded.layout, no_change(tables, donor.shape[0])
    first, n_input = layout.n_prompt - 1, layout.n_input
    query_side, key_side = h @ part.term / folded.attn_scale, h
    tokens = reference.tokens[:, :n_input]
    queries = tokens[:, first:]

    def beside(x: Float[Tensor, "place key extra"]) -> Float[Tensor, "place key joined"]:
        """Give one head further dimensions, and the others as many of zero."""
        width = tables.q.shape[-1] // tables.n_heads
        out = x.new_zeros(*x.shape[:2], tables.n_heads, width + x.shape[2])
        out[:, :, part.head, width:] = x
        return out.flatten(-2)

    if kind == "resample":
        changes = {
            "q": beside(query_side[first:]),
            "query_key": queries[donor],
            "k": beside(key_side),
            "source_key": tokens[donor],
        }
        return tables, dataclasses.replace(keyed, **changes)
    places = torch.arange(n_input)
    q = query_side[places[first:], queries]
    k = key_side[places, tokens]
    if kind == "mean":
        bias = torch.einsum("ncd,njd->cj", q, k)[:, None] / len(tokens)
    else:
        products = [
            class_means(
                (q[:, step, None] * k).sum(-1)[None],
                reference.column_class[:, step, None],
                n_classes(layout),
            )
            for step in range(layout.n_target)
        ]
        bias = torch.cat(products)
    changes = {
        "q": beside(bias),
        "k": beside(torch.eye(n_input, dtype=bias.dtype)[:, None]),
        "query_key": keyed.query_key if kind == "mean" else run.column_class,
    }
    return tables, dataclasses.replace(keyed, **changes)
