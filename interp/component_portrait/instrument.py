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

from interp.anatomy import (
    RANK_MATRICES,
    Component,
    attend,
    missing,
    mixed_values,
    n_classes,
    normed_sources,
    role_index,
    roles_of,
    stem_of,
)
from interp.component_portrait.config import Config
from interp.component_portrait.figure import plot
from interp.component_portrait.portrait import (
    Result,
    class_fit,
    digit_tokens,
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
    by_column,
    cut,
    measure,
    run_job,
    select,
    tabulate_measured,
)
from model.adder import Adder
from model.columns import carries, digits
from model.errors import InputError
from model.network import Network
from model.tables import tabulate

AFTER_ATTENTION = ("W_O", "W_in", "W_gate", "W_out")


def run(model: Adder | Network, config: Config) -> Result:
    """Draw one component of one network.

    Raises:
        InputError: The network has no such matrix or component.
    """
    sizes = Sizes(config.pairs, config.pairs // 5, max(200, config.pairs // 4), 0)
    world = build_world(model, sizes, config.seed, config.block_tolerance)
    matrix = _find(world, config)
    parts = cut(world, matrix, config.basis)
    if config.component > len(parts):
        raise InputError(f"{matrix} has {len(parts)} components: --component is too large")
    part = parts[config.component - 1]
    u, v = directions(part)
    reads, key_reads, shares = _readings(world, part, u, v)
    writes, written = _writings(world, part, v)
    forced = answer(world.setting, ablate(world.setting, part, config.kind, "live"), world.cases)
    table = tabulate_measured(measure(world.cases, forced))
    columns = select(table, "digit_accuracy", mode="forced")
    intact = select(run_job(world, world, Job("intact"), 0), "digit_accuracy", mode="forced")
    intact = intact[["stratum", "value"]]
    columns = columns.merge(intact, on="stratum", suffixes=("", "_intact"))
    return Result(
        layout=world.cases.layout,
        matrix=matrix,
        name=f"{matrix} {part.label} ({config.basis})",
        weight=part.weight,
        reads=reads,
        key_reads=key_reads,
        shares=shares,
        writes=writes,
        written=written,
        roles=_roles(world, part, reads, key_reads),
        by_class=error_by_class(world, by_column(forced.forced.wrong, world.cases.layout)),
        by_column=columns[["stratum", "value", "low", "high", "trials", "value_intact"]],
    )


def _find(world: World, config: Config) -> str:
    """Find the matrix that is asked for among those of the network."""
    stems = list(dict.fromkeys(stem_of(name) for name in world.names))
    if config.matrix not in stems:
        known = ", ".join(stem for stem in stems if stem in RANK_MATRICES)
        why = " ".join(missing(world.setting.folded))
        raise InputError(f"--matrix {config.matrix} is not one of {known}. {why}".strip())
    heads = [name for name in world.names if stem_of(name) == config.matrix]
    if config.head >= len(heads):
        raise InputError(f"--head {config.head}: {config.matrix} has {len(heads)}, from 0")
    return heads[config.head]


def _readings(
    world: World, part: Component, u: Tensor, v: Tensor
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """Read everything that arrives at a component."""
    setting, layout = world.setting, world.cases.layout
    nothing = torch.zeros(0, layout.vocab_size, dtype=u.dtype)
    if part.stem == "W_pos":
        table = u[:, None].expand(layout.n_input, layout.vocab_size)
        return table, nothing, variance_shares(table, layout)
    h = normed_sources(setting.folded)
    if part.stem not in AFTER_ATTENTION:
        keys = h @ v if part.stem == "W_QK" else nothing
        shares = variance_shares(h @ u, layout)
        if part.stem == "W_QK":
            both = {"query": shares, "key": variance_shares(keys, layout)}
            shares = {f"{side} {x}": value for side, of in both.items() for x, value in of.items()}
        return h @ u, keys, shares
    run = setting.reference
    if part.stem == "W_O":
        read = mixed_values(setting.folded, run, part.head)
    else:
        read = run.post if part.stem == "W_out" else run.h_mid
    width, base = layout.width, layout.base
    value = (read @ u)[:, [layout.step(column) for column in range(width)]].flatten()
    a, b = run.pairs
    carry, total = carries(a, b, width, base)[0][:, :width], run.digit_sum[:, :width]
    answer_digits = digits(a + b, layout.n_answer, base)
    before = torch.nn.functional.pad(answer_digits, (1, 0))[:, :width]
    if layout.answer == "units last":
        before = answer_digits[:, 1:]
    place = torch.arange(width).expand(len(a), width)
    features = {
        "digit sum": total,
        f"digit sum mod {base}": total % base,
        "carry in": carry,
        "digit sum and carry in": 2 * total + carry,
        "answer digit": answer_digits[:, :width],
        "previous answer digit": before,
        "column": place,
    }
    shares = {name: class_fit(x.flatten(), value) for name, x in features.items()}
    shares["digit sum + carry in, a line"] = linear_fit((total + carry).flatten().double(), value)
    return nothing, nothing, shares


def _roles(world: World, part: Component, reads: Tensor, key_reads: Tensor) -> dict[str, float]:
    """Measure a component by the role of its sources, over the columns with digits."""
    folded, layout = world.setting.folded, world.cases.layout
    index, numbers = role_index(layout)[: layout.width], digit_tokens(layout)
    if part.stem == "W_QK":
        query, key = (x[:, numbers].mean(dim=1) for x in (reads, key_reads))
        places = [layout.query_position(column) for column in range(layout.width)]
        score = query[places, None] * key / folded.attn_scale
        seen = index >= 0
        score = score - (score * seen).sum(1, keepdim=True) / seen.sum(1, keepdim=True)
        masks = {role: index == i for i, role in enumerate(roles_of(layout))}
        return {role: float(score[mask].mean()) for role, mask in masks.items() if mask.any()}
    if part.stem not in ("W_OV", "W_KV", "W_V"):
        return {}
    tables = tabulate(folded)
    tokens = world.setting.reference.tokens[:4000]
    steps = [layout.step(column) for column in range(layout.width)]
    edges = next(name for name in world.names if stem_of(name) == "edges")
    heads = _heads_of(folded, part)
    spread = {}
    for edge in cut(world, edges, "unit"):
        carried = attend(tables, tokens, reads[:, :, None], edge.term)[:, steps][:, :, heads]
        spread[edge.label] = float(carried.std(dim=0).mean())
    return spread


def _heads_of(folded: Network, part: Component) -> list[int]:
    """List the heads of queries that use a matrix."""
    if part.stem in ("W_K", "W_V", "W_KV"):
        return [h for h in range(folded.n_heads) if folded.kv_head(h) == part.head]
    return [part.head]


def _writings(world: World, part: Component, v: Tensor) -> tuple[Tensor, list[str]]:
    """Read what a component writes: logits of the tokens, or neurons for W_in."""
    folded = world.setting.folded
    if part.stem in ("W_Q", "W_K", "W_QK"):
        return v.new_zeros(0), []
    if part.stem in ("W_in", "W_gate"):
        return v, [str(i) for i in range(len(v))]
    if part.stem in ("W_KV", "W_V"):
        v = v @ folded.W_O[_heads_of(folded, part)].sum(dim=0)
    return (v * folded.ln_final_w) @ folded.W_U, list(folded.layout.token_names)


def error_by_class(world: World, wrong: Tensor) -> Float[Tensor, "sum carry"]:
    """Forced error per digit sum and carry in, over all columns with digits."""
    width, classes = world.cases.layout.width, n_classes(world.cases.layout)
    total = world.setting.run.digit_sum[:, :width].flatten()
    carry = world.cases.carry_in[:, :width].flatten()
    index = 2 * total + carry
    count = torch.bincount(index, minlength=2 * classes)
    errors = torch.bincount(index[wrong[:, :width].flatten()], minlength=2 * classes)
    rate = torch.where(count > 0, errors / count.clamp(min=1), float("nan"))
    return rate.reshape(classes, 2)


def write(result: Result, name: str, config: Config, stem: Path) -> None:
    """Write a portrait as JSON, its table and its figure."""
    fields = {key: value for key, value in asdict(result).items() if key != "by_column"}
    fields["layout"] = result.layout.to_dict()
    content = {"checkpoint": name, "config": asdict(config), **fields}
    save_json(content, stem.parent / f"{stem.name}.json")
    save_table(result.by_column, stem.parent / f"{stem.name}.csv")
    save_figure(plot(result, name), stem)
