"""Section "ranks" of a report: what each rank component does, beside random terms of equal norm."""

from pathlib import Path

import pandas as pd

from analyses.report.numbers import format_number, say_rate
from analyses.report.section import Part, Section, Table, Text, picture
from analyses.report.source import Source, options_of
from interp import rank_ablation
from interp.output import save_table
from interp.rank_ablation import select
from model.shell import write_atomic


def build_ranks(source: Source, folder: Path) -> Section:
    """Remove rank components one at a time and from the end, beside random terms of equal norm."""
    config = rank_ablation.Config(
        kind=("zero", "mean", "conditional", "resample") if not source.quick else ("zero", "mean"),
        pairs=source.size(10_000, 500),
        draws=source.size(10, 3),
        seed=source.seed,
    )
    result = rank_ablation.run(
        source.model, config, keep=rank_ablation.job_folder(folder, source.model, config)
    )
    table = result.ablations
    table.insert(0, "checkpoint", source.name)
    write_atomic(folder / "ablations.parquet", rank_ablation.parquet_bytes(table))
    exact = select(table, "exact")
    save_table(exact, folder / "exact.csv")
    captions = {
        "heatmap": (
            "Exact match without one component of one matrix (singular components of the "
            "gauge-invariant matrices, largest first), replaced in several ways; in brackets, the "
            f"median over {config.draws} random terms of the same Frobenius norm in its place."
        ),
        "truncation": (
            "Exact match when only the leading singular directions of one matrix are kept. Grey: "
            "5 to 95 % of random terms of equal norm removed instead."
        ),
        "chain_length": (
            "Wrong digits against the number of columns that the incoming carry has travelled, "
            "without one component; pairs stratified by carry chain, bands 95 %."
        ),
    }
    figures = [
        picture(figure, folder, stem, captions[stem.split("-")[0]])
        for stem, figure in rank_ablation.plot(table, ("exact",)).items()
    ]
    single = exact[exact["scope"] == "single"]
    harmless = sorted(
        {
            f"{row['matrix']} {row['component']}"
            for row in single[single["kind"] == "zero"].to_dict("records")
            if row["value"] >= 0.99
        }
    )
    named = ", ".join(harmless) or "none"
    intact = exact[exact["scope"] == "intact"].iloc[0]
    truncated = exact[exact["scope"] == "truncation"]
    parts: list[Part] = [
        Text(
            "Factors A B of a matrix can become A G, G^-1 B without changing the network, so raw "
            " factors have no meaning; what is cut here are the singular components of the "
            "products, norm gains folded into the reading side. Every number is exact match of "
            f"greedy decoding on {config.pairs:,} uniform pairs (intact: {intact['value']:.4g}, "
            f"{say_rate(intact['low'], intact['high'])}). Its null is a random term of the same "
            "Frobenius norm in the component's place: where it breaks the network as well, what "
            "counts is how much was removed, not which direction."
        ),
        Text(
            "Set to zero, these components cost less than one sum in a hundred: "
            f"{named}. Zero asks whether the term is needed, mean whether its variation is, "
            "resample whether its own value is, conditional the same given the digit sum."
        ),
        *figures,
        Table(
            "Exact match when one component is replaced, with the median of its null in brackets.",
            tabulate_single(single),
        ),
        Table(
            "Truncation: exact match when only the first directions are kept, up to all of them.",
            tabulate_truncation(truncated, float(intact["value"])),
        ),
    ]
    return Section(
        name="ranks",
        title="What each rank component does",
        finding=(
            f"Of {single[['matrix', 'component']].drop_duplicates().shape[0]} components "
            f"(singular, norm gains and edges apart), {len(harmless)} can be set to zero at a "
            f"cost of less than 1 % of sums: {named}."
        ),
        parts=tuple(parts),
        commands=(source.command("interp.rank_ablation", *options_of(config)),),
        sources=("ablations.parquet", "exact.csv"),
    )


def tabulate_single(single: pd.DataFrame) -> pd.DataFrame:
    """Put the kinds of ablation side by side, each with its null."""
    rows = []
    for (matrix, component), part in single.groupby(["matrix", "component"], sort=False):
        row: dict[str, object] = {"removed": f"{matrix} {component}"}
        row["Frobenius norm"] = float(part["weight"].iloc[0])
        for cell in part.to_dict("records"):
            row[str(cell["kind"])] = (
                f"{format_number(cell['value'])} ({format_number(cell['null_median'], 3)})"
            )
        rows.append(row)
    return pd.DataFrame(rows)


def tabulate_truncation(rows: pd.DataFrame, intact: float) -> pd.DataFrame:
    """Put the ranks kept side by side up to all of them, one matrix a row."""
    whole = rows.drop_duplicates("matrix").assign(value=intact)
    rows = pd.concat([rows, whole], ignore_index=True)
    wide = rows.assign(kept=rows.groupby("matrix", sort=False).cumcount())
    wide = wide.pivot(index="matrix", columns="kept", values="value")
    wide = wide.loc[list(dict.fromkeys(rows["matrix"]))]
    wide.columns = [f"{kept} kept" for kept in wide.columns]
    return wide.map(format_number).reset_index()
