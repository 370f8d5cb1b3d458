"""Figure 1 of the report: the way to fewer parameters, and how often each network is wrong.

Parameters are counted from the configurations; what changes from one to the next is read off them.
Error rates are the write-ups' as printed, ours measured (table1, model cards), and what the
certificates beside the shipped checkpoints prove about all 10^20 pairs.
"""

import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses.gallery.figure import GalleryFigure, Source, Tables
from analyses.training_tables import TABLE_1
from interp.certify import TOTAL
from interp.output import TWO_COLUMNS, paper_style
from model.checkpoint import CARD, SHIPPED, shipped
from model.config import PRESETS, ModelConfig
from model.errors import InputError
from model.intervals import clopper_pearson
from model.reading import open_regular, read_json

CERTIFICATE = "certificate.json"
PUBLISHED, SHIPPED_AS = "as printed", "shipped"
TRAINED = {"published": "published recipe", "restarts": "our recipe"}
"""Name of each recipe that table1 trains by."""
STYLES = {
    PUBLISHED: ("D", "0.25", 0.27),
    TRAINED["published"]: ("o", "C0", 0.09),
    TRAINED["restarts"]: ("^", "C2", -0.09),
    SHIPPED_AS: ("s", "C1", -0.27),
}
"""Marker, colour and vertical shift of each kind of measurement."""
FLOOR = 1e-8
"""Where the error rate of a network that is proved right is drawn."""
_RANKS = ("pos_rank", "qkv_rank", "attn_out_rank", "ffn_rank")


def find_files(source: Source) -> list[Path]:
    """Name the cards and certificates of the shipped models, and table1 where it has been made."""
    cards = [SHIPPED / name / CARD for name in shipped()]
    certificates = [card.parent / CERTIFICATE for card in cards]
    table = source.results / "table1.csv"
    return [*cards, *(path for path in [*certificates, table] if path.exists())]


def describe_change(old: ModelConfig, new: ModelConfig) -> str:
    """Say in a few words what differs between two configurations."""
    before, after = old.to_dict(), new.to_dict()
    changed = {key: (before[key], after[key]) for key in after if before[key] != after[key]}
    words = []
    ranks = {key: changed.pop(key) for key in _RANKS if key in changed}
    if len(ranks) == len(_RANKS) and len(set(ranks.values())) == 1:
        words.append(f"rank {after[_RANKS[0]]}")
        ranks = {}
    if "tie_qkv" in changed:
        changed.pop("tie_qkv")
        tied = {"shareA_tieKV": "K = V, shared A", "none": "Q, K, V apart"}
        words.append(tied.get(new.tie_qkv, f"tie {new.tie_qkv}"))
    if "norm" in changed:
        changed.pop("norm")
        words.append({"rms": "RMSNorm", "layer": "LayerNorm"}[new.norm])
    names = {"attn_out_rank": "$W_O$ rank", "ffn_rank": "FFN rank", "pos_rank": "position rank"}
    names |= {"d_model": "$d$", "d_ff": "$d_{ff}$", "qkv_rank": "QKV rank", "n_ctx": "context"}
    words += [f"{names[key]} {a} to {b}" for key, (a, b) in (changed | ranks).items()]
    return ", ".join(words)


def read_shipped() -> list[dict[str, Any]]:
    """Read the best shipped checkpoint of each shape: its card and what is proved of it.

    Raises:
        InputError: A card or certificate is damaged.
    """
    best: dict[ModelConfig, dict[str, Any]] = {}
    for name in shipped():
        folder = SHIPPED / name
        try:
            card = read_json(folder / CARD)
            config = ModelConfig.from_dict(card["config"])
            measured = card["measured"]["uniform"]
            wrong = None
            if (folder / CERTIFICATE).exists():
                certificate = read_json(folder / CERTIFICATE)
                if certificate["weights_sha256"] == card["sha256"]:
                    wrong = TOTAL - int(certificate["counts"]["float32"]["lower"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder} has a damaged {CARD} or {CERTIFICATE}: copy it again"
            ) from error
        row = {"config": config, "name": name, "wrong_of_all": wrong}
        row |= {key: int(measured[key]) for key in ("errors", "pairs")}
        rate = row["errors"] / row["pairs"]
        if config not in best or rate < best[config]["errors"] / best[config]["pairs"]:
            best[config] = row
    return list(best.values())


def read_printed(text: str) -> tuple[float, float, float]:
    """Turn a printed accuracy into an error rate, with bounds from its rounding.

    Args:
        text: Such as "99.69%" or ">= 99.97%".

    Returns:
        Error rate (NaN for a bound), lowest and highest.
    """
    number = text.removeprefix(">= ").removesuffix("%")
    decimals = len(number.partition(".")[2])
    error = max(0.0, round(1 - float(number) / 100, decimals + 2))
    if text.startswith(">="):
        return math.nan, 0.0, error
    half = 0.5 * 10.0 ** -(decimals + 2)
    return error, max(0.0, error - half), error + half


def compute(source: Source) -> Tables:
    """Count parameters, name the changes, and gather what is known about errors."""
    mine = read_shipped()
    configs = {PRESETS[record.preset] for record in TABLE_1} | {row["config"] for row in mine}
    ordered = sorted(configs, key=lambda config: -config.n_params)
    steps = [
        {
            "network": f"{config.n_params}p",
            "n_params": config.n_params,
            "change": describe_change(ordered[i - 1], config) if i else "",
        }
        for i, config in enumerate(ordered)
    ]
    errors: list[dict[str, Any]] = []
    for record in TABLE_1:
        rate, low, high = read_printed(record.exact)
        network = f"{PRESETS[record.preset].n_params}p"
        row = {"network": network, "kind": PUBLISHED, "rate": rate, "low": low, "high": high}
        errors.append(row)
    errors += _read_trained(source.results / "table1.csv")
    for row in mine:
        counts = _rate(f"{row['config'].n_params}p", row["errors"], row["pairs"])
        proved = row["wrong_of_all"] == 0
        errors.append({**counts, "kind": SHIPPED_AS, "proved_right": proved})
    table = pd.DataFrame(errors)
    table["proved_right"] = table["proved_right"].fillna(False).astype(bool)
    return {"networks": pd.DataFrame(steps), "errors": table}


def _rate(network: str, errors: int, pairs: int) -> dict[str, Any]:
    low, high = clopper_pearson(errors, pairs)
    return {
        "network": network,
        "errors": errors,
        "pairs": pairs,
        "rate": errors / pairs,
        "low": low,
        "high": high,
    }


def _read_trained(path: Path) -> list[dict[str, Any]]:
    """Read our measurements of the models that table1 trained; none where it is not there."""
    if not path.exists():
        return []
    try:
        rows = pd.read_csv(open_regular(path)).dropna(subset=["fresh_errors"]).to_dict("records")
        return [
            {
                **_rate(f"{row['n_params']}p", int(row["fresh_errors"]), int(row["fresh_pairs"])),
                "kind": TRAINED[row["recipe"]],
            }
            for row in rows
        ]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} is damaged: run python -m analyses.training_tables table1"
        ) from error


def plot(tables: Tables) -> Figure:
    """Draw parameters and their changes on the left, error rates on the right."""
    networks, errors = tables["networks"], tables["errors"]
    places = {name: place for place, name in enumerate(networks["network"])}
    with paper_style():
        figure, (left, right) = plt.subplots(
            1,
            2,
            figsize=(TWO_COLUMNS, 0.3 * len(networks) + 0.9),
            sharey=True,
            width_ratios=(1.2, 1),
        )
        published = set(errors["network"][errors["kind"] == PUBLISHED])
        colors = ["C0" if name in published else "C1" for name in networks["network"]]
        left.barh(range(len(networks)), networks["n_params"], color=colors, height=0.72)
        widest = networks["n_params"].max()
        for place, row in enumerate(networks.to_dict("records")):
            change = row["change"] if isinstance(row["change"], str) else ""
            inside = row["n_params"] > 0.75 * widest
            left.text(
                row["n_params"] + (-0.012 if inside else 0.012) * widest,
                place,
                f"{row['n_params']}" if not change else f"{row['n_params']}: {change}",
                va="center",
                ha="right" if inside else "left",
                color="white" if inside else "black",
                fontsize=6.5,
            )
        left.set_yticks(range(len(networks)), networks["network"])
        left.invert_yaxis()
        left.set_xlabel("parameters")
        for kind, rows in errors.groupby("kind", sort=False):
            _draw_errors(right, rows, str(kind), places)
        right.set_xscale("log")
        right.set_xlim(FLOOR / 2, 2)
        right.set_xlabel("error rate, uniform pairs (arrow: at most)")
        right.axvline(FLOOR * 3, color="0.7", lw=0.6, ls=":")
        ticks = [FLOOR, *(10.0**k for k in range(-6, 1, 2))]
        right.set_xticks(ticks, ["proved\nnone", *(f"$10^{{{k}}}$" for k in range(-6, 1, 2))])
        right.minorticks_off()
        right.tick_params(axis="y", length=0)
        right.plot([], [], "*", color=STYLES[SHIPPED_AS][1], ms=6, label="proved")
        sns.despine(figure)
        right.legend(
            frameon=False,
            ncols=3,
            loc="lower center",
            bbox_to_anchor=(0.45, 1.0),
            handletextpad=0.1,
            columnspacing=1.0,
        )
    return figure


def _draw_errors(axis: Axes, rows: pd.DataFrame, kind: str, places: dict[str, int]) -> None:
    marker, color, shift = STYLES[kind]
    for row in rows.to_dict("records"):
        place = places[row["network"]] - shift
        some = row["rate"] > 0
        at = row["rate"] if some else row["high"]
        axis.plot([max(row["low"], FLOOR), row["high"]] if some else [at], [place] * (1 + some),
                  color=color, lw=1)  # fmt: skip
        if not some:
            axis.annotate("", (at / 6, place), (at, place), arrowprops={"arrowstyle": "->",
                          "color": color, "lw": 0.8, "shrinkA": 0, "shrinkB": 0})  # fmt: skip
        axis.plot(at, place, marker, color=color, ms=3.5, mfc=color if some else "white", mew=0.9)
        if row["proved_right"]:
            axis.plot(FLOOR, place, "*", color=color, ms=7)
    axis.plot([], [], marker, color=color, ms=3.5, label=kind)


def caption(tables: Tables) -> str:
    """Word the reduction, and what each error rate rests on."""
    networks, errors = tables["networks"], tables["errors"]
    counts = networks["n_params"]
    proved = networks[networks["network"].isin(errors["network"][errors["proved_right"]])]
    published = errors[errors["kind"] == PUBLISHED]["network"]
    least = networks[networks["network"].isin(published)]["n_params"].min()
    text = (
        f"From {counts.max()} to {counts.min()} parameters, counted from the configurations, with "
        f"what changes from each network to the next; the write-ups end at {least}, the rest is "
        "ours. Right: error rates on uniform pairs. Printed accuracies as error rates, with the "
        "interval that their rounding leaves (an arrow: printed as 100 %, or as a lower bound). "
    )
    for kind in TRAINED.values():
        trained = errors[errors["kind"] == kind]
        if len(trained):
            rows = "; ".join(_describe(row) for row in trained.to_dict("records"))
            text += f"Trained here, {kind}, best seed, tuned where it errs: {rows}. "
    if not errors["kind"].isin(TRAINED.values()).any():
        text += "None trained again: run python -m analyses.training_tables table1. "
    rows = "; ".join(
        _describe(row) for row in errors[errors["kind"] == SHIPPED_AS].to_dict("records")
    )
    text += f"Shipped checkpoints, 95 % Clopper-Pearson intervals: {rows}. "
    names = ", ".join(proved["network"]) or "none"
    return text + (
        f"Stars: proved right on all 10^20 pairs, float32 included (certificate.json): {names}."
    )


def _describe(row: dict[str, Any]) -> str:
    return (
        f"{row['network']} {row['errors']:,.0f} wrong of {row['pairs']:,.0f} "
        f"({row['low']:.2g} to {row['high']:.2g})"
    )


FIGURES: tuple[GalleryFigure, ...] = (
    GalleryFigure(
        name="parameter_journey",
        title="Fewer and fewer parameters, and how often each is wrong (report, Figure 1)",
        group="write-ups",
        of_checkpoint=False,
        compute=compute,
        plot=plot,
        caption=caption,
        reads=find_files,
    ),
)
