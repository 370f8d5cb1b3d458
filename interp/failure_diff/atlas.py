"""How often a model fails at all: the certifier's exact count and its atlas of failing contexts."""

import pandas as pd

from interp.certify import TOTAL, Certificate, build_atlas, certify
from interp.failure_diff.result import records
from model.adder import Adder


def atlas_tables(model: Adder) -> dict[str, pd.DataFrame]:
    """Certify a model and list what fails.

    Returns:
        `atlas`: every context that is wrong in real arithmetic, with its exact mass (pairs out of
        10^20), share, words and a witness; `certified`: one row with the bounds of the number of
        pairs added correctly (equal where everything is decided), as Python integers.
    """
    certificate = certify(model)
    atlas = build_atlas(certificate, model)
    kept = ["column", "mass", "share", "context", "a", "b", "margin", "true", "answer"]
    return {
        "atlas": atlas[(atlas["real"] == "wrong").to_numpy()][kept].reset_index(drop=True),
        "certified": _counts(certificate),
    }


def _counts(certificate: Certificate) -> pd.DataFrame:
    bounds = {"right_at_least": [certificate.real.lower], "right_at_most": [certificate.real.upper]}
    return pd.DataFrame(bounds, dtype=object)


def say_wrong(tables: dict[str, pd.DataFrame]) -> tuple[str, str]:
    """Give the number of wrong pairs in words: exactly or at most, and how many."""
    counts = records(tables["certified"])[0]
    most, least = (TOTAL - int(counts[name]) for name in ("right_at_least", "right_at_most"))
    return "exactly" if least == most else "at most", f"{most:,}"


def describe_atlas(tables: dict[str, pd.DataFrame]) -> str:
    """Say in a sentence how many pairs are wrong, and in which columns."""
    counts = records(tables["certified"])[0]
    most, least = (TOTAL - int(counts[name]) for name in ("right_at_least", "right_at_most"))
    number = f"exactly {least:,}" if least == most else f"between {least:,} and {most:,}"
    masses: dict[int, int] = {}
    for row in records(tables["atlas"]):
        masses[row["column"]] = masses.get(row["column"], 0) + int(row["mass"])
    columns = [f"{mass / TOTAL:.3g} in column {column}" for column, mass in sorted(masses.items())]
    listed = f"; by column of the failing contexts: {', '.join(columns)}" if columns else ""
    share = f"{most / TOTAL:.3g}" if least == most else f"{least / TOTAL:.3g} to {most / TOTAL:.3g}"
    return (
        f"Certified in real arithmetic, {number} of the 10^20 pairs are added wrongly (a share of "
        f"{share}){listed}."
    )
