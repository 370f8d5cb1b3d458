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
    CleanRun,
    Component,
    attend,
    class_means,
    matrices,
    mixed_values,
    n_classes,
    without,
)
from interp.rank_ablation.config import Kind, NormMode
from interp.rank_ablation.kernel import Keyed, no_change
from interp.rank_ablation.positions import POSITION_DRAWS, replace_positions
from interp.rank_ablation.sources import replace_sources
from model.network import Network, split_heads
from model.tables import Tables, tabulate

_STREAMS = {
    "W_OV": "attn",
    "W_O": "attn",
    "edges": "attn",
    "W_in": "pre",
    "W_gate": "gate",
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
    if part.stem == "W_pos":
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
        if part.stem in _STREAMS:
            replaced = _replace_stream(setting, part, kind)
        else:
            replaced = replace_sources(
                setting.folded, setting.reference, setting.run, setting.donor, part, kind
            )
        made = [(*replaced, torch.arange(n))]
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


def removed_output(setting: Setting, part: Component) -> dict[str, Float[Tensor, "batch step _"]]:
    """Compute what a component of the streams passes on in the reference run, by stream."""
    folded, run = setting.folded, setting.reference
    name = _STREAMS[part.stem]
    if part.stem == "edges":
        tables = tabulate(folded)
        ov = split_heads(tables.ov, tables.n_heads)[:, :, part.head]
        return {name: attend(tables, run.tokens, ov, part.term)[:, :, part.head]}
    if part.stem == "W_OV":
        return {name: run.attended[:, :, part.head] @ part.term}
    if part.stem == "W_O":
        return {name: mixed_values(folded, run, part.head) @ part.term}
    if part.stem == "ln_final":
        return {name: run.h_final @ part.term @ folded.W_U}
    read = run.post if part.stem == "W_out" else run.h_mid
    out = read @ part.term
    if part.stem != "ln2":
        return {name: out}
    gated = {} if folded.W_gate is None else {"gate": out @ folded.W_gate}
    return {"pre": out @ folded.W_in, **gated}


def _replace_stream(setting: Setting, part: Component, kind: Kind) -> tuple[Tables, Keyed | None]:
    """Replace a part at the steps of the answer, after attention."""
    edges = part.stem == "edges"
    tables = tabulate(setting.folded if edges else without(setting.folded, [part]))
    n, layout = setting.run.tokens.shape[0], tables.layout
    keyed = no_change(tables, n)
    if edges:
        mask = keyed.edges.clone()
        mask[part.head] = matrices(setting.folded)[part.matrix] - part.term
        keyed = dataclasses.replace(keyed, edges=mask)
    if kind == "zero":
        return tables, keyed if edges else None
    outputs = {name: value.transpose(0, 1) for name, value in removed_output(setting, part).items()}
    if kind == "mean" and not edges and not outputs.keys() & {"logits", "gate"}:
        biases = {"attn": "attn_bias", "pre": "b_in", "mlp": "b_out"}
        means = {
            biases[name]: getattr(tables, biases[name]) + x.mean(dim=1)
            for name, x in outputs.items()
        }
        return tables.edit(**means), None
    if kind == "mean":
        found = {name: x.mean(dim=1, keepdim=True) for name, x in outputs.items()}
        key = keyed.stream_key
    elif kind == "conditional":
        classes, count = setting.reference.column_class, n_classes(layout)
        found = {name: class_means(x, classes, count) for name, x in outputs.items()}
        key = setting.run.column_class
    else:
        found = {name: x.contiguous() for name, x in outputs.items()}
        key = setting.donor[:, None].expand(n, layout.n_target)
    return tables, dataclasses.replace(keyed, stream_key=key, **found)
