"""Everything before the softmax as finite tables: one layer sees only (position, token)."""

import dataclasses
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from model.dense import Dense
from model.task import N_INPUT, N_TARGET, query_position


@dataclass(frozen=True, kw_only=True)
class Tables:
    """A one-layer network as lookup tables and the small maps that follow attention.

    Attention of answer column c at position 21 + c over sources j <= 21 + c is
    softmax_j(q[c, t] . k[j, t_j]) applied to ov[j, t_j], where t is the query's token. Biases per
    column are zero in a plain network; ablations use them.

    Attributes:
        x: Residual stream before the layer at the 12 query positions.
        q: Queries, divided by sqrt(d_head).
        k: Keys.
        ov: Values times W_O.
        attn_bias: Added to the residual stream after attention, per column.
        ln2_w: Gain of the second norm; ln2_b its bias.
        W_in: Feed-forward reading matrix; b_in its bias per column.
        W_out: Feed-forward writing matrix; b_out its bias per column.
        ln_final_w: Gain of the last norm; ln_final_b its bias.
        W_U: Unembedding.
        centre: Whether norms subtract the mean (LayerNorm).
        eps: Constant under the root of the norms.
    """

    x: Float[Tensor, "column vocab d"]
    q: Float[Tensor, "column vocab d"]
    k: Float[Tensor, "pos vocab d"]
    ov: Float[Tensor, "pos vocab d"]
    attn_bias: Float[Tensor, "column d"]
    ln2_w: Float[Tensor, " d"]
    ln2_b: Float[Tensor, " d"]
    W_in: Float[Tensor, "d ff"]
    b_in: Float[Tensor, "column ff"]
    W_out: Float[Tensor, "ff d"]
    b_out: Float[Tensor, "column d"]
    ln_final_w: Float[Tensor, " d"]
    ln_final_b: Float[Tensor, " d"]
    W_U: Float[Tensor, "d vocab"]
    centre: bool
    eps: float

    def edit(self, **tensors: Tensor) -> "Tables":
        """Return a copy with the named tables replaced."""
        return dataclasses.replace(self, **tensors)


def tabulate(weights: Dense) -> Tables:
    """Tabulate a network over the 33 positions and 14 tokens, in the weights' type."""
    resid = weights.W_E + weights.W_pos[:N_INPUT, None, :]
    h = weights.normalise(resid, "ln1")
    first = query_position(0)
    d, d_ff = weights.W_in.shape
    return Tables(
        x=resid[first:],
        q=h[first:] @ weights.W_Q / math.sqrt(d),
        k=h @ weights.W_K,
        ov=h @ weights.W_V @ weights.W_O,
        attn_bias=resid.new_zeros(N_TARGET, d),
        ln2_w=weights.ln2_w,
        ln2_b=weights.ln2_b,
        W_in=weights.W_in,
        b_in=resid.new_zeros(N_TARGET, d_ff),
        W_out=weights.W_out,
        b_out=resid.new_zeros(N_TARGET, d),
        ln_final_w=weights.ln_final_w,
        ln_final_b=weights.ln_final_b,
        W_U=weights.W_U,
        centre=weights.norm == "layer",
        eps=weights.eps,
    )


def column_logits(
    tables: Tables, tokens: torch.Tensor, column: int
) -> Float[Tensor, "batch vocab"]:
    """Compute the logits of one answer column.

    Args:
        tables: The network.
        tokens: Token ids, at least 22 + column positions of them, int64.
        column: Answer column, 0 (units) to 11 (EOS).

    Returns:
        Logits over the 14 tokens.
    """
    length = query_position(column) + 1
    position = torch.arange(length)
    sources = tokens[:, :length]
    query = tokens[:, length - 1]
    scores = torch.einsum("bd,bjd->bj", tables.q[column, query], tables.k[position, sources])
    pattern = scores.softmax(dim=-1)
    attn_out = torch.einsum("bj,bjd->bd", pattern, tables.ov[position, sources])
    resid = tables.x[column, query] + attn_out + tables.attn_bias[column]
    pre = _normalise(tables, resid, "ln2") @ tables.W_in + tables.b_in[column]
    resid = resid + torch.nn.functional.gelu(pre) @ tables.W_out + tables.b_out[column]
    return _normalise(tables, resid, "ln_final") @ tables.W_U


def _normalise(tables: Tables, x: Tensor, name: str) -> Tensor:
    """Apply one norm with its gain and bias."""
    gain, bias = getattr(tables, f"{name}_w"), getattr(tables, f"{name}_b")
    x = x - x.mean(dim=-1, keepdim=True) if tables.centre else x
    return x / torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + tables.eps) * gain + bias
