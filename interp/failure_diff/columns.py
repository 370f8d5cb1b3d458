"""The column table of one sum: digits, carries, the answer, and where it first goes wrong."""

from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.anatomy import trace_column
from model.network import Network
from model.task import (
    N_ANSWER,
    N_DIGITS,
    N_PROMPT,
    N_TARGET,
    STATE_NAMES,
    TOKENS,
    carries,
    chain_length,
    column_state,
    digits,
    encode,
)


@dataclass(frozen=True)
class Focus:
    """The column that the comparison is about.

    Attributes:
        column: The first wrong column of the greedy answer; the thinnest one if all 11 are right.
        true: The true token there.
        rival: The predicted token where it is wrong, the runner-up where it is right.
        gap: Logit of the rival less the true one, on the true prefix: positive where it is wrong.
        wrong: Whether the model answers this column wrongly.
    """

    column: int
    true: int
    rival: int
    gap: float
    wrong: bool


def all_logits(
    weights: Network, tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch 12 vocab"]:
    """Compute the logits of all 12 answer columns on a given prefix, in the weights' type."""
    columns = [trace_column(weights, tokens, c)["logits"] for c in range(N_TARGET)]
    return torch.stack(columns, dim=1)


def greedy_tokens(weights: Network, prompt: Int[Tensor, "batch 34"]) -> Int[Tensor, "batch 34"]:
    """Decode greedily: replace the 12 target tokens by the network's own, left to right."""
    tokens = prompt.clone()
    for column in range(N_TARGET):
        logits = trace_column(weights, tokens, column)["logits"]
        tokens[:, N_PROMPT + column] = logits.argmax(dim=1)
    return tokens


def column_table(weights: Network, a: int, b: int) -> pd.DataFrame:
    """Tabulate one sum column by column, units first, EOS last.

    Columns 10 and 11 have no operand digits (-1) and no state. `forced_*` is on the true prefix,
    `greedy_*` on the model's own: after the first error the two part. Margins are the true logit
    less the largest other one; `*_runner_up` is that other token.

    Returns:
        One row a column: column, a, b, sum, carry_in, carry_out, state, chain_length, true, then
        predicted, margin and runner_up of both kinds, and first_error.
    """
    first, second = torch.tensor([a]), torch.tensor([b])
    tokens = encode(first, second)
    greedy = greedy_tokens(weights, tokens)
    truth = tokens[0, N_PROMPT:]
    carry_in, carry_out = (x[0].tolist() for x in carries(first, second))
    state, chain = column_state(first, second)[0].tolist(), chain_length(first, second)[0].tolist()
    da, db = digits(first)[0].tolist(), digits(second)[0].tolist()
    columns: dict[str, list] = {
        "column": list(range(N_TARGET)),
        "a": [*da, -1, -1],
        "b": [*db, -1, -1],
        "sum": [*(x + y for x, y in zip(da, db, strict=True)), -1, -1],
        "carry_in": [*carry_in, 0],
        "carry_out": [*carry_out, 0],
        "state": [*(STATE_NAMES[s] for s in state), "-", "-"],
        "chain_length": [*chain, 0],
        "true": [TOKENS[t] for t in truth.tolist()],
    }
    for kind, fed in (("forced", tokens), ("greedy", greedy)):
        logits = all_logits(weights, fed)[0]
        rivals = logits.scatter(1, truth[:, None], float("-inf")).max(dim=1)
        true_logit = logits.gather(1, truth[:, None])[:, 0]
        columns[f"{kind}_predicted"] = [TOKENS[t] for t in logits.argmax(dim=1).tolist()]
        columns[f"{kind}_margin"] = (true_logit - rivals.values).tolist()
        columns[f"{kind}_runner_up"] = [TOKENS[t] for t in rivals.indices.tolist()]
    table = pd.DataFrame(columns)
    wrong = (table["greedy_predicted"] != table["true"]) & (table["column"] < N_ANSWER)
    table["first_error"] = wrong & (wrong.cumsum() == 1)
    return table


def find_focus(table: pd.DataFrame) -> Focus:
    """Choose the column to explain: the first error, or the thinnest of the 11 digit columns.

    Up to the first error the greedy prefix is the true one, so both kinds of margin agree there.
    """
    error = table["first_error"].to_numpy()
    wrong = bool(error.any())
    margins = table["forced_margin"].to_numpy()[:N_ANSWER]
    row = table.iloc[int(error.argmax() if wrong else margins.argmin())]
    return Focus(
        column=int(row["column"]),
        true=TOKENS.index(row["true"]),
        rival=TOKENS.index(row["forced_runner_up"]),
        gap=-float(row["forced_margin"]),
        wrong=wrong,
    )


def is_carry_error(focus: Focus, carry_in: int) -> bool:
    """Say whether the rival is what the column would be with its carry inverted."""
    step = (focus.rival - focus.true) % 10
    return focus.column > 0 and focus.rival < 10 and step == (9 if carry_in else 1)


def greedy_sum(table: pd.DataFrame) -> int:
    """Read the model's greedy answer as a number; -1 where a token is no digit."""
    tokens = table["greedy_predicted"].tolist()[:N_ANSWER]
    return (
        int("".join(reversed(tokens))) if all(len(t) == 1 and t.isdigit() for t in tokens) else -1
    )


def column_sum_text(table: pd.DataFrame, column: int) -> str:
    """Write one column's addition, such as "0 + 9 + carry 0 = 9"."""
    row = table.loc[column]
    if column >= N_DIGITS:
        return f"carry {row['carry_in']}"
    return f"{row['a']} + {row['b']} + carry {row['carry_in']} = {row['sum'] + row['carry_in']}"
