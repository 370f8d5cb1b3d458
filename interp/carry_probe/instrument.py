"""Where is the carry, and does the model use it?

Method: attention by digit role with baselines (`attention`, `edges`), linear probes with floors
(`linear`), interchanges between inputs that differ only in carry_in (`causal`), wrong prefixes
(`prefix`), and a verdict computed from their tables (`verdict`). Activations come from a float64
pass over single answer columns that is checked, in every run, hook by hook against the
TransformerLens wrapper (interp.hooked).

    python -m interp.carry_probe 262p
    python -m interp.carry_probe 262p --full
"""

import dataclasses
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import joblib
import pandas as pd
import torch
from matplotlib.figure import Figure
from rich.progress import Progress

from interp.anatomy import HOOKS, Network, at_query, network_of, trace_hooks
from interp.carry_probe.attention import (
    attention_by_role,
    pattern_baselines,
    score_table,
    with_random_init,
)
from interp.carry_probe.causal import interchange, sites_after_attention, split_by_reader, steer
from interp.carry_probe.config import Config
from interp.carry_probe.data import carry_pairs, probe_inputs
from interp.carry_probe.details import show
from interp.carry_probe.edges import cut_edges
from interp.carry_probe.linear import Sweep, finish_probes, start_probes
from interp.carry_probe.plots import draw, draw_one, stems
from interp.carry_probe.prefix import compare_rivals, response_curve, wrong_prefixes
from interp.carry_probe.result import Result, save
from interp.carry_probe.verdict import verdict
from interp.output import save_figure
from model.adder import Adder
from model.errors import InputError
from model.factored import init_params
from model.shell import DETAILS, write_atomic, write_details
from model.task import carry_stratified_pairs, query_position, uniform_pairs
from model.threads import limit_threads


@limit_threads()
def run(
    model: Adder, config: Config, name: str = "model", progress: Progress | None = None
) -> Result:
    """Look for the carry in a model.

    Args:
        model: The network.
        config: How much to look at.
        name: What to call it in figures and files.
        progress: Where to show how far the run is.

    Returns:
        Tables, exact scores and verdict.
    """
    network = network_of(model)
    sites = tuple(site for site in config.sites if site in network.sites())
    if not sites:
        raise InputError(f"this network has none of the sites {', '.join(config.sites)}")
    controls = [
        network_of(Adder(model.config, init_params(model.config, 1_000 + i)))
        for i in range(config.random_inits)
    ]
    columns = config.columns
    carried = tuple(column for column in columns if column > 0)
    generator = torch.Generator().manual_seed(config.seed)
    track = _Tracker(progress, total=4 + bool(config.n_wrapper) + len(carried))
    tables: dict[str, pd.DataFrame] = {}

    sweep = Sweep(
        columns=columns,
        sites=sites,
        features=config.features,
        seed=config.seed,
        jobs=config.jobs,
    )
    data = probe_inputs(uniform_pairs(config.n_probe, generator))
    probing = start_probes(network, controls, data, sweep)  # other processes, if there are any

    track("attention")
    inputs = {
        "uniform": probe_inputs(uniform_pairs(config.n_attention, generator)),
        "stratified": probe_inputs(carry_stratified_pairs(config.n_attention, generator)),
    }
    attention = attention_by_role(network, inputs, columns)
    few = {kind: data.take(2_000) for kind, data in inputs.items()}
    inits = [attention_by_role(control, few, columns) for control in controls]
    tables["attention"] = with_random_init(attention, inits)
    tables["patterns"] = pattern_baselines(network, inputs["uniform"].take(4_000), columns)

    track("edges")
    data = probe_inputs(uniform_pairs(config.n_edges, generator))
    tables["edges"] = cut_edges(network, data, columns, generator)

    rows: dict[str, list[dict]] = {"interchange": [], "steering": [], "reader": []}
    doses = torch.linspace(-3, 3, 25, dtype=torch.float64)
    for column in carried:
        track(f"interchanges, column {column}")
        pairs = carry_pairs(column, config.n_pairs, generator)
        rows["interchange"] += interchange(
            network,
            pairs,
            sites_after_attention(network, sites),
            das_ranks=config.das_ranks,
            random_draws=config.random_draws,
            generator=generator,
        )
        rows["steering"] += steer(network, pairs, ("attn_out", "resid_mid"), doses, generator)
        rows["reader"] += split_by_reader(network, pairs, generator)
    tables |= {key: pd.DataFrame(value) for key, value in rows.items()}

    track("wrong prefixes")
    data = probe_inputs(uniform_pairs(config.n_prefix, generator))
    prefixes = wrong_prefixes(network, data, carried)
    tables["response"] = response_curve(prefixes) if carried else prefixes
    tables["rivals"] = compare_rivals(prefixes) if carried else prefixes

    difference = None
    if config.n_wrapper:
        track("comparison with the TransformerLens wrapper")
        difference = wrapper_difference(model, network, columns, config.n_wrapper, generator)
    track("probes")
    tables["probes"] = finish_probes(probing)
    scores = score_table(network).numpy()
    settings = json.loads(json.dumps(dataclasses.asdict(config)))
    return Result(name, settings, tables, scores, difference, verdict(tables))


def wrapper_difference(
    model: Adder, network: Network, columns: Sequence[int], n: int, generator: torch.Generator
) -> float:
    """Compare every site of every column with the wrapper's hook on the same inputs.

    Returns:
        The largest difference, relative to the site's largest value where that is above 1. A
        bottleneck is compared by what its second factor reads, which is all that the wrapper sees.
    """
    # Imported here, since TransformerLens takes seconds to import.
    from interp.hooked import BOTTLENECKS, factors_of, to_hooked

    data = probe_inputs(uniform_pairs(n, generator))
    with torch.no_grad():
        _, cache = to_hooked(model).run_with_cache(data.tokens)
    readers = {low: factors_of(model, matrix)[-1] for matrix, (low, _) in BOTTLENECKS.items()}
    largest = 0.0
    for column in columns:
        trace = trace_hooks(network, data.tokens, column)
        query = query_position(column)
        for site in network.sites():
            theirs = cache[HOOKS[site]]
            if site in ("attn_scores", "pattern"):
                theirs = theirs[:, 0, query, : query + 1]
            else:
                theirs = theirs[:, query].reshape(n, -1)
            ours = at_query(trace, site)
            if HOOKS[site] in readers:
                B = network.params[readers[HOOKS[site]]]
                ours, theirs = ours @ B, theirs @ B
            scale = max(1.0, float(ours.abs().max()))
            largest = max(largest, float((ours - theirs).abs().max()) / scale)
    return largest


class _Tracker:
    """Shows which step of a run is under way."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=total) if progress else None

    def __call__(self, step: str) -> None:
        if self._progress is not None and self._task is not None:
            started = self._progress.tasks[0].description != "starting"
            self._progress.update(self._task, description=step, advance=int(started))


def plot(result: Result) -> dict[str, Figure]:
    """Draw the figures of a result, fresh or loaded, by name."""
    return draw(result)


def write(result: Result, folder: Path, workers: int) -> None:
    """Write tables and figures."""
    save(result, folder)
    write_atomic(folder / DETAILS, write_details(partial(show, result)))
    joblib.Parallel(n_jobs=workers)(
        joblib.delayed(_save_one)(result, stem, folder) for stem in stems(result)
    )


def _save_one(result: Result, stem: str, folder: Path) -> None:
    save_figure(draw_one(result, stem), folder / stem)
