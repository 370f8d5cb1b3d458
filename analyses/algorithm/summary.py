"""Which account describes the network? The one screen of the study, and of its controls.

Every number is held out, and stands beside a baseline, a ceiling or chance. All accounts, kinds of
prefix and intervals are in the tables.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from model.shell import Row, Summary, clip, percent

RANDOM = "at random"
SETS = {"uniform": "uniform pairs", "carry chains": "carry chains"}


def summarise(tables: Mapping[str, pd.DataFrame], verdict: Mapping[str, Any], name: str) -> Summary:
    """Say in one screen what one network's scores are.

    Args:
        tables: agreement, scrubbing, failures and comparison, as in the study's result.
        verdict: Winner, lead and ceiling.
        name: The network's name.
    """
    winner, rival = str(verdict["winner"]), str(verdict["runner_up"])
    rows, sentences = _winner(verdict)
    by_prefix = tables["agreement"].set_index(["hypothesis", "prefix"])["agreement"]
    if (winner, "impossible") in by_prefix.index:
        own, other = (percent(by_prefix[account, "impossible"]) for account in (winner, rival))
        rows.append(Row("on impossible digits below", winner, own, f"{other} {rival}"))
        sentences.append(
            f"On impossible digits, where accounts differ most, it gives {own} and {rival} {other}."
        )
    scrubbed = tables["scrubbing"]
    chosen = scrubbed[(scrubbed["site"] == "resid_mid") & (scrubbed["population"] == "any prefix")]
    flips = chosen.set_index("account")["flips"]
    if winner in flips.index:
        own, chance = percent(flips[winner]), percent(flips[RANDOM])
        rows.append(
            Row("answers changed by a swap", f"within {winner}", own, f"{chance} at random")
        )
        sentences.append(
            f"Swapping resid_mid between inputs that it calls equal changes {own} of answers, at "
            f"random {chance}."
        )
    rows.append(_failures(tables["failures"], winner))
    program, said = _program(tables["comparison"])
    title = f"{name}: which algorithm does it run?"
    return Summary(title, (*rows, *program), (*sentences, said))


def _winner(v: Mapping[str, Any]) -> tuple[list[Row], list[str]]:
    own, most = percent(v["agreement"]), percent(v["ceiling"])
    lead = f"{100 * v['lead']:+.1f} points"
    interval = f"{100 * v['lead_low']:+.1f} to {100 * v['lead_high']:+.1f}"
    sure = "yes" if v["lead_low"] > 0 else "no"
    name, rival = v["winner"], v["runner_up"]
    rows = [
        Row("best account", name if v["is_rival"] else f"none ({name})", own, f"{most} any table"),
        Row(f"ahead of {rival}?", sure, lead, f"{interval}, 95 %"),
    ]
    if v["is_rival"]:
        first = (
            f"The account {name} gives {own} of held-out answers, any table of the digits {most}."
        )
    else:
        first = f"No rival beats the baseline {name}: it gives {own} of held-out answers."
    second = f"Against {rival} that is {lead}, 95 % interval {interval}."
    return rows, [first, second]


def _failures(failures: pd.DataFrame, winner: str) -> Row:
    """Say how well the account ranks the columns that fail."""
    question = "ranks failing columns"
    rows = failures.set_index("account")
    n = int(rows.at["column alone", "failures"])
    if not n or winner not in rows.index:
        pairs = int(failures["examples"].max()) // 10
        return Row(question, "none fail" if not n else "not asked", f"of {pairs:,} pairs", "")
    own, base = (float(rows.at[account, "auc"]) for account in (winner, "column alone"))
    verdict = "yes" if float(rows.at[winner, "low"]) > base else "no"
    return Row(question, verdict, f"AUC {own:.2f}", f"{base:.2f} column alone, n = {n:,}")


def _program(comparison: pd.DataFrame) -> tuple[list[Row], str]:
    rows = []
    for row in comparison.to_dict("records"):
        if row["pairs"] in SETS:
            low, high = percent(row["low"]), percent(row["high"])
            number = f"{percent(row['same'])} of {row['n']:,}"
            verdict = "same answers" if row["same"] == 1 else "answers differ"
            rows.append(Row(f"program, {SETS[row['pairs']]}", verdict, number, f"{low} to {high}"))
    worst = comparison.sort_values("same").iloc[0]
    return rows, (
        f"The account as a program gives the network's answer on {percent(worst['same'])} of "
        f"{worst['pairs']} or more."
    )


def summarise_controls(verdicts: Mapping[str, Mapping[str, Any]]) -> Summary:
    """Say what the same study finds on networks whose algorithm is known."""
    rows = [
        Row(
            clip(name),
            str(v["winner"]) if v["is_rival"] else f"none ({v['winner']})",
            f"{percent(v['agreement'])} of answers",
            f"{percent(v['ceiling'])} any table",
        )
        for name, v in verdicts.items()
    ]
    return Summary("controls: networks whose algorithm is known", tuple(rows), ())
