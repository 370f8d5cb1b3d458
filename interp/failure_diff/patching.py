"""Activation patching between one input and a passing control, in one answer column.

A patch takes an activation from the donor's run, site by site and role by role, and everything
below is recomputed. Both directions are done: the control's activation in the input's run (does it
restore the digit?) and the input's in the control's run (does it break it?). To patch the low-rank
bottleneck of a matrix is to patch what the matrix writes, so bottlenecks need no rows of their own.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.anatomy import ROLES, SOURCE_SITES, Trace, logit_gap, role_index, trace_column
from interp.failure_diff.columns import Focus
from model.network import Network
from model.task import TOKENS, query_position

DIRECTIONS = ("control into input", "input into control")
"""From the donor into the receiver."""

WHOLE_SITES = ("q", "skip", "attn_out", "resid_mid", "pre", "mlp_out", "skip_mid", "resid_post")
"""Query sites that are patched as a whole."""

_CHUNK = 4096
_ROLE_OF = role_index()
_MAX_SUBSETS = 5_000


@dataclass(frozen=True)
class Patch:
    """One activation, or a part of one: a site and an element of it.

    Attributes:
        site: A site of `interp.anatomy.column_trace`.
        element: A role of source positions, "unit u" of the feed-forward layer, or "all".
    """

    site: str
    element: str = "all"

    def __str__(self) -> str:
        """Write the site with its element, for tables and text."""
        return self.site if self.element == "all" else f"{self.site} of {self.element}"


def patch_mask(patch: Patch, column: int, width: int) -> Bool[Tensor, " n"]:
    """Mark the sources (source sites) or coordinates (query sites) that a patch replaces."""
    if patch.site in SOURCE_SITES:
        roles = _ROLE_OF[column, : query_position(column) + 1]
        if patch.element == "all":
            return torch.ones_like(roles, dtype=torch.bool)
        return roles == ROLES.index(patch.element)
    mask = torch.zeros(width, dtype=torch.bool)
    if patch.element == "all":
        return ~mask
    mask[int(patch.element.removeprefix("unit "))] = True
    return mask


def run_patched(
    weights: Network,
    receiver: Int[Tensor, "1 pos"],
    donor: Trace,
    column: int,
    groups: Sequence[Sequence[Patch]],
) -> Float[Tensor, "group vocab"]:
    """Compute the logits of a column with each group of patches applied, all groups as one batch.

    Args:
        weights: The network.
        receiver: Tokens of the run that is patched.
        donor: Activations of the run that is read (a trace of one input).
        column: Answer column.
        groups: The patches of each run; an empty group leaves it alone.

    Returns:
        Logits, one row a group.
    """
    logits = []
    widths = {site: value.shape[1] for site, value in donor.items()}
    used = {patch for group in groups for patch in group}
    single = {patch: patch_mask(patch, column, widths[patch.site]) for patch in used}
    for start in range(0, len(groups), _CHUNK):
        part = groups[start : start + _CHUNK]
        masks: dict[str, Tensor] = {}
        for row, group in enumerate(part):
            for patch in group:
                shape = (len(part), widths[patch.site])
                if patch.site not in masks:
                    masks[patch.site] = torch.zeros(shape, dtype=torch.bool)
                masks[patch.site][row] |= single[patch]

        def replaced(site: str, mask: Tensor, value: Tensor) -> Tensor:
            aligned = mask[:, :, None] if value.ndim == 3 else mask
            return torch.where(aligned, donor[site], value)

        edits = {
            site: lambda value, site=site, mask=mask: replaced(site, mask, value)
            for site, mask in masks.items()
        }
        tokens = receiver.expand(len(part), -1)
        logits.append(trace_column(weights, tokens, column, edits)["logits"])
    return torch.cat(logits)


def all_patches(trace: Trace, column: int) -> list[Patch]:
    """List every patch of the table: source sites by role, query sites whole, units one by one."""
    present = sorted({int(r) for r in _ROLE_OF[column] if r >= 0})
    by_role = [Patch(site, ROLES[r]) for site in SOURCE_SITES for r in present]
    whole = [Patch(site) for site in (*SOURCE_SITES, *WHOLE_SITES)]
    units = [Patch("post", f"unit {u}") for u in range(trace["post"].shape[1])]
    return [*by_role, *whole, *units]


def patch_table(
    weights: Network, own: Int[Tensor, "1 pos"], control: Int[Tensor, "1 pos"], focus: Focus
) -> pd.DataFrame:
    """Patch every site and role in both directions.

    Args:
        weights: The network.
        own: Tokens of the input.
        control: Tokens of a control with the same true digit in the focus column.
        focus: The column.

    Returns:
        Rows of direction, site, element, gap, answer (the column's digit after the patch), effect
        (share of the distance between the two runs' gaps that the patch covers; 1 is all of it) and
        flips (the digit changes between right and wrong; for an input that the model gets right,
        the gap passes the midpoint between the two runs).
    """
    tables = []
    for direction, receiver, donor in _both(own, control):
        source = trace_column(weights, donor, focus.column)
        patches = all_patches(source, focus.column)
        groups: list[list[Patch]] = [[], *([patch] for patch in patches)]
        logits = run_patched(weights, receiver, source, focus.column, groups)
        gap = logit_gap(logits, focus.rival, focus.true)
        target = float(logit_gap(source["logits"], focus.rival, focus.true))
        start = float(gap[0])
        flips = _flips(logits[1:], gap[1:], start, target, focus)
        tables.append(
            pd.DataFrame(
                {
                    "direction": direction,
                    "site": [p.site for p in patches],
                    "element": [p.element for p in patches],
                    "gap": gap[1:].tolist(),
                    "answer": [TOKENS[t] for t in logits[1:].argmax(dim=1).tolist()],
                    "effect": ((gap[1:] - start) / (target - start)).tolist(),
                    "flips": flips.tolist(),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def minimal_sets(
    weights: Network, own: Int[Tensor, "1 pos"], control: Int[Tensor, "1 pos"], focus: Focus
) -> pd.DataFrame:
    """Find the smallest sets of patches that flip the digit, of two kinds, in both directions.

    Into the input, a set suffices that restores the true digit; into the control, one that gives
    the input's wrong digit. Kinds: "sources" (keys and values by role where the two inputs' tokens
    differ, the query, the path around attention) and "units" (feed-forward units, the path around
    them). Sets are tried by size, until some of a size suffice or a size has over 5,000 of them.

    Returns:
        Rows of direction, kind, size, patches (joined by " + "), gap and answer; one row with size
        0 and no patches where none of the sizes tried suffices.
    """
    rows: list[tuple] = []
    for direction, receiver, donor in _both(own, control):
        source = trace_column(weights, donor, focus.column)
        start = trace_column(weights, receiver, focus.column)
        begin, end = (
            float(logit_gap(run["logits"], focus.rival, focus.true)) for run in (start, source)
        )
        for kind, atoms in _atoms(receiver, donor, source, focus.column).items():
            found = False
            for size in range(1, len(atoms) + 1):
                groups = list(itertools.islice(itertools.combinations(atoms, size), _MAX_SUBSETS))
                if size > 1 and len(groups) == _MAX_SUBSETS:
                    break
                logits = run_patched(weights, receiver, source, focus.column, groups)
                gap = logit_gap(logits, focus.rival, focus.true)
                flips = _flips(logits, gap, begin, end, focus)
                if focus.wrong and end > begin:
                    flips = logits.argmax(dim=1) == focus.rival
                order = gap.argsort(descending=end > begin).tolist()
                for row in (i for i in order if flips[i]):
                    found = True
                    text = " + ".join(map(str, groups[row]))
                    answer = TOKENS[int(logits[row].argmax())]
                    rows.append((direction, kind, size, text, float(gap[row]), answer))
                if found:
                    break
            if not found:
                rows.append((direction, kind, 0, "", begin, TOKENS[int(start["logits"].argmax())]))
    return pd.DataFrame(rows, columns=["direction", "kind", "size", "patches", "gap", "answer"])


def average_patching(
    weights: Network, own: Int[Tensor, "1 pos"], controls: Int[Tensor, "n pos"], focus: Focus
) -> pd.DataFrame:
    """Average the patching table over many controls.

    Returns:
        Rows of direction, site, element, median effect, share of controls where the digit flips
        (see `patch_table`) and their number.
    """
    tables = [patch_table(weights, own, row[None], focus) for row in controls]
    keys = ["direction", "site", "element"]
    if not tables:
        return pd.DataFrame(columns=[*keys, "effect", "flips", "controls"])
    stacked = pd.concat(tables, ignore_index=True)
    grouped = stacked.groupby(keys, sort=False).agg(
        effect=("effect", "median"), flips=("flips", "mean"), controls=("effect", "size")
    )
    return grouped.reset_index()


def _both(own: Tensor, control: Tensor) -> list[tuple[str, Tensor, Tensor]]:
    return [(DIRECTIONS[0], own, control), (DIRECTIONS[1], control, own)]


def _flips(
    logits: Tensor, gap: Tensor, start: float, target: float, focus: Focus
) -> Bool[Tensor, " group"]:
    """Say which runs changed sides between the receiver's gap and the donor's."""
    if not focus.wrong:
        midpoint = (start + target) / 2
        return (gap < midpoint) if target < start else (gap > midpoint)
    right = logits.argmax(dim=1) == focus.true
    return right if target < start else ~right


def _atoms(receiver: Tensor, donor: Tensor, source: Trace, column: int) -> dict[str, list[Patch]]:
    length = query_position(column) + 1
    differs = (receiver != donor)[0, :length]
    roles = _ROLE_OF[column, :length]
    changed = sorted({int(r) for r in roles[differs]})
    sources = [Patch(site, ROLES[r]) for r in changed for site in ("k", "v")]
    if bool(differs[-1]):
        sources += [Patch("q"), Patch("skip")]
    units = [Patch("post", f"unit {u}") for u in range(source["post"].shape[1])]
    return {"sources": sources, "units": [*units, Patch("skip_mid")]}
