"""Causal scrubbing: may inputs that an account calls equal swap their activations?

At a site of answer column i (blocks.0.hook_attn_out or hook_resid_mid) each receiver's activation
is replaced by that of a donor in the same state of the account, and the answer's distribution is
compared with the untouched one (KL in nats, per example). Donors come from another cell (S, T, s)
(at attn_out: another (S, T)), so that no account is credited for swapping like with like; accounts
whose states are those cells swap within them, and receivers without a donor are left out and
counted. Against it: donors at random, which is also what random states of the same sizes give, and
no swap (KL 0). Finer states are easier, so their number stands beside the score.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from analyses.algorithm.hypotheses import HYPOTHESES, Fit, cell
from analyses.algorithm.local_answers import Contexts
from interp.anatomy import trace_column
from model.network import Network
from model.task import N_ANSWER, N_DIGITS, carries, digits, encode, query_position, uniform_pairs

SITES = ("attn_out", "resid_mid")
POPULATIONS = ("true prefix", "any prefix")
ACCOUNTS = ("no carry", "look-ahead", "carry bit", "place value", "lookup", "any f(S, T, s)")
RANDOM = "at random"


@dataclass(frozen=True)
class _Pool:
    """Inputs of one column with their activations and log-probabilities."""

    contexts: Contexts
    tokens: torch.Tensor
    attn_out: torch.Tensor
    log_p: torch.Tensor


def _pool(weights: Network, column: int, n: int, any_prefix: bool, seed: int) -> _Pool:
    generator = torch.Generator().manual_seed(1_000 * seed + 2 * column + any_prefix)
    a, b = uniform_pairs(n, generator)
    tokens = encode(a, b)
    if any_prefix:
        tokens[:, query_position(column)] = torch.randint(0, 10, (n,), generator=generator)
    total = (digits(a, N_ANSWER) + digits(b, N_ANSWER)).numpy()
    carry = carries(a, b)[0].numpy()
    trace = trace_column(weights, tokens, column)
    logits = trace["logits"]
    contexts = Contexts(
        column=np.full(n, column),
        S=total[:, column],
        T=total[:, column - 1],
        s=tokens[:, query_position(column)].numpy(),
        carry=carry[:, column],
        carry_below=carry[:, column - 1],
        chain=np.zeros(n, dtype=int),
        answer=logits.argmax(dim=1).numpy(),
        margin=np.zeros(n),
    )
    return _Pool(contexts, tokens, trace["attn_out"], logits.log_softmax(dim=1))


def choose_donors(
    state: np.ndarray, cells: np.ndarray, receivers: int, rng: np.random.Generator
) -> np.ndarray:
    """Choose for each of the first `receivers` inputs a donor of the same state and another cell.

    Where states are no coarser than cells, donors are other inputs of the same state.

    Returns:
        Indices of donors; -1 where there is none.
    """
    states, which = np.unique(state, return_inverse=True)
    places, where = np.unique(cells, return_inverse=True)
    nested = len(np.unique(which * len(places) + where)) == len(states)
    apart = np.arange(len(state)) if nested else cells
    order = rng.permutation(len(state))
    order = order[np.argsort(state[order], kind="stable")]
    starts = np.searchsorted(state[order], state[:receivers], side="left")
    sizes = np.searchsorted(state[order], state[:receivers], side="right") - starts
    donors = np.full(receivers, -1)
    for _ in range(30):
        open_ = np.flatnonzero(donors < 0)
        if not len(open_):
            break
        picked = order[starts[open_] + rng.integers(0, sizes[open_])]
        good = apart[picked] != apart[open_]
        donors[open_[good]] = picked[good]
    return donors


def _divergence(log_p: torch.Tensor, log_q: torch.Tensor) -> np.ndarray:
    return (log_p.exp() * (log_p - log_q)).sum(dim=1).clamp(min=0).numpy()


def scrub(
    weights: Network, fits: dict[str, Fit], *, receivers: int, pool: int, seed: int
) -> pd.DataFrame:
    """Scrub columns 1 to 9 at both sites under every account, on true and on arbitrary prefixes.

    Args:
        weights: The network.
        fits: Fitted accounts.
        receivers: Inputs per column whose activation is replaced.
        pool: Inputs per column from which donors come, receivers included.
        seed: For inputs and donors.

    Returns:
        One row per example: population, site, account, column, kl, flip (another answer), classes.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for population in POPULATIONS:
        for column in range(1, N_DIGITS):
            data = _pool(weights, column, pool, population == POPULATIONS[1], seed)
            c = data.contexts
            for site in SITES:
                mid = site == "resid_mid"
                cells = cell(c) if mid else HYPOTHESES["any f(S, T, s)"].attn(c)
                for name in (*ACCOUNTS, RANDOM):
                    if name == RANDOM:
                        state = np.zeros(len(c), dtype=int)
                    else:
                        account = HYPOTHESES[name]
                        state = account.mid(c, fits[name]) if mid else account.attn(c)
                    donors = choose_donors(state, cells, receivers, rng)
                    rows = np.flatnonzero(donors >= 0)
                    chosen = torch.from_numpy(donors[rows])
                    before = data.log_p[rows]
                    after = (
                        data.log_p[chosen]  # a column's logits are a function of resid_mid
                        if mid
                        else _with_attn_out(weights, data, rows, chosen, column)
                    )
                    parts.append(
                        pd.DataFrame(
                            {
                                "population": population,
                                "site": site,
                                "account": name,
                                "column": column,
                                "kl": _divergence(before, after),
                                "flip": (before.argmax(1) != after.argmax(1)).numpy(),
                                "classes": len(np.unique(state)),
                                "covered": len(rows) / receivers,
                            }
                        )
                    )
    return pd.concat(parts, ignore_index=True)


def _with_attn_out(
    weights: Network, data: _Pool, rows: np.ndarray, donors: torch.Tensor, column: int
) -> torch.Tensor:
    given = data.attn_out[donors]
    trace = trace_column(weights, data.tokens[rows], column, {"attn_out": lambda _: given})
    return trace["logits"].log_softmax(dim=1)


def summarise_scrubbing(examples: pd.DataFrame, draws: int, seed: int) -> pd.DataFrame:
    """Summarise KL and changed answers per account, with intervals and beside random donors.

    Intervals: percentile bootstrap over examples, 95 %.

    Returns:
        One row per population, site and account: mean, median and 90 % quantile of KL, interval of
        the mean, share of changed answers with interval, `kept`: 1 - mean KL / mean KL at random.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for keys, part in examples.groupby(["population", "site", "account"], sort=False):
        kl, flip = part["kl"].to_numpy(), part["flip"].to_numpy(float)
        resampled = rng.integers(0, len(kl), (draws, len(kl)))
        mean_low, mean_high = np.quantile(kl[resampled].mean(axis=1), [0.025, 0.975])
        flip_low, flip_high = np.quantile(flip[resampled].mean(axis=1), [0.025, 0.975])
        rows.append(
            dict(zip(("population", "site", "account"), keys, strict=True))
            | {
                "n": len(kl),
                "kl_mean": kl.mean(),
                "kl_mean_low": mean_low,
                "kl_mean_high": mean_high,
                "kl_median": np.median(kl),
                "kl_90": np.quantile(kl, 0.9),
                "flips": flip.mean(),
                "flips_low": flip_low,
                "flips_high": flip_high,
                "classes": part["classes"].mean(),
                "covered": part["covered"].mean(),
            }
        )
    table = pd.DataFrame(rows)
    random = table[table["account"] == RANDOM].set_index(["population", "site"])["kl_mean"]
    at_random = [float(random[key]) for key in zip(table["population"], table["site"], strict=True)]
    return table.assign(kept=1 - table["kl_mean"] / np.maximum(at_random, 1e-300))
