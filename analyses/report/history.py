"""Sections "dynamics" and "claims" of a report: how it was trained, what the write-ups state."""

import hashlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analyses import claims, dynamics
from analyses.claims import read_world
from analyses.dynamics import ALL, MEASURES, RunRecord, read_runs
from analyses.dynamics import Config as DynamicsConfig
from analyses.report.numbers import format_number
from analyses.report.section import Heading, Part, Section, Table, Text, picture
from analyses.report.source import Source, options_of
from interp.output import save_table
from model.checkpoint import read_checkpoint, shipped, trajectory_steps

SHOWN = ("exact", "loss", "digit_accuracy", "attention_local", "attention_ratio", "probe")
RULE_TITLES = {"half": "half of the gain", "level": "declared level"}
CAPTIONS = {
    "dynamics": (
        "Measures of the run by training step, beside what is possible without the carry and "
        "untrained networks (shaded); vertical lines: where the recipe itself changes."
    ),
    "columns": "Loss, attention ratio and carry probe (given a_i + b_i) by answer column.",
    "spectra": "Singular values of the matrices that no change of gauge moves, by step.",
    "onsets": "Onset of each measure, by the two declared rules.",
}


def build_dynamics(source: Source, folder: Path) -> Section:
    """Follow the checkpoint's training through its snapshots, where it keeps any."""
    title = "How it came about"
    if "@" in source.name or not trajectory_steps(source.reference):
        text = f"{source.name} keeps no snapshots of its training, so nothing can be said of it."
        return Section(name="dynamics", title=title, finding=text, parts=(Text(text),), commands=())
    config = DynamicsConfig(
        snapshots=source.size(24, 3),
        pairs=source.size(20_000, 500),
        inputs=source.size(2_000, 400),
        random_inits=source.size(3, 1),
        # The certifier would take longer than all the rest, for bounds that are wide early on.
        no_certify=True,
        seed=source.seed,
    )
    runs = runs_of(source)
    records = read_runs(runs)
    # Named after what its numbers depend on, so that reports of any size can share a folder.
    key = json.dumps([config.sample, [record.sha256 for record in records]])
    keep = folder / f"snapshots-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    measured = dynamics.run(records, config, keep)
    result = dynamics.conclude(measured)
    dynamics.write_tables(result, folder)
    parts: list[Part] = [
        *(Text(describe_run(record)) for record in records),
        Text(
            "Data is drawn fresh at every step, so no phase of memorisation can precede a late "
            "rise: it is a delayed transition. Every measure is taken on the same fixed pairs of "
            "ten digits, so that a step where the recipe changes is no change of the question. "
            "Certified counts of snapshots are left to `python -m analyses.dynamics`."
        ),
        *(
            picture(figure, folder, stem, CAPTIONS[stem])
            for stem, figure in dynamics.plot(result).items()
        ),
        Table(
            "First and last snapshot, beside untrained networks (the largest of "
            f"{config.random_inits}) and what is possible without the carry.",
            tabulate_ends(measured.table, measured.floors),
        ),
        Table(
            "Onsets by the two declared rules: the level, and the snapshots between which it was "
            "passed to stay. A run that starts from a trained network has none worth the name and "
            "is left out where there is another.",
            tabulate_onsets(result.onsets[result.onsets["run"].isin(from_scratch(records))]),
        ),
    ]
    return Section(
        name="dynamics",
        title=title,
        finding=_finding(result.onsets, records[0]),
        parts=tuple(parts),
        commands=(f"python -m analyses.dynamics {shlex.join([*runs, *options_of(config)])}",),
        sources=("measures.csv", "onsets.csv", "floors.csv", "runs.json"),
    )


def describe_run(record: RunRecord) -> str:
    """Say which run the snapshots are of, and what they cannot show."""
    restarts = (
        f" It took {record.attempts} attempts; the snapshots are those of the last."
        if record.attempts > 1
        else ""
    )
    start = (
        " It started from a trained network, so its first snapshot already adds."
        if record.fine_tuned
        else ""
    )
    return (
        f"**{record.name}**: {len(record.steps)} snapshots up to step {record.steps[-1]:,}; by its "
        f"own records, {record.group}.{start}{restarts}"
    )


def tabulate_ends(table: pd.DataFrame, floors: pd.DataFrame) -> pd.DataFrame:
    """Put first and last snapshot beside the floors."""
    pooled = table[table["part"] == ALL]
    trained = pooled[pooled["source"] == "run"]
    untrained = pooled[pooled["source"] != "run"].groupby("measure")["value"].max()
    floor = floors[floors["part"] == ALL].set_index("measure")["value"]
    rows = []
    for name in SHOWN:
        row = {"measure": MEASURES[name].title}
        for run, part in trained[trained["measure"] == name].groupby("run", sort=False):
            steps = part.sort_values("step").to_dict("records")
            for found in (steps[0], steps[-1]):
                row[f"{run}, step {found['step']:,}"] = format_number(float(found["value"]))
        row["untrained"] = format_number(float(untrained[name]))
        row["without the carry"] = format_number(float(floor[name])) if name in floor else ""
        rows.append(row)
    return pd.DataFrame(rows)


def tabulate_onsets(onsets: pd.DataFrame) -> pd.DataFrame:
    """Put the two rules side by side: between which snapshots a measure passed."""
    rows = []
    for (run, measure), part in onsets.groupby(["run", "measure"], sort=False):
        row: dict[str, str] = {"run": str(run), "measure": MEASURES[str(measure)].title}
        by_rule = {str(found["rule"]): found for found in part.to_dict("records")}
        for rule, label in RULE_TITLES.items():
            found = by_rule.get(rule)
            row[label] = "" if found is None else format_number(float(found["level"]))
            row[f"{label}, passed"] = "" if found is None else say_onset(found)
        marks = sorted({str(x["boundary"]) for x in by_rule.values() if x["boundary"]})
        row["recipe changes there"] = "; ".join(marks)
        rows.append(row)
    return pd.DataFrame(rows)


def from_scratch(records: Sequence[RunRecord]) -> list[str]:
    """Name the runs that started from random parameters; all of them if none did."""
    names = [record.name for record in records if not record.fine_tuned]
    return names or [record.name for record in records]


def say_onset(found: dict) -> str:
    """Say between which snapshots an onset lies."""
    if pd.isna(found["onset"]):
        return "none"
    if pd.isna(found["after"]):
        return "from the first snapshot on"
    return f"{found['after']:,.0f} to {found['onset']:,.0f}"


def runs_of(source: Source) -> tuple[str, ...]:
    """Name the runs to follow: the checkpoint's own, after shipped ones that it started from."""
    lineage = [stage.get("command") for stage in source.checkpoint.card.get("lineage", [])]
    found = []
    for name in shipped():
        card = read_checkpoint(name).card
        last = card.get("lineage", [{}])[-1].get("command")
        if last in lineage[:-1] and trajectory_steps(name):
            found.append((lineage.index(last), name))
    return (*(name for _, name in sorted(found)), source.reference)


def _finding(onsets: pd.DataFrame, record: RunRecord) -> str:
    own = onsets[(onsets["run"] == record.name) & (onsets["rule"] == "half")]
    own = own[~own["measure"].str.startswith("norm")].dropna(subset=["onset"])
    if own.empty:
        return f"In the run of {record.name} ({record.group}) no measure has an onset."
    ordered = own.sort_values("onset", kind="stable").to_dict("records")
    steps = ", ".join(
        f"{MEASURES[str(row['measure'])].title} {row['onset']:,.0f}" for row in ordered
    )
    return (
        f"In the run of {record.name} ({record.group}), the steps by which measures had made half "
        f"of their gain: {steps}."
    )


def build_claims(source: Source, folder: Path) -> Section:
    """Check the statements of the two write-ups on this checkpoint and on the shipped ones."""
    own = source.reference
    others = [name for name in shipped() if name != own]
    pairs = source.size(1_000_000, 20_000)
    world = read_world((own, *others), pairs)
    table = claims.check(world)
    save_table(table, folder / "claims.csv")
    counts = table["verdict"].value_counts()
    said = ", ".join(f"{counts.get(name, 0)} {words}" for name, words in _VERDICTS.items())
    on = [f" ({how})" if how else "" for how in table["how"]]
    frame = pd.DataFrame(
        {
            "statement": table["statement"],
            "verdict": table["verdict"].replace("does not", "does not hold"),
            "measured": table["measured"] + on,
            "95 % interval": table["interval_95"],
            "source": table["source"] + ", " + table["place"],
        }
    )
    untested = table["verdict"] == "not testable here"
    tested, rest = frame[~untested], frame[untested]
    parts: list[Part] = [
        Text(
            f"Of {len(table)} statements of the two write-ups, {said}. They are checked on "
            f"{source.name} and on the shipped checkpoints ({pairs:,} uniform pairs each beside "
            "the official protocol), and on the sweeps kept in `analyses/results`. A statement "
            "about published weights needs the published file: it is only tested in a report on "
            "that file."
        ),
        Table("Statements that could be tested.", tested),
        Heading("Not testable here"),
        Table("Statements that nothing at hand can test, and what is missing.", rest[_MISSING]),
    ]
    return Section(
        name="claims",
        title="What the write-ups state",
        finding=f"Of {len(table)} statements, {said}.",
        parts=tuple(parts),
        commands=(source.command("analyses.claims", *others, "--pairs", pairs),),
        sources=("claims.csv",),
    )


_MISSING = ["statement", "measured", "source"]
_VERDICTS = {"holds": "hold", "does not": "do not", "not testable here": "cannot be tested here"}
