"""Everything before the softmax as finite tables: one layer sees only (position, token).

Whatever the parametrisation (learned positions or rotary ones, norms of queries and keys, shared
heads, biases), scores and values are looked up; what follows attention is a small map.
"""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.layouts import WRITE_UPS, Layout
from model.network import Network, apply_activation, split_heads
from model.parts import Activation, NormKind


@dataclass(frozen=True, kw_only=True)
class Tables:
    """A one-layer network as lookup tables and the small maps that follow attention.

    Head h of answer step c attends at position query(c) to sources j <= query(c) by
    softmax_j(q[c, t, h] . k[j, t_j, h]) and adds that mean of ov[j, t_j, h], where t is the query's
    token. The heads of q, k and ov lie side by side in the last axis. Biases per step are zero
    where the network has none; ablations use them.

    Attributes:
        x: Residual stream before the layer at the query positions of all steps.
        q: Queries, divided by the scale of the scores.
        k: Keys, one set a head of queries.
        ov: Values times W_O.
        attn_bias: Added to the residual stream after attention, per step.
        ln2_w: Gain of the second norm; ln2_b its bias.
        W_in: Feed-forward reading matrix; b_in its bias per step.
        W_out: Feed-forward writing matrix; b_out its bias per step.
        ln_final_w: Gain of the last norm; ln_final_b its bias.
        W_U: Unembedding.
        b_U: Bias of the logits; None for zero.
        W_gate: Gate of the feed-forward layer, b_gate its bias; None where it has none.
        norm: Kind of the norms.
        eps: Constant under the root of the norms.
        act: Nonlinear function of the feed-forward layer; "none" where there is no such layer.
        n_heads: Heads of attention.
        layout: The task.
    """

    x: Float[Tensor, "column vocab d"]
    q: Float[Tensor, "column vocab qk"]
    k: Float[Tensor, "pos vocab qk"]
    ov: Float[Tensor, "pos vocab written"]
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
    b_U: Float[Tensor, " vocab"] | None = None
    W_gate: Float[Tensor, "d ff"] | None = None
    b_gate: Float[Tensor, " ff"] | None = None
    norm: NormKind
    eps: float
    act: Activation = "gelu"
    n_heads: int = 1
    layout: Layout = WRITE_UPS

    @property
    def centre(self) -> bool:
        """Whether norms subtract the mean (LayerNorm)."""
        return self.norm == "layer"

    def edit(self, **tensors: Tensor) -> "Tables":
        """Return a copy with the named tables replaced."""
        return dataclasses.replace(self, **tensors)


def tabulate(network: Network, normed: Float[Tensor, "pos vocab d"] | None = None) -> Tables:
    """Tabulate a network over the positions and tokens of its task, in the weights' type.

    Args:
        network: The network.
        normed: What the heads read instead of the normed stream.
    """
    layout = network.layout
    n, first = layout.n_input, layout.n_prompt - 1
    positions = torch.arange(n)[:, None]
    resid = network.stream()[:n]
    h = network.normalise(resid, "ln1") if normed is None else normed

    def every(bias: Tensor) -> Tensor:
        return bias.expand(layout.n_target, -1)

    queries = network.queries(h[first:], positions[first:])
    keys = network.keys(h, positions)
    keys = keys.repeat_interleave(network.n_heads // network.n_kv_heads, dim=-2)
    return Tables(
        x=resid[first:],
        q=queries.flatten(-2),
        k=keys.flatten(-2),
        ov=network.write(network.values(h)).flatten(-2),
        attn_bias=every(network.b_O),
        ln2_w=network.ln2_w,
        ln2_b=network.ln2_b,
        W_in=network.W_in,
        b_in=every(network.b_in),
        W_out=network.W_out,
        b_out=every(network.b_out),
        ln_final_w=network.ln_final_w,
        ln_final_b=network.ln_final_b,
        W_U=network.W_U,
        b_U=network.b_U if bool(network.b_U.any()) else None,
        W_gate=network.W_gate,
        b_gate=network.b_gate,
        norm=network.norm,
        eps=network.eps,
        act=network.act,
        n_heads=network.n_heads,
        layout=layout,
    )


def column_logits(
    tables: Tables, tokens: Int[Tensor, "batch length"], column: int
) -> Float[Tensor, "batch vocab"]:
    """Compute the logits of one step of the answer.

    Args:
        tables: The network.
        tokens: Token ids, at least up to the step's query position, int64.
        column: Step of the answer, 0 to n_target - 1; column i where the units come first.

    Returns:
        Logits over all tokens.
    """
    length = tables.layout.n_prompt + column
    position = torch.arange(length)
    sources = tokens[:, :length]
    query = tokens[:, length - 1]
    n = tables.n_heads
    q = split_heads(tables.q[column, query], n)
    k = split_heads(tables.k[position, sources], n)
    ov = split_heads(tables.ov[position, sources], n)
    pattern = torch.einsum("bhd,bjhd->bhj", q, k).softmax(dim=-1)
    attn_out = torch.einsum("bhj,bjhd->bd", pattern, ov)
    resid = tables.x[column, query] + attn_out + tables.attn_bias[column]

    if tables.act != "none":
        g = _normalise(tables, resid, "ln2")
        post = g @ tables.W_in + tables.b_in[column]
        if tables.W_gate is None or tables.b_gate is None:
            post = apply_activation(post, tables.act)
        else:
            post = apply_activation(g @ tables.W_gate + tables.b_gate, tables.act) * post
        resid = resid + post @ tables.W_out + tables.b_out[column]
    logits = _normalise(tables, resid, "ln_final") @ tables.W_U
    return logits if tables.b_U is None else logits + tables.b_U


def _normalise(tables: Tables, x: Tensor, name: str) -> Tensor:
    """Apply one norm with its gain and bias."""
    if tables.norm == "none":
        return x
    gain, bias = getattr(tables, f"{name}_w"), getattr(tables, f"{name}_b")
    x = x - x.mean(dim=-1, keepdim=True) if tables.centre else x
    return x / torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + tables.eps) * gain + bias
