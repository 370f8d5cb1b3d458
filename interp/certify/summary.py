"""How many pairs are right? The one screen that certification ends on.

Nothing is sampled: beside each count stands how many pairs stayed undecided. The theorem, every
count and every failing context are in the files.
"""

import pandas as pd

from interp.certify.certificate import Certificate, Count
from interp.certify.count import TOTAL
from model.shell import Row, Summary, count
from model.task import N_TARGET

QUESTIONS = {
    "real": "right, real arithmetic",
    "float32": "right, float32",
    "real_with_end": "real, with end token",
    "float32_with_end": "float32, with end token",
}


def summarise(
    certificate: Certificate, by_column: pd.DataFrame, atlas: pd.DataFrame, name: str
) -> Summary:
    """Say in one screen what certification proved."""
    counts = {field: getattr(certificate, field) for field in QUESTIONS}
    rows = [_row(QUESTIONS[field], found) for field, found in counts.items()]
    sentences = [
        f"In real arithmetic {_say(counts['real'])}.",
        f"In float32, with any order of summation, {_say(counts['float32'])}.",
        _end(counts),
        _decided(counts),
    ]
    real = by_column[by_column["arithmetic"] == "real"]
    wrong = {int(r["column"]): int(r["wrong"]) for r in real.to_dict("records")}
    worst, *others = sorted(wrong, key=lambda column: -wrong[column])
    if wrong[worst]:
        rest = wrong[others[0]] / TOTAL
        rows.append(
            Row(
                "worst column",
                _column(worst),
                f"{wrong[worst] / TOTAL:.2e} of pairs",
                f"{rest:.2e} in {_column(others[0])}",
            )
        )
        sentences.append(
            f"Most errors are in {_column(worst)}: it alone is wrong on a share of "
            f"{wrong[worst] / TOTAL:.2e}."
        )
    failing = atlas[atlas["real"] == "wrong"]
    left = len(atlas) - len(failing)
    found = f"{len(failing):,}" if len(failing) else "none"
    rows.append(Row("failing contexts", found, "", f"{left:,} not decided in both"))
    if len(failing):
        first = failing.iloc[0]
        rows.append(
            Row(
                "a wrong sum",
                f"{first['a']} + {first['b']}",
                f"answers {first['answer']}",
                f"true {first['true']}",
            )
        )
    sentences.append(
        "Check the proof with python -m interp.check_certificate, which shares no code with this."
    )
    return Summary(f"{name}: how many of the 10^20 pairs are right?", tuple(rows), tuple(sentences))


def _column(column: int) -> str:
    return "the end token" if column == N_TARGET - 1 else f"column {column}"


def _row(question: str, found: Count) -> Row:
    most, least = TOTAL - found.lower, TOTAL - found.upper
    if not most:
        return Row(question, "all pairs", "0 wrong", "0 undecided")
    if most == least:
        return Row(question, "exact count", f"{most:,} wrong", "0 undecided")
    return Row(question, "bounds", f"at most {most:,} wrong", f"at least {least:,}")


def _say(found: Count) -> str:
    most, least = TOTAL - found.lower, TOTAL - found.upper
    low, high = found.error_rates
    if not most:
        return "all 10^20 pairs are right"
    if found.gap == TOTAL:
        return "nothing is decided"
    if most == least:
        are = "is" if most == 1 else "are"
        return f"exactly {count(most, 'pair')} of 10^20 {are} wrong, a share of {low:.3g}"
    return f"between {low:.3g} and {high:.3g} of all pairs are wrong"


def _end(counts: dict[str, Count]) -> str:
    """Say whether the end token after the digits adds failures."""
    for name in ("real", "float32"):
        if counts[f"{name}_with_end"] != counts[name]:
            found = counts["real_with_end"]
            return f"If the end token counts too, {_say(found)} in real arithmetic."
    return "The end token after the digits changes neither count."


def _decided(counts: dict[str, Count]) -> str:
    real, float32 = (counts[name].gap / TOTAL for name in ("real", "float32"))
    if not real and not float32:
        return "Nothing is sampled and nothing is undecided."
    return f"A share of {real:.3g} is undecided in real arithmetic, {float32:.3g} in float32."
