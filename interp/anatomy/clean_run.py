"""The intact network's activations under the true digits: what ablations replace parts with.

Question: what does each matrix read in the intact network, on average, per class, per example?

Method: one pass over reference sums with the true answer fed back, in float64, keeping what W_O,
W_in, W_out and the head read at the 12 answer columns, and the scales of the norms. Everything
before the softmax is a table over (position, token) and needs no pass.
"""

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.network import Network
from model.tables import Tables, tabulate
from model.task import (
    N_DIGITS,
    N_INPUT,
    N_PROMPT,
    N_TARGET,
    Pairs,
    a_position,
    b_position,
    digits,
    encode,
    query_position,
)

FIRST = query_position(0)
N_CLASSES = 19
CHUNK = 4096


@dataclass(frozen=True)
class CleanRun:
    """Activations of a folded network on some sums, teacher-forced.

    Attributes:
        pairs: The sums.
        tokens: Their prompts and answers.
        attended: Normed source activations averaged with the attention weights: what W_OV reads.
        h_mid: What W_in reads.
        post: What W_out reads, after the GELU.
        h_final: What the head reads, after gain and bias.
        scale2: Scale of the second norm.
        scale_final: Scale of the last norm.
        logits: Logits of every column.
    """

    pairs: Pairs
    tokens: Int[Tensor, "batch 34"]
    attended: Float[Tensor, "batch column d"]
    h_mid: Float[Tensor, "batch column d"]
    post: Float[Tensor, "batch column ff"]
    h_final: Float[Tensor, "batch column d"]
    scale2: Float[Tensor, "batch column"]
    scale_final: Float[Tensor, "batch column"]
    logits: Float[Tensor, "batch column vocab"]

    @functools.cached_property
    def log_probabilities(self) -> Float[Tensor, "batch column vocab"]:
        """Log-probabilities of every column."""
        return self.logits.log_softmax(dim=-1)

    @functools.cached_property
    def probabilities(self) -> Float[Tensor, "batch column vocab"]:
        """Probabilities of every column."""
        return self.log_probabilities.exp()

    @functools.cached_property
    def column_class(self) -> Int[Tensor, "batch column"]:
        """The digit sum a_i + b_i of each answer column (0 to 18; 0 where there are no digits)."""
        a, b = self.pairs
        return digits(a, N_TARGET) + digits(b, N_TARGET)

    @functools.cached_property
    def source_class(self) -> Int[Tensor, "batch pos"]:
        """The digit sum of the column that a source position's digit belongs to (0 at + and =)."""
        out = torch.zeros(self.tokens.shape[0], N_INPUT, dtype=torch.int64)
        for column in range(N_TARGET - 1):
            places = [N_PROMPT + column]
            if column < N_DIGITS:
                places += [a_position(column), b_position(column)]
            out[:, places] = self.column_class[:, column, None]
        return out


def normed_sources(
    folded: Network, scale_of: Network | None = None
) -> Float[Tensor, "pos vocab d"]:
    """Tabulate what the attention reads at each (position, token).

    Args:
        folded: The network, gains of the first norm folded away.
        scale_of: Take the scale of the norm from this network instead (a frozen norm).
    """
    resid = folded.W_E + folded.W_pos[:N_INPUT, None, :]
    if scale_of is None:
        return folded.normalise(resid, "ln1")
    original = scale_of.W_E + scale_of.W_pos[:N_INPUT, None, :]
    if folded.norm == "layer":
        resid = resid - resid.mean(dim=-1, keepdim=True)
    return resid / norm_scale(original, folded)[..., None] * folded.ln1_w + folded.ln1_b


def norm_scale(x: Float[Tensor, "... d"], weights: Network) -> Float[Tensor, "..."]:
    """Compute what a norm divides by."""
    if weights.norm == "layer":
        x = x - x.mean(dim=-1, keepdim=True)
    return torch.sqrt(x.pow(2).mean(dim=-1) + weights.eps)


def attend(
    tables: Tables,
    tokens: Int[Tensor, "batch 34"],
    values: Float[Tensor, "pos vocab value"],
    edges: Float[Tensor, "column pos"] | None = None,
) -> Float[Tensor, "batch column value"]:
    """Average `values` of the sources with the attention weights, optionally times `edges`."""
    out = values.new_empty(tokens.shape[0], N_TARGET, values.shape[-1])
    places = torch.arange(N_INPUT)
    for start in range(0, tokens.shape[0], CHUNK):
        part = tokens[start : start + CHUNK, :N_INPUT]
        keys, content = tables.k[places, part], values[places, part]
        for column in range(N_TARGET):
            length = FIRST + column + 1
            query = tables.q[column, part[:, length - 1]]
            pattern = (keys[:, :length] @ query[:, :, None])[:, :, 0].softmax(dim=1)
            if edges is not None:
                pattern = pattern * edges[column, :length]
            out[start : start + CHUNK, column] = (pattern[:, None] @ content[:, :length])[:, 0]
    return out


def clean_run(folded: Network, pairs: Pairs) -> CleanRun:
    """Run a folded network on sums with the true digits fed back."""
    tokens = encode(*pairs)
    tables = tabulate(folded)
    attended = attend(tables, tokens, normed_sources(folded))
    queries = tokens[:, FIRST : FIRST + N_TARGET]
    resid = tables.x[torch.arange(N_TARGET), queries] + attended @ folded.W_V[0] @ folded.W_O[0]
    scale2 = norm_scale(resid, folded)
    h_mid = folded.normalise(resid, "ln2")
    post = torch.nn.functional.gelu(h_mid @ folded.W_in)
    resid = resid + post @ folded.W_out
    h_final = folded.normalise(resid, "ln_final")
    return CleanRun(
        pairs=pairs,
        tokens=tokens,
        attended=attended,
        h_mid=h_mid,
        post=post,
        h_final=h_final,
        scale2=scale2,
        scale_final=norm_scale(resid, folded),
        logits=h_final @ folded.W_U,
    )


def source_covariance(folded: Network, run: CleanRun) -> Float[Tensor, "d d"]:
    """Covariance of the normed sources over positions and examples."""
    h = normed_sources(folded)[torch.arange(N_INPUT), run.tokens[:, :N_INPUT]]
    return covariance(h)


def query_covariance(folded: Network, run: CleanRun) -> Float[Tensor, "d d"]:
    """Covariance of the normed queries over columns and examples."""
    h = normed_sources(folded)[torch.arange(N_INPUT), run.tokens[:, :N_INPUT]]
    return covariance(h[:, FIRST:])


def covariance(x: Float[Tensor, "... m"]) -> Float[Tensor, "m m"]:
    """Covariance of the last axis over all others."""
    return torch.cov(x.reshape(-1, x.shape[-1]).T, correction=0)


def position_means(
    table: Float[Tensor, "place vocab w"], tokens: Int[Tensor, "batch place"]
) -> Float[Tensor, "place 1 w"]:
    """Average a table over the tokens seen at each place."""
    return torch.stack([row[tokens[:, i]].mean(dim=0) for i, row in enumerate(table)])[:, None]


def class_means(
    values: Float[Tensor, "place batch w"], classes: Int[Tensor, "batch place"]
) -> Float[Tensor, "place 19 w"]:
    """Average values per place and class; classes that were not seen get the place's mean."""
    places, _, width = values.shape
    means = values.mean(dim=1, keepdim=True).repeat(1, N_CLASSES, 1)
    for place in range(places):
        total = values.new_zeros(N_CLASSES, width).index_add_(0, classes[:, place], values[place])
        count = torch.bincount(classes[:, place], minlength=N_CLASSES)[:, None]
        means[place] = torch.where(count > 0, total / count.clamp(min=1), means[place])
    return means
