"""Why raw factors mislead: the same network in random gauges, ablated component by component.

Question: does the effect of removing "component r" survive a change of coordinates that leaves the
network as it is?

Method: parameters are redrawn over every gauge freedom (interp.gauge), each network is cut anew and
each component set to zero; the spread of the exact match over gauges is reported for the raw
factors and, as the control, for the SVD of the same matrices, where it must vanish.
"""

from collections.abc import Sequence

import pandas as pd
import torch

from interp.anatomy import CANONICAL, Basis, clean_run, fold, without
from interp.gauge import random_gauge
from interp.rank_ablation.kinds import Setting
from interp.rank_ablation.world import World, cut
from model.adder import Adder
from model.decode import decode
from model.dense import dense

BASES: tuple[Basis, ...] = ("raw", "svd")


def gauge_spread(world: World, names: Sequence[str], gauges: int, n: int) -> pd.DataFrame:
    """Zero every component in many gauges.

    Args:
        world: The network and its sums.
        names: Matrices to cut; "svd" is applied to those that no gauge changes.
        gauges: How many random gauges.
        n: Sums per ablation.

    Returns:
        Per basis, matrix and component: exact match as stored, and its lowest, median and highest
        value over the gauges; empty where the trained factors are not known.
    """
    a, b = (side[:n] for side in world.cases.pairs)
    stored = world.model
    if stored is None:
        return pd.DataFrame()
    config = stored.config
    generator = torch.Generator().manual_seed(world.setting.seed)
    rows = []
    for gauge in range(gauges + 1):
        model = Adder(config, random_gauge(stored.params, config, generator)) if gauge else stored
        moved = _moved(world, model)
        for basis in BASES:
            for matrix in names:
                if basis == "svd" and matrix not in CANONICAL:
                    continue
                for part in cut(moved, matrix, basis):
                    rate = decode(without(moved.setting.folded, [part]), a, b).exact.double().mean()
                    rows.append((basis, matrix, part.label, gauge, float(rate)))
    table = pd.DataFrame(rows, columns=["basis", "matrix", "component", "gauge", "exact"])
    groups = table.groupby(["basis", "matrix", "component"], sort=False)["exact"]
    summary = groups.agg(
        as_stored="first",
        low=lambda x: x.iloc[1:].min(),
        median=lambda x: x.iloc[1:].median(),
        high=lambda x: x.iloc[1:].max(),
    ).reset_index()
    summary["gauges"], summary["n"] = gauges, n
    return summary


def _moved(world: World, model: Adder) -> World:
    """Take the same sums to the same function in another gauge."""
    old = world.setting
    folded = fold(dense(model))
    a, b = old.reference.pairs
    run = clean_run(folded, (a[:64], b[:64]))
    setting = Setting(folded, run, run, torch.zeros(64, dtype=torch.int64), old.seed)
    return World(model, setting, world.cases, world.tolerance)
