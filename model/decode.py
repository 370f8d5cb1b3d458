"""Greedy decoding, exact match and margins of a network, fast."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from model.adder import Adder
from model.decode_kernel import run_decoder
from model.dense import dense
from model.layouts import WRITE_UPS, Layout
from model.network import Network
from model.packing import supports
from model.tables import Tables, column_logits, tabulate

Decodable = Adder | Network | Tables
"""Anything that can be decoded: a model, its effective weights (edited or not), or its tables."""


@dataclass(frozen=True)
class Decoded:
    """What a network answered.

    Attributes:
        tokens: Argmax token of each step of the answer: step i is column i where the units come
            first, the end token is the last step.
        margin: Logit of the true token less the largest other logit, per step; negative where it
            is wrong. Each step saw the prefix that the decoding used.
        truth: The true tokens.
        layout: The task.
    """

    tokens: Int[Tensor, "batch steps"]
    margin: Float[Tensor, "batch steps"]
    truth: Int[Tensor, "batch steps"]
    layout: Layout = WRITE_UPS

    @property
    def sums(self) -> Int[Tensor, " batch"]:
        """The answers as numbers, -1 where one is no number."""
        return self.layout.decode(self.tokens)

    @property
    def wrong(self) -> Bool[Tensor, "batch steps"]:
        """Which steps differ from the truth."""
        return self.tokens != self.truth

    @property
    def exact(self) -> Bool[Tensor, " batch"]:
        """Which answers have all digits right (an end token apart)."""
        return ~self.wrong[:, : self.layout.n_answer].any(dim=1)


def tables_of(network: Decodable, dtype: torch.dtype = torch.float64) -> Tables:
    """Tabulate any network in `dtype`."""
    if isinstance(network, Tables):
        return network
    return tabulate(dense(network, dtype) if isinstance(network, Adder) else network.to(dtype))


def decode(
    network: Decodable,
    a: Int[Tensor, " batch"],
    b: Int[Tensor, " batch"],
    *,
    prefix: Int[Tensor, "batch fed"] | None = None,
) -> Decoded:
    """Decode sums greedily, or under a given prefix, with the fused float32 kernel.

    Networks too wide for the kernel take `decode_exactly`.

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
    layout = tables.layout
    return _run(tables, a, b, layout.encode(a, b)[:, layout.n_prompt :], prefix)


def _run(tables: Tables, a: Tensor, b: Tensor, truth: Tensor, prefix: Tensor | None) -> Decoded:
    fed = None if prefix is None else prefix.numpy()
    tokens, margin = run_decoder(tables, a.numpy(), b.numpy(), fed)
    answer = torch.from_numpy(tokens.T).long()
    return Decoded(answer, torch.from_numpy(margin.T), truth, tables.layout)


def decode_exactly(
    network: Decodable,
    a: Int[Tensor, " batch"],
    b: Int[Tensor, " batch"],
    *,
    prefix: Int[Tensor, "batch fed"] | None = None,
    chunk: int | None = None,
) -> Decoded:
    """Decode like `decode`, in float64 and plain PyTorch: the reference, some 50 times slower.

    Args:
        network: Model, effective weights or tables (these in their own type).
        a: First operands.
        b: Second operands.
        prefix: Answer tokens to feed back.
        chunk: How many pairs are worked on at a time; by default 8,192, fewer where that would
            take over half a gigabyte.

    Returns:
        Tokens and margins (rounded to float32), one row a pair.

    Raises:
        InputError: An operand is out of range.
    """
    tables = tables_of(network)
    layout = tables.layout
    truth, n_prompt = layout.encode(a, b), layout.n_prompt
    if chunk is None:
        numbers = layout.n_input * (2 * tables.k.shape[-1] + 2 * tables.ov.shape[-1])
        chunk = max(1, min(8192, 2**26 // numbers))
    tokens, margin = [], []
    for start in range(0, max(1, a.shape[0]), chunk):
        part = truth[start : start + chunk]
        fed = part.clone()
        if prefix is not None:
            fed[:, n_prompt:-1] = prefix[start : start + chunk]
        answer = torch.empty_like(part[:, n_prompt:])
        margins = torch.empty(answer.shape, dtype=tables.x.dtype)
        for step in range(layout.n_target):
            logits = column_logits(tables, fed, step)
            answer[:, step] = logits.argmax(dim=1)
            target = part[:, n_prompt + step, None]
            true_logit = logits.gather(1, target)[:, 0]
            best_other = logits.scatter(1, target, float("-inf")).max(dim=1).values
            margins[:, step] = true_logit - best_other
            if prefix is None and step < layout.n_target - 1:
                fed[:, n_prompt + step] = answer[:, step]
        tokens.append(answer)
        margin.append(margins)
    return Decoded(torch.cat(tokens), torch.cat(margin).float(), truth[:, n_prompt:], layout)


def teacher_forced(
    network: Decodable, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]
) -> Decoded:
    """Decode with the true prefix at every step, so that each step is judged alone."""
    tables = tables_of(network)
    layout = tables.layout
    truth = layout.encode(a, b)[:, layout.n_prompt :]
    if not supports(tables):
        return decode_exactly(tables, a, b, prefix=truth[:, :-1])
    return _run(tables, a, b, truth, truth[:, :-1])


def count_errors(network: Decodable, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]) -> int:
    """Count the pairs whose digits greedy decoding gets wrong, as fast as the kernel goes."""
    tables = tables_of(network)
    if not supports(tables):
        return int((~decode_exactly(tables, a, b).exact).sum())
    _, margin = run_decoder(tables, a.numpy(), b.numpy())
    return int((margin[: tables.layout.n_answer] <= 0).any(axis=0).sum())
