"""Greedy decoding, exact match and margins of a network, fast."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from model.adder import Adder
from model.decode_kernel import run_decoder, supports
from model.dense import Dense, dense
from model.tables import Tables, column_logits, tabulate
from model.task import N_ANSWER, N_PROMPT, N_TARGET, decode_sum, encode

Network = Adder | Dense | Tables
"""Anything that can be decoded: a model, its effective weights (edited or not), or its tables."""


@dataclass(frozen=True)
class Decoded:
    """What a network answered.

    Attributes:
        tokens: Argmax token of each answer column; column 11 is EOS.
        margin: Logit of the true token less the largest other logit, per column; negative where
            the column is wrong. Each column saw the prefix that the decoding used.
        truth: The true tokens.
    """

    tokens: Int[Tensor, "batch 12"]
    margin: Float[Tensor, "batch 12"]
    truth: Int[Tensor, "batch 12"]

    @property
    def sums(self) -> Int[Tensor, " batch"]:
        """The answers as numbers, -1 where one is no number."""
        return decode_sum(self.tokens[:, :N_ANSWER])

    @property
    def wrong(self) -> Bool[Tensor, "batch 12"]:
        """Which columns differ from the truth."""
        return self.tokens != self.truth

    @property
    def exact(self) -> Bool[Tensor, " batch"]:
        """Which answers have all 11 digits right (EOS apart)."""
        return ~self.wrong[:, :N_ANSWER].any(dim=1)


def tables_of(network: Network, dtype: torch.dtype = torch.float64) -> Tables:
    """Tabulate any network in `dtype`."""
    if isinstance(network, Tables):
        return network
    return tabulate(dense(network, dtype) if isinstance(network, Adder) else network.to(dtype))


def decode(
    network: Network,
    a: Int[Tensor, " batch"],
    b: Int[Tensor, " batch"],
    *,
    prefix: Int[Tensor, "batch 11"] | None = None,
) -> Decoded:
    """Decode sums greedily, or under a given prefix, with the fused float32 kernel.

    Networks too wide for the kernel (d_model over 16 or d_ff over 64) take `decode_exactly`.

    Args:
        network: Model, effective weights or tables.
        a: First operands.
        b: Second operands.
        prefix: Answer tokens that are fed back instead of the network's own: the true digits for
            teacher forcing, others for counterfactual prefixes.

    Returns:
        Tokens and margins, one row a pair.

    Raises:
        InputError: An operand is out of range.
    """
    tables = tables_of(network)
    if not supports(tables):
        return decode_exactly(tables, a, b, prefix=prefix)
    return _run(tables, a, b, encode(a, b)[:, N_PROMPT:], prefix)


def _run(tables: Tables, a: Tensor, b: Tensor, truth: Tensor, prefix: Tensor | None) -> Decoded:
    fed = None if prefix is None else prefix.numpy()
    tokens, margin = run_decoder(tables, a.numpy(), b.numpy(), fed)
    return Decoded(torch.from_numpy(tokens.T).long(), torch.from_numpy(margin.T), truth)


def decode_exactly(
    network: Network,
    a: Int[Tensor, " batch"],
    b: Int[Tensor, " batch"],
    *,
    prefix: Int[Tensor, "batch 11"] | None = None,
    chunk: int = 8192,
) -> Decoded:
    """Decode like `decode`, in float64 and plain PyTorch: the reference, some 50 times slower.

    Args:
        network: Model, effective weights or tables (these in their own type).
        a: First operands.
        b: Second operands.
        prefix: Answer tokens to feed back.
        chunk: How many pairs are worked on at a time.

    Returns:
        Tokens and margins (rounded to float32), one row a pair.

    Raises:
        InputError: An operand is out of range.
    """
    tables = tables_of(network)
    truth = encode(a, b)
    tokens, margin = [], []
    for start in range(0, max(1, a.shape[0]), chunk):
        part = truth[start : start + chunk]
        fed = part.clone()
        if prefix is not None:
            fed[:, N_PROMPT:-1] = prefix[start : start + chunk]
        answer = torch.empty_like(part[:, N_PROMPT:])
        margins = torch.empty(answer.shape, dtype=tables.x.dtype)
        for column in range(N_TARGET):
            logits = column_logits(tables, fed, column)
            answer[:, column] = logits.argmax(dim=1)
            target = part[:, N_PROMPT + column, None]
            true_logit = logits.gather(1, target)[:, 0]
            best_other = logits.scatter(1, target, float("-inf")).max(dim=1).values
            margins[:, column] = true_logit - best_other
            if prefix is None and column < N_ANSWER:
                fed[:, N_PROMPT + column] = answer[:, column]
        tokens.append(answer)
        margin.append(margins)
    return Decoded(torch.cat(tokens), torch.cat(margin).float(), truth[:, N_PROMPT:])


def teacher_forced(network: Network, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]) -> Decoded:
    """Decode with the true prefix in every column, so that each column is judged alone."""
    tables, truth = tables_of(network), encode(a, b)[:, N_PROMPT:]
    if not supports(tables):
        return decode_exactly(tables, a, b, prefix=truth[:, :-1])
    return _run(tables, a, b, truth, truth[:, :-1])


def count_errors(network: Network, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]) -> int:
    """Count the pairs that greedy decoding gets wrong (11 digits), as fast as the kernel goes."""
    tables = tables_of(network)
    if not supports(tables):
        return int((~decode_exactly(tables, a, b).exact).sum())
    _, margin = run_decoder(tables, a.numpy(), b.numpy())
    return int((margin[:N_ANSWER] <= 0).any(axis=0).sum())
