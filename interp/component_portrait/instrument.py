"""What one component does: what it reads and writes, and which sums break when it goes.

Question: which tokens does a component tell apart, at which positions, and what is it needed for?

Method: the left singular directions are read against everything that can arrive there, the right
ones against everything that can be said there. Before attention that is a table over (position,
token); its variance is split into position, token and interaction, and the slope over the digits
tells a counting component from a labelling one. After attention, readings are correlated with what
a column can hold: digit sum, its last digit, carry in, answer digit, place. Writing directions are
read as logits of the tokens. Breakage is the forced error by digit sum and carry with the component
set to its mean.

    python -m interp.component_portrait 311p --matrix W_OV --component 1
"""

from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from interp.anatomy import FIRST, N_CLASSES, ROLES, Component, attend, normed_sources, role_index
from interp.component_portrait.config import Config
from interp.component_portrait.figure import plot
from interp.component_portrait.portrait import (
    Result,
    class_fit,
    directions,
    linear_fit,
    variance_shares,
)
from interp.output import save_figure, save_json, save_table
from interp.rank_ablation import (
    Job,
    Sizes,
    World,
    ablate,
    answer,
    build_world,
    cut,
    measure,
    run_job,
    select,
    tabulate_measured,
)
from model.adder import Adder
from model.errors import InputError
from model.tables import tabulate
from model.task import N_ANSWER, N_DIGITS, N_INPUT, TOKENS, carries, digits

AFTER_ATTENTION = ("W_O", "W_in", "W_out")


def run(model: Adder, config: Config) -> Result:
    """Draw one component of one network.

    Raises:
        InputError: The network has no such matrix or component.
    """
    sizes = Sizes(config.pairs, config.pairs // 5, max(200, config.pairs // 4), 0)
    world = build_world(model, sizes, config.seed, config.block_tolerance)
    parts = cut(world, config.matrix, config.basis)
    if not parts:
        raise InputError(f"--matrix {config.matrix} is not one of {', '.join(world.names[:-4])}")
    if config.component > len(parts):
        raise InputError(f"{config.matrix} has {len(parts)} components: --component is too large")
    part = parts[config.component - 1]
    u, v = directions(part)
    reads, key_reads, shares = _readings(world, part, u, v)
    writes, written = _writings(world, part, v)
    forced = answer(world.setting, ablate(world.setting, part, config.kind, "live"), world.cases)
    table = tabulate_measured(measure(world.cases, forced))
    by_column = select(table, "digit_accuracy", mode="forced")
    intact = select(run_job(world, world, Job("intact"), 0), "digit_accuracy", mode="forced")
    intact = intact[["stratum", "value"]]
    by_column = by_column.merge(intact, on="stratum", suffixes=("", "_intact"))
    return Result(
        name=f"{config.matrix} {part.label} ({config.basis})",
        weight=part.weight,
        reads=reads,
        key_reads=key_reads,
        shares=shares,
        writes=writes,
        written=written,
        roles=_roles(world, part, reads, key_reads),
        by_class=error_by_class(world, forced.forced.wrong[:, :N_ANSWER]),
        by_column=by_column[["stratum", "value", "low", "high", "trials", "value_intact"]],
    )


def _readings(
    world: World, part: Component, u: Tensor, v: Tensor
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """Read everything that arrives at a component."""
    setting = world.setting
    nothing = torch.zeros(0, len(TOKENS), dtype=u.dtype)
    if part.matrix == "W_pos":
        table = u[:, None].expand(N_INPUT, len(TOKENS))
        return table, nothing, variance_shares(table)
    h = normed_sources(setting.folded)
    if part.matrix not in AFTER_ATTENTION:
        keys = h @ v if part.matrix == "W_QK" else nothing
        shares = variance_shares(h @ u)
        if part.matrix == "W_QK":
            shares = {f"query {name}": value for name, value in shares.items()}
            shares |= {f"key {name}": value for name, value in variance_shares(keys).items()}
        return h @ u, keys, shares
    run = setting.reference
    read = {
        "W_O": run.attended @ setting.folded.W_V[0],
        "W_in": run.h_mid,
        "W_out": run.post,
    }[part.matrix]
    value = (read @ u)[:, :N_DIGITS].flatten()
    a, b = run.pairs
    carry, total = carries(a, b)[0][:, :N_DIGITS], digits(a) + digits(b)
    before = torch.nn.functional.pad(digits(a + b), (1, 0))[:, :N_DIGITS]
    place = torch.arange(N_DIGITS).expand(len(a), N_DIGITS)
    features = {
        "digit sum": total,
        "digit sum mod 10": total % 10,
        "carry in": carry,
        "digit sum and carry in": 2 * total + carry,
        "answer digit": digits(a + b)[:, :N_DIGITS],
        "previous answer digit": before,
        "column": place,
    }
    shares = {name: class_fit(x.flatten(), value) for name, x in features.items()}
    shares["digit sum + carry in, a line"] = linear_fit((total + carry).flatten().double(), value)
    return nothing, nothing, shares


def _roles(world: World, part: Component, reads: Tensor, key_reads: Tensor) -> dict[str, float]:
    """Measure a component by the role of its sources, over the columns with digits."""
    index = role_index()[:N_DIGITS]
    if part.matrix == "W_QK":
        query, key = (x[:, :N_DIGITS].mean(dim=1) for x in (reads, key_reads))
        score = query[FIRST : FIRST + N_DIGITS, None] * key / world.setting.folded.d_model**0.5
        seen = index >= 0
        score = score - (score * seen).sum(1, keepdim=True) / seen.sum(1, keepdim=True)
        masks = {role: index == i for i, role in enumerate(ROLES)}
        return {role: float(score[mask].mean()) for role, mask in masks.items() if mask.any()}
    if part.matrix not in ("W_OV", "W_KV", "W_V"):
        return {}
    tables = tabulate(world.setting.folded)
    tokens = world.setting.reference.tokens[:4000]
    spread = {}
    for edge in cut(world, "edges", "unit"):
        carried = attend(tables, tokens, reads[:, :, None], edge.term)[:, :N_DIGITS]
        spread[edge.label] = float(carried.std(dim=0).mean())
    return spread


def _writings(world: World, part: Component, v: Tensor) -> tuple[Tensor, list[str]]:
    """Read what a component writes: logits of the tokens, or neurons for W_in."""
    folded = world.setting.folded
    if part.matrix in ("W_Q", "W_K", "W_QK"):
        return v.new_zeros(0), []
    if part.matrix == "W_in":
        return v, [str(i) for i in range(len(v))]
    if part.matrix in ("W_KV", "W_V"):
        v = v @ folded.W_O[0]
    return (v * folded.ln_final_w) @ folded.W_U, list(TOKENS)


def error_by_class(world: World, wrong: Tensor) -> Float[Tensor, "sum carry"]:
    """Forced error per digit sum (0 to 18) and carry in, over all columns with digits."""
    a, b = world.cases.pairs
    total = (digits(a) + digits(b)).flatten()
    carry = world.cases.carry_in[:, :N_DIGITS].flatten()
    index = 2 * total + carry
    count = torch.bincount(index, minlength=2 * N_CLASSES)
    errors = torch.bincount(index[wrong[:, :N_DIGITS].flatten()], minlength=2 * N_CLASSES)
    rate = torch.where(count > 0, errors / count.clamp(min=1), float("nan"))
    return rate.reshape(N_CLASSES, 2)


def write(result: Result, name: str, config: Config, stem: Path) -> None:
    """Write a portrait as JSON, its table and its figure."""
    fields = {key: value for key, value in asdict(result).items() if key != "by_column"}
    content = {"checkpoint": name, "config": asdict(config), **fields}
    save_json(content, stem.with_suffix(".json"))
    save_table(result.by_column, stem.with_suffix(".csv"))
    save_figure(plot(result, name), stem)
