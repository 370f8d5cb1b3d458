"""Tables of failing contexts: exact share of all inputs, sampled rate, witness, groups."""

from dataclasses import dataclass, replace

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.anatomy import carry_share, context_of, context_pairs, context_share
from model.decode import Decodable, decode
from model.intervals import clopper_pearson
from model.tables import Tables, column_logits
from model.task import N_PROMPT, encode

_CHUNK = 16_384


@dataclass(frozen=True)
class Found:
    """A failing context with the thinnest pair that was found in it."""

    margin: float
    column: int
    a: int
    b: int


def column_margins(
    tables: Tables, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"], column: int
) -> tuple[Float[Tensor, " batch"], Int[Tensor, " batch"]]:
    """Compute one column's margins and predicted tokens on the true prefix."""
    margins, predicted = [], []
    for x, y in zip(a.split(_CHUNK), b.split(_CHUNK), strict=True):
        tokens = encode(x, y)
        logits = column_logits(tables, tokens, column)
        target = tokens[:, N_PROMPT + column, None]
        other = logits.scatter(1, target, float("-inf")).max(dim=1).values
        margins.append(logits.gather(1, target)[:, 0] - other)
        predicted.append(logits.argmax(dim=1))
    return torch.cat(margins), torch.cat(predicted)


def column_row(
    column: int, contexts: Tensor, margins: Tensor, thinnest: Tensor, a: Tensor, b: Tensor
) -> dict[str, object]:
    """Summarise one column.

    Its error rate weighs every context's sampled rate by the context's exact share; the interval is
    Clopper and Pearson's for the pooled completions, whose contexts count alike.
    """
    low = max(column - 1, 0)
    by_carry = torch.tensor([float(carry_share(low, carry)) for carry in (0, 1)]).double()
    share = by_carry[contexts[:, 0]] / 100 ** int((contexts[0, 1::2] >= 0).sum())
    wrong = (margins < 0).double().mean(dim=1)
    rate = float((share * wrong).sum())
    low, high = clopper_pearson(int((margins < 0).sum()), margins.numel())
    worst = int(thinnest.argmin())
    return {
        "column": column,
        "contexts": len(contexts),
        "failing_contexts": int((thinnest < 0).sum()),
        "thinnest_margin": float(thinnest[worst]),
        "a": int(a[worst]),
        "b": int(b[worst]),
        "error_rate": rate,
        "error_rate_low": low,
        "error_rate_high": high,
    }


def context_table(
    network: Decodable,
    tables: Tables,
    found: list[Found],
    samples: int,
    generator: torch.Generator,
) -> pd.DataFrame:
    """Tabulate failing contexts: their digits, exact share, sampled rate, mass and witness.

    `mass` is the share of all pairs that lie in the context and fail in this column; `failing` and
    its interval come from `samples` uniform inputs of the context, `margin` from the witness.
    """
    rows = []
    for item in found:
        a, b = item.a, item.b
        context = replace(context_of(a, b, item.column), above=None)
        sampled, _ = column_margins(
            tables, *context_pairs(context, samples, generator), context.column
        )
        failing, share = int((sampled < 0).sum()), context_share(context)
        low, high = clopper_pearson(failing, samples)
        pair = torch.tensor([a]), torch.tensor([b])
        answered = int(column_margins(tables, *pair, context.column)[1])
        rows.append(
            {
                "column": context.column,
                "carry_below": context.carry_below,
                "below": _text(context.below),
                "here": _text(context.here),
                "carry_in": context.carry_in,
                "previous_digit": context.previous_digit,
                "digit_sum": None if context.here is None else sum(context.here),
                "true": context.true_digit,
                "answered": answered,
                "margin": item.margin,
                "a": a,
                "b": b,
                "share": float(share),
                "share_exact": str(share),
                "failing": failing / samples,
                "failing_low": low,
                "failing_high": high,
                "mass": float(share) * failing / samples,
                "verified": not bool(decode(network, *pair).exact[0]),
            }
        )
    return pd.DataFrame(rows, columns=_CONTEXT_COLUMNS)


_CONTEXT_COLUMNS = [
    "column",
    "carry_below",
    "below",
    "here",
    "carry_in",
    "previous_digit",
    "digit_sum",
    "true",
    "answered",
    "margin",
    "a",
    "b",
    "share",
    "share_exact",
    "failing",
    "failing_low",
    "failing_high",
    "mass",
    "verified",
]
_GROUP_KEYS = ["column", "carry_in", "previous_digit", "digit_sum", "true", "answered"]


def group_contexts(contexts: pd.DataFrame) -> pd.DataFrame:
    """Gather contexts that share what the column computes from, heaviest group first."""
    if contexts.empty:
        return pd.DataFrame(columns=[*_GROUP_KEYS, "contexts", "share", "mass", "margin", "a", "b"])
    thinnest_first = contexts.sort_values("margin")
    groups = thinnest_first.groupby(_GROUP_KEYS, dropna=False).agg(
        contexts=("margin", "size"),
        share=("share", "sum"),
        mass=("mass", "sum"),
        margin=("margin", "first"),
        a=("a", "first"),
        b=("b", "first"),
    )
    return groups.reset_index().sort_values(["mass", "share"], ascending=False, ignore_index=True)


def _text(pair: tuple[int, int] | None) -> str:
    return "-" if pair is None else f"{pair[0]}+{pair[1]}"
