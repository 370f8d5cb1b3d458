"""Section "accuracy" of a report: measured error rates, and what is proved of all 10^20 pairs."""

import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.certified import say_count
from analyses.report.numbers import format_number
from analyses.report.section import Heading, Part, Section, Table, Text, take
from analyses.report.source import Source
from interp import certify
from interp.certify import CLAIMS, TOTAL, Count, certificate_text
from interp.check_certificate import Refuted, Unreadable, check, read_content
from interp.output import save_json
from model.decode import tables_of
from model.errors import InputError
from model.evaluation import (
    Evaluation,
    evaluate,
    official_chunks,
    stratified_chunks,
    uniform_chunks,
)
from model.reading import read_json
from model.shell import write_atomic
from model.task import N_ANSWER, Pairs, hard_pairs

CERTIFICATE = "certificate.json"
LISTED = 10
KINDS = {
    "real": "real arithmetic, 11 digits",
    "float32": "float32, 11 digits",
    "real_with_end": "real arithmetic, with end token",
    "float32_with_end": "float32, with end token",
}


def measure(source: Source) -> list[Evaluation]:
    """Decode the four sets of pairs of a report, once for all sections."""
    return source.once("evaluations", lambda: decode_sets(source))


def decode_sets(source: Source) -> list[Evaluation]:
    """Decode the official protocol, uniform and stratified pairs, and the named hard ones."""
    tables = tables_of(source.model)
    uniform = source.size(2_000_000, 50_000)
    chains = source.size(500_000, 20_000)
    sets: list[tuple[str, bool, Iterable[Pairs]]] = [
        ("official protocol", True, official_chunks()),
        ("fresh uniform pairs", True, uniform_chunks(uniform, source.seed)),
        ("carry chains of every length", True, stratified_chunks(chains, source.seed)),
        ("named hard cases, single-carry chains", False, [hard_pairs()]),
    ]
    return [evaluate(tables, chunks, name=name, sampled=kind) for name, kind, chunks in sets]


def build_accuracy(source: Source, folder: Path) -> Section:
    """Measure accuracy four ways, and count all pairs by a certificate that is checked here."""
    measured = measure(source)
    save_json({"sets": [result.to_dict() for result in measured]}, folder / "evaluations.json")
    content, made, atlas = certificate_of(source, folder)
    if made:
        # Its verification takes minutes where cells fail, each to be proved wrong once more.
        proof = (
            f"`{CERTIFICATE}` was made in this run by `interp.certify`; a second program that "
            "shares no code with it (`interp.check_certificate`, for folders of weights) can "
            "verify every cell, witness and count of it"
        )
    else:
        check_certificate(source, content)
        proof = (
            f"`{CERTIFICATE}` is the one shipped beside the weights; a second program that shares "
            "no code with the certifier (`interp.check_certificate`) has verified every cell, "
            "witness and count of it in this run"
        )
    counts = {name: read_count(content, name) for name in KINDS}
    official, uniform = measured[0], measured[1]
    parts: list[Part] = [
        Heading("Measured"),
        Text(
            "Greedy decoding, all eleven digits right; intervals are Clopper-Pearson, 95 %. The "
            "official protocol is that of the write-ups, ten test sets of 10,000 uniform pairs; "
            f"the other random sets are fresh (seed {source.seed}). The hard cases are chosen and "
            "no sample, so they have no interval. The margin is the true logit less the largest "
            "other one, smallest over all columns and pairs of a set."
        ),
        Table("Errors on four sets of pairs.", tabulate_sets(measured)),
        Table("The smallest margin of each set.", tabulate_margins(measured)),
        *_where(measured),
        Heading("Proved"),
        Text(
            f"In real arithmetic the network is right on {say_count(counts['real'])}, in float32 "
            f"on {say_count(counts['float32'])}. {proof}."
        ),
        Table(
            "Certified counts of right pairs out of 10^20; equal bounds are exact numbers.",
            tabulate_counts(counts),
        ),
        Text(f"**Right.** {CLAIMS['right']}"),
        Text(f"**Real arithmetic.** {_capital(CLAIMS['real'].removeprefix('Real arithmetic: '))}"),
        Text(f"**Float32.** {CLAIMS['float32']}"),
        *atlas,
    ]
    pairs = ("--pairs", uniform.n, "--stratified", measured[2].n, "--hard", "--seed", source.seed)
    commands = [source.command("model.evaluate", "--official", *pairs)]
    commands.append(source.command("interp.certify"))
    if source.checkpoint.path.is_dir() and "@" not in source.name:
        words = (str(folder / CERTIFICATE), source.reference)
        commands.append(f"python -m interp.check_certificate {shlex.join(words)}")
    return Section(
        name="accuracy",
        title="Accuracy and certificate",
        finding=_capital(f"{_errors(official)} and {_errors(uniform)}; {_proved(counts)}."),
        parts=tuple(parts),
        commands=tuple(commands),
        sources=("evaluations.json", CERTIFICATE, *(("atlas.csv",) if atlas else ())),
    )


def certificate_of(source: Source, folder: Path) -> tuple[dict[str, Any], bool, list[Part]]:
    """Take the shipped certificate if it decides that nothing fails, and make one otherwise.

    Returns:
        The certificate's content, whether it was made here, and what there is to say about the
        contexts that fail or are undecided (nothing, for a network that is always right).
    """
    shipped = source.checkpoint.path / CERTIFICATE
    if "@" not in source.name and source.checkpoint.path.is_dir() and shipped.exists():
        try:
            content = read_json(shipped)
            whole = all(read_count(content, name).lower == TOTAL for name in ("real", "float32"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{shipped} is damaged: copy it again, or delete it to make another"
            ) from error
        if whole:
            write_atomic(folder / CERTIFICATE, json.dumps(content, indent=1) + "\n")
            return content, False, []
    result = certify.run(source.model)
    certify.write(result, folder)
    wrong = result.atlas[result.atlas["real"] == "wrong"]
    text = certificate_text(result.certificate, wrong[["tree", "leaf", "a", "b"]].to_numpy("int64"))
    return json.loads(text), True, describe_atlas(result, folder)


def describe_atlas(result: certify.Result, folder: Path) -> list[Part]:
    """Show which contexts fail, and which could not be decided; the figure is in the folder."""
    atlas = result.atlas
    if atlas.empty:
        return []
    failing = atlas[(atlas["real"] == "wrong").to_numpy()]
    shown = atlas.head(LISTED)
    frame = pd.DataFrame(
        {
            "context": shown["context"],
            "share of pairs": [f"{mass / TOTAL:.2e}" for mass in shown["mass"]],
            "real": shown["real"],
            "float32": shown["float32"],
            "for example": [f"{a} + {b}" for a, b in zip(shown["a"], shown["b"], strict=True)],
            "margin": shown["margin"].astype(float),
        }
    )
    return [
        Heading("What fails"),
        Text(
            f"{len(failing):,} contexts are wrong in real arithmetic, and "
            f"{len(atlas) - len(failing):,} more are not proved right in both arithmetics."
        ),
        take(
            folder / "atlas.png",
            "Atlas of the contexts that fail, by column: digit sum of the column across, digit sum "
            "below with its carry upwards. Colour is the share of a context's pairs that is wrong; "
            "rings hold pairs that are undecided. Above each panel, the share of all pairs that is "
            "wrong in that column.",
        ),
        Table(
            f"The {len(shown)} largest of {len(atlas):,} contexts that are not proved right, as "
            "shares of all pairs, each with a random pair in it.",
            frame,
        ),
    ]


def check_certificate(source: Source, content: dict[str, Any]) -> None:
    """Verify a certificate with the second program.

    Raises:
        InputError: A claim does not hold, or the certificate cannot be read.
    """
    tensors = {
        name: value.detach().float().numpy().astype("<f4")
        for name, value in source.model.params.items()
    }
    try:
        check(read_content(content), tensors, source.model.config.to_dict())
    except (Refuted, Unreadable, ValueError) as error:
        raise InputError(
            f"the certificate of {source.name} does not hold ({error}): "
            f"make it again with {source.command('interp.certify')}"
        ) from error


def read_count(content: dict[str, Any], name: str) -> Count:
    """Read the bounds of one count."""
    bounds = content["counts"][name]
    return Count(int(bounds["lower"]), int(bounds["upper"]))


def tabulate_sets(measured: Sequence[Evaluation]) -> pd.DataFrame:
    """Put errors, interval and smallest margin of each set into a row."""
    rows = []
    for result in measured:
        low, high = result.interval or (float("nan"),) * 2
        rows.append(
            {
                "pairs": result.name,
                "number": result.n,
                "errors": result.errors,
                "exact match": format_number(result.exact_match),
                "error rate, 95 %": "no sample"
                if result.interval is None
                else f"{format_number(1 - high)} to {format_number(1 - low)}",
                "end token wrong": result.eos_errors,
            }
        )
    return pd.DataFrame(rows)


def tabulate_margins(measured: Sequence[Evaluation]) -> pd.DataFrame:
    """Put the smallest margin of each set, and where it is, into a row."""
    rows = []
    for result in measured:
        a, b, column = result.smallest_at or (0, 0, 0)
        rows.append((result.name, result.smallest_margin, str(a), str(b), column))
    return pd.DataFrame(rows, columns=["pairs", "smallest margin", "a", "b", "column"])


def tabulate_counts(counts: dict[str, Count]) -> pd.DataFrame:
    """Put the certified bounds into rows; error rates only where they are not 0."""
    rows = []
    for name, label in KINDS.items():
        count = counts[name]
        least, most = count.error_rates
        rows.append(
            {
                "arithmetic": label,
                "right, at least": f"{count.lower:,}",
                "right, at most": f"{count.upper:,}",
                "wrong": "none"
                if count.lower == TOTAL
                else f"exactly {TOTAL - count.lower:,}"
                if count.gap == 0
                else f"{least:.3g} to {most:.3g}",
            }
        )
    return pd.DataFrame(rows)


def _where(measured: Sequence[Evaluation]) -> list[Part]:
    """Say in which columns errors begin, and show some."""
    if not any(result.errors for result in measured):
        return []
    columns = [result for result in measured if result.errors]
    frame = pd.DataFrame(
        [[result.name, *result.first_errors] for result in columns],
        columns=["pairs", *map(str, range(N_ANSWER))],
    )
    unlike = {(f.a, f.b): f for result in measured for f in result.failures}
    failures = list(unlike.values())[:LISTED]
    listed = pd.DataFrame(
        {
            "a": [str(failure.a) for failure in failures],
            "b": [str(failure.b) for failure in failures],
            "model": ["no number" if f.predicted is None else str(f.predicted) for f in failures],
            "true": [str(failure.true) for failure in failures],
            "where they part": [failure.parts.partition(" (")[0] for failure in failures],
            "margin": [failure.margin for failure in failures],
        }
    )
    return [
        Table("Wrong pairs by the lowest column that is wrong (0: units).", frame),
        Table("Some pairs that the network gets wrong.", listed),
    ]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _errors(result: Evaluation) -> str:
    low, high = result.interval or (0.0, 1.0)
    words = "no error" if not result.errors else f"{result.errors:,} errors"
    words = "1 error" if result.errors == 1 else words
    return (
        f"{words} in {result.n:,} pairs of the {result.name} (error rate "
        f"{format_number(1 - high)} to {format_number(1 - low)})"
        if result.name.startswith("official")
        else f"{words} in {result.n:,} {result.name} ({format_number(1 - high)} to "
        f"{format_number(1 - low)})"
    )


def _proved(counts: dict[str, Count]) -> str:
    real = counts["real"]
    if all(counts[name].lower == TOTAL for name in ("real", "float32")):
        return "proved right on all 10^20 pairs, in real arithmetic and in float32"
    if real.gap == 0:
        return f"proved wrong in real arithmetic on exactly {TOTAL - real.lower:,} of 10^20 pairs"
    least, most = real.error_rates
    return f"the error rate over all 10^20 pairs is proved to be {least:.3g} to {most:.3g}"
