"""Sections "probe", "algorithm" and "gallery" of a report: the mechanism of the carry."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from analyses import algorithm
from analyses.algorithm import PREFIXES, SITES
from analyses.report.numbers import format_number, say_rate
from analyses.report.section import Heading, Listing, Part, Section, Table, Text, picture
from analyses.report.source import Source, options_of
from interp import carry_probe
from interp.carry_probe import Config as ProbeConfig
from interp.carry_probe import Result, save
from model.layouts import WRITE_UPS

SUMMARY = "summary"
OUTLINE: tuple[tuple[str, tuple[str, ...], tuple[str, ...], dict[str, str]], ...] = (
    (
        "What is answered, and where the columns look",
        ("answers", "attention"),
        ("scores_and_edges",),
        {
            "attention by role, mean of columns": (
                "Attention by digit role on uniform pairs, mean of the columns that have the role: "
                "weights, the same split by the carry in, weights times the norm of what each "
                "source writes, a uniform causal pattern, and untrained networks."
            )
        },
    ),
    (
        "Where the carry can be read",
        ("before attention", "present"),
        ("attention_and_probes", "features"),
        {
            "probes of carry_in (floors of the conditional one)": (
                "Held-out accuracy of probes for the carry in, mean of columns: one for all "
                "inputs, one for each a_i + b_i, one direction with an offset for each; then the "
                "floors of the second."
            )
        },
    ),
    (
        "Whether it is used",
        ("used", "route", "path", "dose"),
        ("causation",),
        {
            "answers moved by exactly one": (
                "Share of answers that move by exactly one when a site's value is swapped between "
                "inputs that differ only in the carry in, mean of columns. Controls: an input with "
                "the same carry, and a random direction of equal length."
            )
        },
    ),
    ("Under a wrong previous digit", ("inconsistent",), ("wrong_prefixes",), {}),
)
"""Headings of the section: topics of statements, figures, and tables with their captions."""
HEADS = {
    "share": "weight times norm",
    "uniform": "uniform causal",
    "bayes_query": "s_(i-1) alone",
    "bayes_below": "a_(i-1) + b_(i-1) alone",
}


def build_probe(source: Source, folder: Path) -> Section:
    """Look for the carry, and ask whether the network uses it where it is."""
    config = ProbeConfig.quick(WRITE_UPS) if source.quick else ProbeConfig()
    config = ProbeConfig(**{**asdict(config), "seed": source.seed, "n_wrapper": 50})
    result = carry_probe.run(source.model, config, source.name)
    save(result, folder)
    figures = carry_probe.plot(result)
    tables = dict(carry_probe.summaries(result))
    verdict = next(s for s in result.statements if s.topic == SUMMARY)
    parts: list[Part] = [
        Text(
            "Linear probes say where the carry into a column can be read; interchanges between "
            "inputs that differ in that carry, with the same digits in the column itself, say "
            "whether the network uses it there. Every hook of every column was compared with the "
            f"TransformerLens wrapper on {config.n_wrapper} inputs: the largest difference is "
            f"{result.wrapper_difference:.1e} (relative, float64)."
        )
    ]
    captions = caption_probe(result)
    for heading, topics, stems, titles in OUTLINE:
        said = [s for s in result.statements if s.topic.startswith(topics)]
        drawn = [stem for stem in stems if stem in figures]
        if not said and not drawn:
            continue
        parts.append(Heading(heading))
        parts += [Text(f"**{s.topic.capitalize()}.** {_sentence(s.text)}") for s in said]
        parts += [picture(figures[stem], folder, stem, captions[stem]) for stem in drawn]
        parts += [
            Table(caption, tables[title].rename(columns=HEADS).rename(columns=_spaced))
            for title, caption in titles.items()
            if title in tables
        ]
    size = ("--quick",) if source.quick else ()
    return Section(
        name="probe",
        title="Where the carry is, and whether it is used",
        finding=_sentence(verdict.text.removeprefix("In sum: ")),
        parts=tuple(parts),
        commands=(source.command("interp.carry_probe", *size, "--seed", source.seed),),
        sources=(*(f"{name}.csv" for name in result.tables), "result.json", "scores.npz"),
    )


def caption_probe(result: Result) -> dict[str, str]:
    """Say what each figure of the carry probe draws, and of how many cases."""
    settings = result.settings
    numbers = [int(column) for column in settings["columns"]]
    whole = numbers == list(range(numbers[0], numbers[-1] + 1))
    columns = f"{numbers[0]} to {numbers[-1]}" if whole else ", ".join(map(str, numbers))
    return {
        "attention_and_probes": (
            f"(a) Attention of each answer column by digit role, mean of "
            f"{settings['n_attention']:,} uniform pairs; below, a uniform causal pattern and "
            f"untrained networks. (b) Held-out accuracy of linear probes for the carry into a "
            f"column, {settings['n_probe']:,} pairs: points are means over columns {columns}, "
            "lines the range over columns; dashed, the best guess from s_(i-1) alone; dotted, the "
            "majority; crosses and bars, untrained networks and shuffled labels."
        ),
        "causation": (
            f"Pairs that differ only in the carry in, {settings['n_pairs']} a column, half of them "
            "held out. (a) Share of answers that move by exactly one when one site's whole value, "
            "its mean carry difference, its probe direction or a random direction of equal length "
            "is swapped. (b) Share of answers by their shift, against the dose of the mean "
            "difference. (c) The difference split into what the feed-forward layer reads and what "
            "it does not, and into the two paths."
        ),
        "wrong_prefixes": (
            f"All ten previous digits fed to {settings['n_prefix']} inputs a column. (a) The logit "
            "of D+1 less that of D, D the digit without a carry, against the amount by which the "
            "fed digit falls short. (b) Share of answers; true prefixes are shaded. (c) Held-out "
            "R^2 of rival accounts, dots are columns."
        ),
        "scores_and_edges": (
            "(a) Every attention score that the network can produce: one small square for each "
            "(query digit, source digit). (b) Accuracy of the digit when one role's edge is cut or "
            f"replaced, mean over columns, {settings['n_edges']} pairs."
        ),
        "features": (
            "Held-out accuracy of linear probes for other features of a column, beside their "
            "floors."
        ),
    }


def build_algorithm(source: Source, folder: Path) -> Section:
    """Score rival accounts of the algorithm, and write the best one as a program."""
    config = algorithm.Config(
        pairs=source.size(300_000, 10_000),
        receivers=source.size(400, 60),
        pool=source.size(8_000, 2_000),
        programs=source.size(10_000, 1_000),
        draws=source.size(200, 40),
        seed=source.seed,
    )
    result = algorithm.run(source.model, config, source.name)
    algorithm.write_tables(result, config, source.name, folder)
    frames = (result.agreement, result.shifts, result.scrubbing, result.failures)
    v = result.verdict
    winner = (
        f"**{v['winner']}** describes the network best"
        if v["is_rival"]
        else f"no rival account clearly beats the baseline **{v['winner']}**"
    )
    parts: list[Part] = [
        Text(
            "Each account is executable: from the digit sum of the column S, the digit sum below T "
            "and the digit s that the network reads, it predicts the network's own answer. All "
            "local contexts are asked, wrong and impossible s included, because on true prefixes "
            "the accounts hardly differ. Numbers of an account are fitted on one half of the "
            "contexts and scored on the other."
        ),
        Text(
            f"On held-out contexts {winner}: it gives the network's answer in "
            f"{format_number(v['agreement'])} of them, {format_number(v['lead'])} "
            f"({say_rate(v['lead_low'], v['lead_high'])}, bootstrap) more than {v['runner_up']}; "
            f"a free table of S, T and s, fitted in the same way, reaches "
            f"{format_number(v['ceiling'])}."
        ),
        picture(
            algorithm.plot(*frames, title=source.name),
            folder,
            "algorithm",
            "(a) Agreement of each account with the network's answers on held-out contexts, by "
            "kind of prefix; grey: baselines, dark: ceilings. (b) What the network adds to S, by "
            "the amount x that the fed digit falls short of T. (c) Causal scrubbing: mean KL when "
            "an activation is swapped between inputs that an account calls equal. (d) Which "
            f"columns of {config.pairs // 2:,} held-out uniform pairs fail, where any do.",
        ),
        Table(
            "Agreement with the network by kind of the digit fed as s.",
            _agreement(result.agreement),
        ),
        Table(
            "Causal scrubbing: share of answers changed, and mean KL in nats, when an activation "
            "is swapped between inputs that the account calls equal (at random: between any two).",
            _scrubbing(result.scrubbing),
        ),
        Heading("The winner as a program"),
        Text(" ".join(_compared(row) for row in result.comparison.to_dict("records"))),
        Listing("The program, `program.py`", result.program),
    ]
    return Section(
        name="algorithm",
        title="Which algorithm the network runs",
        finding=f"{_sentence(algorithm.describe(result))}",
        parts=tuple(parts),
        commands=(source.command("analyses.algorithm", *options_of(config)),),
        sources=(*(f"{name}.csv" for name in algorithm.TABLES), "verdict.json", "program.py"),
    )


def _agreement(table: pd.DataFrame) -> pd.DataFrame:
    wide = table.pivot(index="hypothesis", columns="prefix", values="agreement")
    whole = table[table["prefix"] == "all"].set_index("hypothesis")
    wide = wide[[p for p in ("all", *PREFIXES) if p in wide]].sort_values("all", ascending=False)
    intervals = [
        say_rate(float(whole.at[name, "low"]), float(whole.at[name, "high"])) for name in wide.index
    ]
    wide.insert(1, "95 % interval", intervals)
    wide.insert(0, "kind", [str(whole.at[name, "kind"]) for name in wide.index])
    return wide.reset_index().rename(columns={"hypothesis": "account"})


def _scrubbing(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (account, population), part in table.groupby(["account", "population"], sort=False):
        by_site = part.set_index("site")
        row: dict[str, object] = {"account": str(account), "s": str(population)}
        for site in SITES:
            row[f"{site}: changed"] = float(by_site.loc[site, "flips"])
            row[f"{site}: KL"] = float(by_site.loc[site, "kl_mean"])
        rows.append(row)
    return pd.DataFrame(rows)


def _compared(row: dict) -> str:
    return (
        f"On pairs of the kind '{row['pairs']}' the program gives the network's own answer in "
        f"{round(row['same'] * row['n']):,} of {row['n']:,} (95 % interval of the share "
        f"{say_rate(row['low'], row['high'])}); wrong sums: network {row['network_wrong']:,}, "
        f"program {row['program_wrong']:,}."
    )


def _spaced(name: object) -> str:
    return str(name).replace("_", " ") if name not in HEADS.values() else str(name)


def _sentence(text: str) -> str:
    text = text.strip()
    return f"{text[0].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")
