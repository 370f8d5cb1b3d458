"""A search: many seeds of one parametrisation, halved, and the best ones polished.

Every quarter of the steps only the better half of the seeds (by loss) goes on; at the end the best
are trained on their extreme pairs. What is done is kept in the output folder, so the same command
goes on after an interruption and ends with the same numbers.
"""

import dataclasses
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from model.errors import InputError
from model.shell import write_atomic
from model.stored import save_network
from train.search.config import Polish, Recipe
from train.search.group import Group
from train.search.parametrisations import Parametrisation, to_network
from train.search.polish import Polished, finish

HALVINGS = (0.25, 0.5, 0.75)
"""Shares of the steps after which the worse half of the seeds stops."""
STATE, TABLE, SPEC, BEST = "state.pt", "seeds.csv", "search.json", "best"


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched."""

    parametrisation: Parametrisation
    """How the network is written."""
    seeds: tuple[int, ...]
    """Seeds of the initial numbers."""
    recipe: Recipe
    """How they are trained."""
    polish: Polish
    """How the best are trained on."""
    n_polished: int
    """How many of the best are."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        fields = {name: getattr(self, name) for name in ("seeds", "n_polished")}
        return {
            "parametrisation": self.parametrisation.name,
            "numbers": list(self.parametrisation.numbers),
            **fields,
            "seeds": list(self.seeds),
            "recipe": dataclasses.asdict(self.recipe),
            "polish": dataclasses.asdict(self.polish),
        }


def run_search(
    search: Search, folder: Path, report: Callable[[int, float, int], None]
) -> pd.DataFrame:
    """Search, or go on with a search that was interrupted.

    Args:
        search: What to do.
        folder: Output folder.
        report: Hears of the step, the least loss and how many seeds train.

    Returns:
        One row a seed; `failing` and `margin` where it was polished. The best polished network is
        in `folder`/best.

    Raises:
        InputError: The folder holds another search.
    """
    spec = json.dumps(search.to_dict(), indent=2) + "\n"
    if (folder / SPEC).exists() and (folder / SPEC).read_text(encoding="utf-8") != spec:
        raise InputError(f"{folder} holds another search: choose another --out")
    write_atomic(folder / SPEC, spec)
    torch.set_num_threads(1)
    rows, seeds, group = _begin(search, folder)
    n_steps = search.recipe.steps
    stops = {int(share * n_steps) for share in HALVINGS}
    every = max(n_steps // 40, 1)
    while group.step < n_steps:
        later = [stop for stop in stops if stop > group.step]
        group.advance(min([every, n_steps - group.step, *(x - group.step for x in later)]))
        if group.step in stops and len(seeds) > 1:
            order = np.argsort(group.loss, kind="stable")
            keep = np.sort(order[: -(-len(seeds) // 2)])
            for at in sorted(set(range(len(seeds))) - set(keep.tolist())):
                rows.append({"seed": seeds[at], "steps": group.step, "loss": group.loss[at]})
            seeds, group = [seeds[i] for i in keep], group.pick(keep)
        _keep(folder, rows, seeds, group)
        report(group.step, float(np.min(group.loss)), len(seeds))
    rows += [
        {"seed": seed, "steps": group.step, "loss": loss}
        for seed, loss in zip(seeds, group.loss, strict=True)
    ]
    best: tuple[int, Polished] | None = None
    for at in np.argsort(group.loss, kind="stable")[: search.n_polished]:
        found = finish(search.parametrisation, group.numbers[:, at].clone(), search.polish)
        row = next(row for row in rows if row["seed"] == seeds[at])
        row |= {"failing": found.failing, "margin": found.margin, "polish_step": found.step}
        if best is None or (found.failing, -found.margin) < (best[1].failing, -best[1].margin):
            best = seeds[at], found
            save_best(folder / BEST, search, seeds[at], found)
    table = pd.DataFrame(rows).sort_values("seed")
    write_atomic(folder / TABLE, table.to_csv(index=False))
    return table


def save_best(folder: Path, search: Search, seed: int, found: Polished) -> None:
    """Save a network with what is known of it."""
    p = search.parametrisation
    card = {
        "n_params": p.n_params,
        "parametrisation": p.name,
        "numbers": dict(zip(p.numbers, found.numbers.tolist(), strict=True)),
        "seed": seed,
        "recipe": dataclasses.asdict(search.recipe),
        "polish": dataclasses.asdict(search.polish) | {"step": found.step},
        "failing_contexts": found.failing,
        "least_margin": found.margin,
    }
    save_network(folder, to_network(p, found.numbers), card)


def _begin(search: Search, folder: Path) -> tuple[list[dict[str, Any]], list[int], Group]:
    drawn = [search.parametrisation.draw(seed) for seed in search.seeds]
    group = Group(search.parametrisation, search.recipe, torch.stack(drawn, 1))
    file = folder / STATE
    if not file.exists():
        return [], list(search.seeds), group
    state = torch.load(io.BytesIO(file.read_bytes()), weights_only=True)
    group = Group(search.parametrisation, search.recipe, state["numbers"])
    group.mean, group.square = group.fill(state["mean"]), group.fill(state["square"])
    group.step, group.loss = state["step"], state["loss"].numpy()
    return state["rows"], state["seeds"], group


def _keep(folder: Path, rows: list[dict[str, Any]], seeds: list[int], group: Group) -> None:
    def mine(x: Tensor) -> Tensor:
        return x[:, : group.n].clone()

    state = {
        "rows": [{k: float(v) if k == "loss" else int(v) for k, v in row.items()} for row in rows],
        "seeds": seeds,
        "numbers": mine(group.numbers),
        "mean": mine(group.mean),
        "square": mine(group.square),
        "step": group.step,
        "loss": torch.from_numpy(group.loss),
    }
    data = io.BytesIO()
    torch.save(state, data)
    write_atomic(folder / STATE, data.getvalue())
