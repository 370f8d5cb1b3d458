"""Does the network use the carry? Pairs that differ only in it swap activations.

A pair (`CarryPairs`) has everything in common but carry_in, so a swap of the carry, and of nothing
else, must move the answer digit by exactly one: up from the run without it, down from the other.
Controls: random moves of the same length, and swaps with an input that has other digits below but
the same carry, which must move nothing. Directions are found on one half of the pairs and judged on
the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from interp.anatomy import SOURCE_HOOKS, Specimen, Trace, at_query, trace_hooks, upstream
from interp.carry_probe.data import CarryPairs
from interp.carry_probe.directions import (
    Basis,
    column_space,
    das,
    mean_difference,
    norm_matched,
    probe_projection,
    project,
    widen,
)
from interp.carry_probe.edges import NORMS, hold, swap_routes
from interp.carry_probe.prefix import lowest_shift, shift_of
from model.intervals import clopper_pearson
from model.layouts import Layout


@dataclass(frozen=True)
class Swap:
    """Both runs of a set of pairs, in both directions: base rows, then their sources.

    Attributes:
        layout: The task.
        column: The answer column.
        tokens: Inputs of the base runs: without the carry, then with it.
        base: Their activations.
        source: Activations of the partner of each row.
        again: Activations of an input with other digits a_{i-1}, b_{i-1} and the row's own carry.
        digit: The right digit of each base run.
        target: The right digit of its partner, one more or one less (mod base).
        total: a_i + b_i of each row.
        sign: +1 where the source has the carry, -1 where the base has it.
    """

    layout: Layout
    column: int
    tokens: Int[Tensor, "batch pos"]
    base: Trace
    source: Trace
    again: Trace
    digit: Int[Tensor, " batch"]
    target: Int[Tensor, " batch"]
    total: Int[Tensor, " batch"]
    sign: Int[Tensor, " batch"]

    def difference(self, site: str) -> Float[Tensor, "batch width"]:
        """Return what the partner has more at a site."""
        return at_query(self.source, site) - at_query(self.base, site)


def both_ways(specimen: Specimen, pairs: CarryPairs, rows: slice) -> Swap:
    """Run both members of the chosen pairs."""
    low, high = pairs.without[rows], pairs.with_carry[rows]
    tokens, other = torch.cat([low, high]), torch.cat([high, low])
    again = torch.cat([pairs.without_again[rows], pairs.with_again[rows]])
    base = pairs.layout.base
    digit = torch.cat([pairs.digit[rows], (pairs.digit[rows] + 1) % base])
    n = len(low)
    sign = torch.ones(2 * n, dtype=torch.int64)
    sign[n:] = -1
    return Swap(
        pairs.layout,
        pairs.column,
        tokens,
        trace_hooks(specimen, tokens, pairs.column),
        trace_hooks(specimen, other, pairs.column),
        trace_hooks(specimen, again, pairs.column),
        digit,
        (digit + sign) % base,
        torch.cat([pairs.total[rows], pairs.total[rows]]),
        sign,
    )


def sites_after_attention(specimen: Specimen, sites: Sequence[str]) -> list[str]:
    """Keep the sites where an interchange at the query alone can move a carry.

    The members of a pair share s_{i-1}, so sites that see only the query's token are the same in
    both; the logits are the answer itself.
    """
    skip = {*SOURCE_HOOKS, "q_low", "q", "rot_q", "logits", "ln1_scale", "ln2_scale", "final_scale"}
    return [site for site in sites if site in specimen.sites() and site not in skip]


def logits_after(
    specimen: Specimen, swap: Swap, site: str, move: Float[Tensor, "batch width"]
) -> Float[Tensor, "batch vocab"]:
    """Add `move` to the base activation of a site and compute the logits."""
    known = upstream(swap.base, site)
    edits: dict[str, Callable[[Tensor], Tensor]] = {
        site: lambda value: value + move.reshape(value.shape)
    }
    return trace_hooks(specimen, swap.tokens, swap.column, known=known, edits=edits)["logits"]


def outcome(logits: Float[Tensor, "batch vocab"], swap: Swap) -> dict:
    """Count how often the digit becomes the partner's (moves by exactly one), stays, or errs.

    `moved` counts only rows whose clean answer was right, over all rows: a network that gives one
    answer to everything moves nothing.
    """
    first = swap.layout.first_digit
    answer, clean = (x.argmax(dim=1) - first for x in (logits, swap.base["logits"]))
    right = clean == swap.digit
    moved = right & (answer == swap.target)
    n = len(answer)
    low, high = clopper_pearson(int(moved.sum()), n)
    up = swap.sign > 0
    return {
        "moved": float(moved.double().mean()),
        "low": low,
        "high": high,
        "moved_up": float(moved[up].double().mean()),
        "moved_down": float(moved[~up].double().mean()),
        "stayed": float((answer == clean).double().mean()),
        "clean_right": float(right.double().mean()),
        "n": n,
    }


def interchange(
    specimen: Specimen,
    pairs: CarryPairs,
    sites: Sequence[str],
    *,
    das_ranks: Sequence[int],
    random_draws: int,
    generator: torch.Generator,
) -> list[dict]:
    """Swap directions at each site and count the answers that move by exactly one.

    Args:
        specimen: The network.
        pairs: Minimal pairs of one column; the first half finds directions, the second judges.
        sites: Sites as given by `sites_after_attention`.
        das_ranks: Ranks to search; those not smaller than the site's width are left out.
        random_draws: Norm-matched random moves to average.
        generator: Draws them.

    Returns:
        Rows of site, method, rank and outcome. Method "full" swaps the whole activation, "same
        carry" swaps it with that of an input with the same carry.
    """
    half = len(pairs.total) // 2
    fit = both_ways(specimen, pairs, slice(0, half))
    test = both_ways(specimen, pairs, slice(half, None))
    rows = []
    for method, other in (("full", test.source), ("same carry", test.again)):
        routes = swap_routes(specimen, test.base, other, test.tokens, pairs.column)
        for route, logits in routes.items():
            rows.append({"site": route, "method": method, "rank": 0, **outcome(logits, test)})
    for site in sites:
        difference = test.difference(site)
        without, with_carry = at_query(fit.base, site).split([half, half])
        width = difference.shape[1]
        mean = mean_difference(without, with_carry)
        bases = {"mean difference": mean}
        found = mean
        for rank in das_ranks:
            if rank < width and site not in ("attn_scores", "pattern"):
                start = widen(found, rank, fit.difference(site))
                found = das(_interchange_loss(specimen, fit, site), start)
                bases[f"DAS {rank}"] = found
        moves = {name: project(difference, basis) for name, basis in bases.items()}
        probe = probe_projection(without, with_carry, fit.total[:half])
        moves["probe"] = difference @ probe
        moves["full"] = difference
        moves["same carry"] = at_query(test.again, site) - at_query(test.base, site)
        for name, move in moves.items():
            result = outcome(logits_after(specimen, test, site, move), test)
            rank = bases[name].shape[1] if name in bases else 1 if name == "probe" else width
            rows.append({"site": site, "method": name, "rank": rank, **result})
        draws = [
            outcome(
                logits_after(specimen, test, site, norm_matched(moves["mean difference"], g)), test
            )
            for g in [generator] * random_draws
        ]
        average = pd.DataFrame(draws).mean().to_dict()
        rows.append({"site": site, "method": "random", "rank": 1, **average})
    return [{"column": pairs.column, **row} for row in rows]


def _interchange_loss(specimen: Specimen, swap: Swap, site: str) -> Callable[[Basis], Tensor]:
    difference = swap.difference(site)
    target = swap.target + swap.layout.first_digit

    def loss_of(basis: Basis) -> Tensor:
        logits = logits_after(specimen, swap, site, project(difference, basis))
        return cross_entropy(logits, target)

    return loss_of


def steer(
    specimen: Specimen,
    pairs: CarryPairs,
    sites: Sequence[str],
    doses: Float[Tensor, " dose"],
    generator: torch.Generator,
) -> list[dict]:
    """Add multiples of the mean carry difference to runs without a carry.

    Dose 1 is the mean difference itself, dose 0 nothing. A carry bit saturates: the digit moves by
    one and then stays. A place value goes on: two at dose 2. The control adds a random direction of
    the same length.

    Returns:
        Rows of site, direction ("carry" or "random"), dose, shift of the digit (-5 to 4, as far as
        the base has them) and rate.
    """
    half = len(pairs.total) // 2
    fit = both_ways(specimen, pairs, slice(0, half))
    test = both_ways(specimen, pairs, slice(half, None))
    up, low = test.sign > 0, lowest_shift(pairs.layout.base)
    rows = []
    for site in sites:
        step = fit.difference(site)[:half].mean(dim=0, keepdim=True)
        directions = {"carry": step, "random": norm_matched(step, generator)}
        for name, direction in directions.items():
            for dose in doses.tolist():
                move = (dose * direction).expand(len(up), -1)
                answer = logits_after(specimen, test, site, move).argmax(dim=1)
                shift = shift_of(answer.numpy(), test.digit.numpy(), pairs.layout)[up.numpy()]
                for k in range(max(-5, low), min(5, low + pairs.layout.base)):
                    rate = float((shift == k).sum() / len(shift))
                    rows.append(
                        {
                            "column": pairs.column,
                            "site": site,
                            "direction": name,
                            "dose": dose,
                            "shift": k,
                            "rate": rate,
                        }
                    )
    return rows


def split_by_reader(
    specimen: Specimen, pairs: CarryPairs, generator: torch.Generator
) -> list[dict]:
    """Split the carry difference at resid_mid into what the feed-forward layer reads and the rest.

    A swap may work through a path that is dormant otherwise (Makelov et al. 2023), so each part is
    sent down each path alone: the feed-forward layer reads resid_mid after the norm's gain through
    W_in (and W_gate), whose column space is the read part; its complement reaches the logits only
    by the skip (and through the norm's scale). Frozen norms keep the clean scales.

    Returns:
        Rows of part ("whole", "read", "unread", "random"), path ("both", "feed-forward", "skip"),
        norm, dimension of the part and outcome.
    """
    half = len(pairs.total) // 2
    test = both_ways(specimen, pairs, slice(half, None))
    network, d = specimen.network, specimen.network.d_model
    matrices = [network.W_in] if network.W_gate is None else [network.W_in, network.W_gate]
    reading = network.ln2_w[:, None] * torch.cat(matrices, dim=1)
    if network.norm == "layer":
        reading = reading - reading.mean(dim=0)
    basis = column_space(reading)
    difference = test.difference("resid_mid")
    read = project(difference, basis)
    parts = {
        "whole": (difference, d),
        "read": (read, basis.shape[1]),
        "unread": (difference - read, d - basis.shape[1]),
        "random": (norm_matched(difference, generator), d),
    }
    rows = []
    for part, (move, dimension) in parts.items():
        for path in ("both", "feed-forward", "skip"):
            for norm in NORMS if network.norm != "none" else NORMS[:1]:
                edits: dict[str, Callable[[Tensor], Tensor]] = {}
                if path in ("both", "skip"):
                    edits["resid_mid"] = lambda value, move=move: value + move
                if path == "feed-forward":
                    edits["mlp_in"] = lambda value, move=move: value + move
                if path == "skip":
                    edits |= hold(test.base, "mlp_out")
                if norm == "frozen":
                    edits |= hold(test.base, "ln2_scale", "final_scale")
                known = upstream(test.base, "resid_mid")
                logits = trace_hooks(specimen, test.tokens, test.column, known=known, edits=edits)[
                    "logits"
                ]
                rows.append(
                    {
                        "column": pairs.column,
                        "part": part,
                        "path": path,
                        "norm": norm,
                        "dimension": dimension,
                        **outcome(logits, test),
                    }
                )
    return rows
