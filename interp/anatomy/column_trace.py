"""One answer column of a network: every activation by name, and edits of them for patching.

A single layer makes a column's logits a function of the residual stream before the layer at its
sources and at its query; nothing later is read. So one column is traced alone, in the weights' own
type, and an edit at a site recomputes everything below it.
"""

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.network import Network
from model.task import query_position

SOURCE_SITES = ("resid_pre", "k", "v", "attn_scores", "pattern")
"""Sites with one entry per source position; the last source is the query's own position."""

QUERY_SITES = (
    "skip",
    "q",
    "z",
    "attn_out",
    "resid_mid",
    "pre",
    "post",
    "mlp_out",
    "skip_mid",
    "resid_post",
    "final",
    "logits",
)
"""Sites at the query position; `skip` and `skip_mid` are resid_pre and resid_mid there as the two
residual sums read them, so that a path around a layer can be edited apart from the one into it."""

Trace = dict[str, Tensor]
"""Activations of one column by site, in the order of the computation."""

Edits = Mapping[str, Callable[[Tensor], Tensor]]
"""What to do with the activation of a site before anything below reads it."""

_NO_EDITS: Edits = {}


def trace_column(
    weights: Network, tokens: Int[Tensor, "batch pos"], column: int, edits: Edits = _NO_EDITS
) -> Trace:
    """Compute one answer column with all its activations.

    Site names are TransformerLens', without their prefixes; `resid_pre` has every source, and an
    edit there reaches keys, values, the query and the skip path alike.

    Args:
        weights: The network.
        tokens: Token ids with the prefix to be used, at least 22 + column positions.
        column: Answer column, 0 (units) to 11 (EOS).
        edits: Functions by site; each gets the activation and returns its replacement.

    Returns:
        The activations: source sites are (batch, source[, d]), query sites (batch, width).
    """
    found: Trace = {}

    def site(name: str, value: Tensor) -> Tensor:
        found[name] = edits[name](value) if name in edits else value
        return found[name]

    length = query_position(column) + 1
    x = site("resid_pre", weights.W_E[tokens[:, :length]] + weights.W_pos[:length])
    h = weights.normalise(x, "ln1")
    q = site("q", h[:, -1] @ weights.W_Q[0])
    k = site("k", h @ weights.W_K[0])
    v = site("v", h @ weights.W_V[0])
    scores = torch.einsum("bd,bjd->bj", q, k) / math.sqrt(q.shape[-1])
    pattern = site("pattern", site("attn_scores", scores).softmax(dim=-1))
    z = site("z", torch.einsum("bj,bjd->bd", pattern, v))
    attn_out = site("attn_out", z @ weights.W_O[0])
    resid_mid = site("resid_mid", site("skip", x[:, -1]) + attn_out)
    pre = site("pre", weights.normalise(resid_mid, "ln2") @ weights.W_in)
    post = site("post", torch.nn.functional.gelu(pre))
    mlp_out = site("mlp_out", post @ weights.W_out)
    resid_post = site("resid_post", site("skip_mid", resid_mid) + mlp_out)
    final = site("final", weights.normalise(resid_post, "ln_final"))
    site("logits", final @ weights.W_U)
    return found


def logit_gap(
    logits: Float[Tensor, "batch vocab"], rival: int, true: int
) -> Float[Tensor, " batch"]:
    """Subtract the true token's logit from the rival's: positive where the rival wins."""
    return logits[:, rival] - logits[:, true]
