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

from interp.anatomy import HOOKS, LOW, Specimen, at_query, random_like, specimen_of, trace_hooks
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
from interp.carry_probe.notes import notes_on
from interp.carry_probe.plots import draw, draw_one, stems
from interp.carry_probe.prefix import compare_rivals, response_curve, wrong_prefixes
from interp.carry_probe.result import Result, save
from interp.carry_probe.verdict import verdict
from interp.output import save_figure
from model.adder import Adder
from model.errors import InputError
from model.factored import init_params
from model.network import Network
from model.shell import DETAILS, write_atomic, write_details
from model.task import carry_stratified_pairs, uniform_pairs
from model.threads import limit_threads


@limit_threads()
def run(
    model: Adder | Network,
    config: Config,
    name: str = "model",
    progress: Progress | None = None,
) -> Result:
    """Look for the carry in a model.

    Args:
        model: Any one-layer adder. One of the write-ups' family, given by its trained parameters,
            also has the sites of its bottlenecks; its random controls are fresh initialisations,
            those of others come from `interp.anatomy.random_like`.
        config: How much to look at.
        name: What to call it in figures and files.
        progress: Where to show how far the run is.

    Returns:
        Tables, exact scores and verdict.

    Raises:
        InputError: The network has no such column, or none of the sites.
    """
    specimen = specimen_of(model)
    layout, config = specimen.layout, config.fit_to(specimen.layout)
    sites = tuple(site for site in config.sites if site in specimen.sites())
    if not sites:
        raise InputError(f"this network has none of the sites {', '.join(config.sites)}")
    controls = [random_control(model, 1_000 + i) for i in range(config.random_inits)]
    columns = config.columns or ()
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
    data = probe_inputs(uniform_pairs(config.n_probe, generator, layout), layout)
    probing = start_probes(specimen, controls, data, sweep)  # other processes, if there are any

    track("attention")
    inputs = {
        kind: probe_inputs(draw(config.n_attention, generator, layout), layout)
        for kind, draw in (("uniform", uniform_pairs), ("stratified", carry_stratified_pairs))
    }
    attention = attention_by_role(specimen, inputs, columns)
    few = {kind: data.take(2_000) for kind, data in inputs.items()}
    inits = [attention_by_role(control, few, columns) for control in controls]
    tables["attention"] = with_random_init(attention, inits)
    tables["patterns"] = pattern_baselines(specimen, inputs["uniform"].take(4_000), columns)

    track("edges")
    data = probe_inputs(uniform_pairs(config.n_edges, generator, layout), layout)
    tables["edges"] = cut_edges(specimen, data, columns, generator)

    rows: dict[str, list[dict]] = {"interchange": [], "steering": [], "reader": []}
    doses = torch.linspace(-3, 3, 25, dtype=torch.float64)
    for column in carried:
        track(f"interchanges, column {column}")
        pairs = carry_pairs(layout, column, config.n_pairs, generator)
        rows["interchange"] += interchange(
            specimen,
            pairs,
            sites_after_attention(specimen, sites),
            das_ranks=config.das_ranks,
            random_draws=config.random_draws,
            generator=generator,
        )
        rows["steering"] += steer(specimen, pairs, ("attn_out", specimen.mid), doses, generator)
        if specimen.network.act != "none":
            rows["reader"] += split_by_reader(specimen, pairs, generator)
    tables |= {key: pd.DataFrame(value) for key, value in rows.items()}

    track("wrong prefixes")
    data = probe_inputs(uniform_pairs(config.n_prefix, generator, layout), layout)
    fed = carried if layout.answer == "units first" else ()
    prefixes = wrong_prefixes(specimen, data, fed)
    tables["response"] = response_curve(prefixes, layout.base) if fed else prefixes
    tables["rivals"] = compare_rivals(prefixes, layout.base) if fed else prefixes

    difference = None
    if config.n_wrapper:
        track("comparison with the TransformerLens wrapper")
        difference = wrapper_difference(model, specimen, columns, config.n_wrapper, generator)
    track("probes")
    tables["probes"] = finish_probes(probing)
    scores = score_table(specimen)
    settings = json.loads(json.dumps(dataclasses.asdict(config)))
    return Result(
        name,
        settings,
        layout,
        tables,
        scores.numpy(),
        difference,
        verdict(tables, layout),
        notes_on(model, scores),
    )


def random_control(model: Adder | Network, seed: int) -> Specimen:
    """Make a random network of the same kind: freshly initialised, or of the same weight scales."""
    if isinstance(model, Adder):
        return specimen_of(Adder(model.config, init_params(model.config, seed)))
    return specimen_of(random_like(model, seed))


def wrapper_difference(
    model: Adder | Network,
    specimen: Specimen,
    columns: Sequence[int],
    n: int,
    generator: torch.Generator,
) -> float:
    """Compare every site of every column with the wrapper's hook on the same inputs.

    Returns:
        The largest difference, relative to the site's largest value where that is above 1. A
        bottleneck is compared by what its second factor reads, which is all that the wrapper sees.
    """
    # Imported here, since TransformerLens takes seconds to import.
    from interp.hooked import to_hooked

    layout = specimen.layout
    data = probe_inputs(uniform_pairs(n, generator, layout), layout)
    with torch.no_grad():
        _, cache = to_hooked(model).run_with_cache(data.tokens)
    readers = {LOW[matrix]: second for matrix, (_, second) in specimen.factors.items()}
    largest = 0.0
    for column in columns:
        trace = trace_hooks(specimen, data.tokens, column)
        query = layout.query_position(column)
        for site in specimen.sites():
            theirs = cache[HOOKS[site]]
            if site in ("attn_scores", "pattern"):
                theirs = theirs[:, :, query, : query + 1].flatten(1)
            else:
                theirs = theirs[:, query].reshape(n, -1)
            ours = at_query(trace, site)
            if site in readers:
                ours, theirs = ours @ readers[site], theirs @ readers[site]
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
