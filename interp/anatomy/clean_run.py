"""The intact network's activations under the true digits: what ablations replace parts with.

Question: what does each matrix read in the intact network, on average, per class, per example?

Method: one pass over reference sums with the true answer fed back, in float64, keeping what W_O,
W_in, W_out and the head read at every step of the answer, and the scales of the norms. Everything
before the softmax is a table over (position, token) and needs no pass.
"""

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.columns import digits
from model.layouts import Layout
from model.network import Network, split_heads
from model.tables import Tables, tabulate
from model.task import Pairs

N_CLASSES = 19
"""Digit sums a_i + b_i of decimal digits."""
CHUNK = 4096


@dataclass(frozen=True)
class CleanRun:
    """Activations of a folded network on some sums, teacher-forced.

    Attributes:
        layout: The task.
        pairs: The sums.
        tokens: Their prompts and answers.
        attended: Normed source activations averaged with each head's attention weights: what its
            W_OV reads.
        h_mid: What W_in (and W_gate) read.
        post: What W_out reads, after the nonlinear function.
        h_final: What the head reads, after gain and bias.
        scale2: Scale of the second norm.
        scale_final: Scale of the last norm.
        logits: Logits of every step of the answer.
    """

    layout: Layout
    pairs: Pairs
    tokens: Int[Tensor, "batch length"]
    attended: Float[Tensor, "batch step head d"]
    h_mid: Float[Tensor, "batch step d"]
    post: Float[Tensor, "batch step ff"]
    h_final: Float[Tensor, "batch step d"]
    scale2: Float[Tensor, "batch step"]
    scale_final: Float[Tensor, "batch step"]
    logits: Float[Tensor, "batch step vocab"]

    @functools.cached_property
    def log_probabilities(self) -> Float[Tensor, "batch step vocab"]:
        """Log-probabilities of every step."""
        return self.logits.log_softmax(dim=-1)

    @functools.cached_property
    def probabilities(self) -> Float[Tensor, "batch step vocab"]:
        """Probabilities of every step."""
        return self.log_probabilities.exp()

    @functools.cached_property
    def digit_sum(self) -> Int[Tensor, "batch column"]:
        """The digit sum a_i + b_i of every column of the answer; 0 in the last, which has none."""
        layout, (a, b) = self.layout, self.pairs
        total = digits(a, layout.width, layout.base) + digits(b, layout.width, layout.base)
        return torch.nn.functional.pad(total, (0, 1))

    @functools.cached_property
    def column_class(self) -> Int[Tensor, "batch step"]:
        """The digit sum of the column that each step decodes; 0 where there are no digits."""
        layout = self.layout
        total = torch.nn.functional.pad(self.digit_sum, (0, layout.n_target - layout.n_answer))
        return total[:, [layout.step(step) for step in range(layout.n_target)]]

    @functools.cached_property
    def source_class(self) -> Int[Tensor, "batch pos"]:
        """The digit sum of the column that a source's digit belongs to; 0 at separators."""
        layout = self.layout
        out = torch.zeros(self.tokens.shape[0], layout.n_input, dtype=torch.int64)
        for column in range(layout.n_answer):
            places = [layout.sum_position(column)]
            if column < layout.width:
                places += [layout.a_position(column), layout.b_position(column)]
            places = [place for place in places if place < layout.n_input]
            out[:, places] = self.digit_sum[:, column, None]
        return out


def n_classes(layout: Layout) -> int:
    """Count the digit sums that a column can have."""
    return 2 * layout.base - 1


def normed_sources(
    folded: Network, scale_of: Network | None = None
) -> Float[Tensor, "pos vocab d"]:
    """Tabulate what the attention reads at each (position, token).

    Args:
        folded: The network, gains of the first norm folded away.
        scale_of: Take the scale of the norm from this network instead (a frozen norm).
    """
    n = folded.layout.n_input
    resid = folded.stream()[:n]
    if scale_of is None or folded.norm == "none":
        return folded.normalise(resid, "ln1")
    original = scale_of.stream()[:n]
    if folded.norm == "layer":
        resid = resid - resid.mean(dim=-1, keepdim=True)
    return resid / norm_scale(original, folded)[..., None] * folded.ln1_w + folded.ln1_b


def norm_scale(x: Float[Tensor, "... d"], weights: Network) -> Float[Tensor, "..."]:
    """Compute what a norm divides by."""
    if weights.norm == "none":
        return torch.ones_like(x[..., 0])
    if weights.norm == "layer":
        x = x - x.mean(dim=-1, keepdim=True)
    return torch.sqrt(x.pow(2).mean(dim=-1) + weights.eps)


def attend(
    tables: Tables,
    tokens: Int[Tensor, "batch length"],
    values: Float[Tensor, "pos vocab value"],
    edges: Float[Tensor, "step pos"] | None = None,
) -> Float[Tensor, "batch step head value"]:
    """Average `values` of the sources with each head's attention weights.

    Args:
        tables: The network.
        tokens: Prompts and answers.
        values: What stands at each (position, token).
        edges: Factor on the weight of every edge; None for one.
    """
    layout, n = tables.layout, tables.n_heads
    out = values.new_empty(tokens.shape[0], layout.n_target, n, values.shape[-1])
    places = torch.arange(layout.n_input)
    for start in range(0, tokens.shape[0], CHUNK):
        part = tokens[start : start + CHUNK, : layout.n_input]
        keys, content = split_heads(tables.k[places, part], n), values[places, part]
        for step in range(layout.n_target):
            length = layout.n_prompt + step
            query = split_heads(tables.q[step, part[:, length - 1]], n)
            for head in range(n):
                scores = (keys[:, :length, head] @ query[:, head, :, None])[:, :, 0]
                pattern = scores.softmax(dim=1)
                if edges is not None:
                    pattern = pattern * edges[step, :length]
                mean = (pattern[:, None] @ content[:, :length])[:, 0]
                out[start : start + CHUNK, step, head] = mean
    return out


def mixed_values(folded: Network, run: CleanRun, head: int) -> Float[Tensor, "batch step v"]:
    """Compute what a head's W_O reads."""
    kv = folded.kv_head(head)
    return run.attended[:, :, head] @ folded.W_V[kv] + folded.b_V[kv]


def clean_run(folded: Network, pairs: Pairs) -> CleanRun:
    """Run a folded network on sums with the true digits fed back."""
    layout = folded.layout
    tokens = layout.encode(*pairs)
    tables = tabulate(folded)
    attended = attend(tables, tokens, normed_sources(folded))
    first = layout.n_prompt - 1
    queries = tokens[:, first : layout.n_input]
    resid = tables.x[torch.arange(layout.n_target), queries] + folded.b_O
    for head in range(folded.n_heads):
        kv = folded.kv_head(head)
        mixed = attended[:, :, head] @ folded.W_V[kv] + folded.b_V[kv]
        resid = resid + mixed @ folded.W_O[head]
    scale2 = norm_scale(resid, folded)
    h_mid = folded.normalise(resid, "ln2")
    post = folded.units(h_mid)
    resid = resid + post @ folded.W_out + folded.b_out
    h_final = folded.normalise(resid, "ln_final")
    return CleanRun(
        layout=layout,
        pairs=pairs,
        tokens=tokens,
        attended=attended,
        h_mid=h_mid,
        post=post,
        h_final=h_final,
        scale2=scale2,
        scale_final=norm_scale(resid, folded),
        logits=h_final @ folded.W_U + folded.b_U,
    )


def source_covariance(folded: Network, run: CleanRun) -> Float[Tensor, "d d"]:
    """Covariance of the normed sources over positions and examples."""
    return covariance(_normed(folded, run))


def query_covariance(folded: Network, run: CleanRun) -> Float[Tensor, "d d"]:
    """Covariance of the normed queries over steps and examples."""
    return covariance(_normed(folded, run)[:, run.layout.n_prompt - 1 :])


def covariance(x: Float[Tensor, "... m"]) -> Float[Tensor, "m m"]:
    """Covariance of the last axis over all others."""
    return torch.cov(x.reshape(-1, x.shape[-1]).T, correction=0).reshape(x.shape[-1], x.shape[-1])


def position_means(
    table: Float[Tensor, "place vocab *w"], tokens: Int[Tensor, "batch place"]
) -> Float[Tensor, "place 1 *w"]:
    """Average a table over the tokens seen at each place."""
    return torch.stack([row[tokens[:, i]].mean(dim=0) for i, row in enumerate(table)])[:, None]


def class_means(
    values: Float[Tensor, "place batch w"], classes: Int[Tensor, "batch place"], n: int
) -> Float[Tensor, "place class w"]:
    """Average values per place and class 0 to n - 1; a class not seen gets the place's mean."""
    places, _, width = values.shape
    means = values.mean(dim=1, keepdim=True).repeat(1, n, 1)
    for place in range(places):
        total = values.new_zeros(n, width).index_add_(0, classes[:, place], values[place])
        count = torch.bincount(classes[:, place], minlength=n)[:, None]
        means[place] = torch.where(count > 0, total / count.clamp(min=1), means[place])
    return means


def _normed(folded: Network, run: CleanRun) -> Float[Tensor, "batch pos d"]:
    n = run.layout.n_input
    return normed_sources(folded)[torch.arange(n), run.tokens[:, :n]]
