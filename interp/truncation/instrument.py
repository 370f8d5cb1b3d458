"""Truncation as compression: how small a network of lower rank does a trained one contain?

Question: the report finds that low ranks cannot be trained. Do they work when they are *reached*,
by cutting the singular directions that the trained network uses least?

Method: every combination of ranks up to the trained ones is tried. A product W of lower rank is
W V V^T with V the leading right singular directions of M^(1/2) W; M is the identity ("svd") or the
second moment of what W reads ("data", the best for the mean squared output). Factors that are
shared are cut together, so the result is an ordinary member of the family with fewer parameters,
stored as factors. Units of the feed-forward layer can be dropped as well: the subset whose removal
keeps most digits.

    python -m interp.truncation 311p
"""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import matplotlib.pyplot as plt
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from interp.anatomy import CleanRun, clean_run, fold
from interp.gauge import factor_groups
from interp.output import ONE_COLUMN, paper_style, save_figure, save_json, save_table
from interp.truncation.config import RANKS, Config
from model.adder import Adder
from model.decode import decode, teacher_forced
from model.dense import dense
from model.errors import InputError
from model.intervals import clopper_pearson
from model.shell import follow
from model.task import N_INPUT, Pairs, uniform_pairs

Weighting = Literal["svd", "data"]


@dataclass(frozen=True)
class Result:
    """All truncations of a network.

    Attributes:
        table: One row per weighting and combination of ranks: parameters, exact match, interval.
        smallest: The fewest parameters at each threshold; empty cells where none reaches it.
    """

    table: pd.DataFrame
    smallest: pd.DataFrame


def second_moments(model: Adder, run: CleanRun) -> dict[str, Float[Tensor, "m m"]]:
    """Second moment of what each product reads, by the name of its left factor's matrix."""
    weights = dense(model)
    folded = fold(weights)
    tables = weights.normalise(weights.W_E + weights.W_pos[:N_INPUT, None], "ln1")
    sources = tables[torch.arange(N_INPUT), run.tokens[:, :N_INPUT]]
    reads = {
        "qkv": sources,
        "W_O": run.attended[:, :, 0] @ folded.W_V[0],
        "W_in": run.h_mid * weights.ln2_w,
        "W_out": run.post,
    }
    flat = {name: x.reshape(-1, x.shape[-1]) for name, x in reads.items()}
    return {name: x.T @ x / len(x) for name, x in flat.items()}


def truncate(
    model: Adder, ranks: dict[str, int], moments: dict[str, Tensor] | None = None
) -> Adder:
    """Cut products to lower ranks, keeping what they share shared.

    Args:
        model: A network of any configuration.
        ranks: New ranks by field of the configuration (`RANKS`); a field that is left out, or 0 in
            the model (a full matrix), stays.
        moments: Weights of the inputs (`second_moments`); None cuts by plain singular values.

    Returns:
        A network of the smaller configuration, in float32.

    Raises:
        InputError: A rank is below 1 or above the stored one.
    """
    config = model.config
    params = {name: value.detach().double() for name, value in model.params.items()}
    chosen = {}
    for field, rank in ranks.items():
        if getattr(config, field) == 0:
            continue
        if not 1 <= rank <= getattr(config, field):
            raise InputError(f"{field} {rank} is not between 1 and {getattr(config, field)}")
        chosen[field] = rank
    for lefts, rights in factor_groups(params, config):
        owner = next(name for name in _FIELDS if lefts[0].startswith(name))
        rank = chosen.get(_FIELDS[owner])
        left = torch.cat([params[name] for name in lefts])
        if rank is None or rank == left.shape[1]:
            continue
        W = left @ torch.cat([params[name] for name in rights], dim=1)
        metric = W
        if moments is not None and owner in moments:
            values, vectors = torch.linalg.eigh(moments[owner])
            root = vectors * values.clamp(min=0).sqrt() @ vectors.mT
            metric = torch.block_diag(*[root] * len(lefts)) @ W
        V = torch.linalg.svd(metric, full_matrices=False).Vh[:rank].T
        rows = [params[name].shape[0] for name in lefts]
        columns = [params[name].shape[1] for name in rights]
        params |= dict(zip(lefts, (W @ V).split(rows), strict=True))
        params |= dict(zip(rights, V.T.split(columns, dim=1), strict=True))
    smaller = dataclasses.replace(config, **chosen)
    return Adder(smaller, {name: value.float() for name, value in params.items()})


_FIELDS = {
    "W_pos": "pos_rank",
    "qkv": "qkv_rank",
    "W_O": "attn_out_rank",
    "W_in": "ffn_rank",
    "W_out": "ffn_rank",
}


def drop_units(model: Adder, d_ff: int, pairs: Pairs) -> Adder:
    """Keep `d_ff` units of the feed-forward layer: those that leave most digits right together.

    Args:
        model: A network of any configuration.
        d_ff: Units to keep, at least 1 and at most those of the model.
        pairs: Sums on which every subset is tried, with the true digits fed back.

    Raises:
        InputError: `d_ff` is out of range.
    """
    config = model.config
    if not 1 <= d_ff <= config.d_ff:
        raise InputError(f"d_ff {d_ff} is not between 1 and {config.d_ff}")
    params = {name: value.detach() for name, value in model.params.items()}
    reader = "W_in" if "W_in" in params else "W_in_B"
    writer = "W_out" if "W_out" in params else "W_out_A"
    best, most = model, -1
    for kept in itertools.combinations(range(config.d_ff), d_ff):
        units = list(kept)
        fewer = params | {reader: params[reader][:, units], writer: params[writer][units]}
        candidate = Adder(dataclasses.replace(config, d_ff=d_ff), fewer)
        right = int((~teacher_forced(candidate, *pairs).wrong).sum())
        if right > most:
            best, most = candidate, right
    return best


def run(model: Adder, config: Config) -> Result:
    """Try every combination of ranks up to the model's own."""
    generator = torch.Generator().manual_seed(config.seed)
    pairs = uniform_pairs(config.pairs, generator)
    moments = second_moments(
        model, clean_run(fold(dense(model)), uniform_pairs(min(config.pairs, 10_000), generator))
    )
    fields = [field for field in RANKS if getattr(model.config, field)]
    choices = [range(1, getattr(model.config, field) + 1) for field in fields]
    weightings: dict[Weighting, dict[str, Tensor] | None] = {"svd": None, "data": moments}
    jobs = list(itertools.product(weightings, itertools.product(*choices)))
    rows = []
    for weighting, ranks in follow(jobs, "truncations"):
        cut = truncate(model, dict(zip(fields, ranks, strict=True)), weightings[weighting])
        right = int(decode(cut, *pairs).exact.sum())
        low, high = clopper_pearson(right, config.pairs)
        rows.append(
            {
                "weighting": weighting,
                **dict(zip(fields, ranks, strict=True)),
                "n_params": cut.config.n_params,
                "exact": right / config.pairs,
                "low": low,
                "high": high,
                "right": right,
                "n": config.pairs,
            }
        )
    table = pd.DataFrame(rows).sort_values(["n_params", "exact"], ascending=[True, False])
    return Result(table.reset_index(drop=True), _smallest(table, config.thresholds))


def _smallest(table: pd.DataFrame, thresholds: Sequence[float]) -> pd.DataFrame:
    """Pick the fewest parameters, then the highest exact match, at each threshold."""
    rows = []
    for threshold in thresholds:
        enough = table[table["right"] >= threshold * table["n"]]
        best = enough.sort_values(["n_params", "exact"], ascending=[True, False]).head(1)
        rows.append({"threshold": threshold, **(best.iloc[0].to_dict() if len(best) else {})})
    return pd.DataFrame(rows)


def plot(result: Result) -> Figure:
    """Draw exact match against the number of parameters, one dot per combination of ranks."""
    with paper_style():
        figure, axes = plt.subplots(figsize=(ONE_COLUMN, 2.4))
        for marker, (weighting, rows) in zip("ox", result.table.groupby("weighting"), strict=False):
            axes.scatter(rows["n_params"], rows["exact"], s=14, marker=marker, label=weighting)
        axes.set(xlabel="parameters after truncation", ylabel="exact match", ylim=(-0.03, 1.03))
        axes.legend(title="cut by", frameon=False, loc="upper left")
    return figure


def write(result: Result, name: str, config: Config, folder: Path) -> None:
    """Write tables, settings and figure."""
    save_table(result.table, folder / "truncations.csv")
    save_table(result.smallest, folder / "smallest.csv")
    save_json({"checkpoint": name, "config": asdict(config)}, folder / "config.json")
    save_figure(plot(result), folder / "truncation")
