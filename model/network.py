"""The effective weights of any one-layer adder, whatever its authors trained.

A pre-norm decoder layer, causal attention, in the names and shapes of TransformerLens (activations
stand on the left, heads have an axis of their own):

    x       = W_E[token] + W_pos[position] + W_X[position, token]
    h       = norm1(x)
    q, k, v = h W_Q + b_Q, h W_K + b_K, h W_V + b_V      q and k perhaps normed, then turned (RoPE)
    mid     = x + sum over heads of softmax(q k^T / attn_scale) v W_O + b_O
    g       = norm2(mid)
    post    = act(g W_in + b_in), or act(g W_gate + b_gate) * (g W_in + b_in) where it is gated
    logits  = norm_final(mid + post W_out + b_out) W_U + b_U

What a network lacks is zero (biases), one (gains) or None (W_X, W_gate, the q/k norms, RoPE), so
every parametrisation ends here. `forward` is the plain pass on whole sequences; it works in the
weights' type. `model.tables` folds everything before the softmax into tables.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import einops
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from model.layouts import Layout
from model.parts import OPTIONS, Activation, NormKind, Rotary, check_parts


@dataclass(frozen=True, kw_only=True)
class Network:
    """One decoder layer with its task; see the module for what the weights do.

    Raises:
        InputError: Shapes, options or task do not fit together; the message names what.
    """

    layout: Layout
    W_E: Float[Tensor, "vocab d"]
    W_pos: Float[Tensor, "pos d"]
    W_X: Float[Tensor, "pos vocab d"] | None = None
    W_Q: Float[Tensor, "head d qk"]
    W_K: Float[Tensor, "kv_head d qk"]
    W_V: Float[Tensor, "kv_head d v"]
    W_O: Float[Tensor, "head v d"]
    b_Q: Float[Tensor, "head qk"]
    b_K: Float[Tensor, "kv_head qk"]
    b_V: Float[Tensor, "kv_head v"]
    b_O: Float[Tensor, " d"]
    q_norm_w: Float[Tensor, " qk"] | None = None
    k_norm_w: Float[Tensor, " qk"] | None = None
    W_in: Float[Tensor, "d ff"]
    W_gate: Float[Tensor, "d ff"] | None = None
    W_out: Float[Tensor, "ff d"]
    b_in: Float[Tensor, " ff"]
    b_gate: Float[Tensor, " ff"] | None = None
    b_out: Float[Tensor, " d"]
    W_U: Float[Tensor, "d vocab"]
    b_U: Float[Tensor, " vocab"]
    ln1_w: Float[Tensor, " d"]
    ln1_b: Float[Tensor, " d"]
    ln2_w: Float[Tensor, " d"]
    ln2_b: Float[Tensor, " d"]
    ln_final_w: Float[Tensor, " d"]
    ln_final_b: Float[Tensor, " d"]
    norm: NormKind
    eps: float
    qk_eps: float = 1e-6
    act: Activation
    attn_scale: float
    rotary: Rotary | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        options = {name: getattr(self, name) for name in OPTIONS}
        check_parts(self.layout, options, self.tensors())

    @classmethod
    def build(
        cls, layout: Layout, options: Mapping[str, Any], tensors: Mapping[str, Tensor]
    ) -> "Network":
        """Put a network together from what a file holds.

        Args:
            layout: The task.
            options: Everything in `OPTIONS`.
            tensors: Weights by name.

        Raises:
            InputError: A part is missing, unknown, or does not fit.
        """
        check_parts(layout, options, tensors)
        parts: dict[str, Any] = {**options, **tensors}
        return cls(layout=layout, **parts)

    @property
    def n_heads(self) -> int:
        """Heads of queries."""
        return self.W_Q.shape[0]

    @property
    def n_kv_heads(self) -> int:
        """Heads of keys and values; each serves n_heads / n_kv_heads heads of queries."""
        return self.W_K.shape[0]

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.W_E.shape[1]

    @property
    def d_ff(self) -> int:
        """Units of the feed-forward layer."""
        return self.W_in.shape[1]

    @property
    def n_ctx(self) -> int:
        """Positions that the network knows."""
        return self.W_pos.shape[0]

    def edit(self, **changes: Any) -> "Network":
        """Return a copy with the named weights or options replaced."""
        return dataclasses.replace(self, **changes)

    def to(self, dtype: torch.dtype) -> "Network":
        """Return a copy with every tensor in `dtype`."""
        return self.edit(**{name: value.to(dtype) for name, value in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by name, those that are there."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def kv_head(self, head: int) -> int:
        """Say which head of keys and values serves a head of queries."""
        return head * self.n_kv_heads // self.n_heads

    def W_QK(self, head: int = 0) -> Float[Tensor, "d d"]:
        """Bilinear form of a head's scores with the gains folded in: rows are the query side.

        Biases, norms of q and k and rotary positions are not in it.
        """
        form = self.W_Q[head] @ self.W_K[self.kv_head(head)].T
        return self.ln1_w[:, None] * form * self.ln1_w

    def W_OV(self, head: int = 0) -> Float[Tensor, "d d"]:
        """What a source writes per unit of a head's attention, gain folded on the reading side."""
        return self.ln1_w[:, None] * (self.W_V[self.kv_head(head)] @ self.W_O[head])

    def stream(self) -> Float[Tensor, "pos vocab d"]:
        """Tabulate the residual stream before the layer."""
        x = self.W_E + self.W_pos[:, None, :]
        return x if self.W_X is None else x + self.W_X

    def normalise(self, x: Float[Tensor, "... d"], name: str) -> Float[Tensor, "... d"]:
        """Apply the norm called `name` ("ln1", "ln2" or "ln_final") to `x`."""
        if self.norm == "none":
            return x
        if self.norm == "layer":
            x = x - x.mean(dim=-1, keepdim=True)
        x = x / torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + self.eps)
        return x * getattr(self, f"{name}_w") + getattr(self, f"{name}_b")

    def queries(
        self, h: Float[Tensor, "*batch d"], positions: Int[Tensor, "*places"]
    ) -> Float[Tensor, "*batch head qk"]:
        """Compute queries of the normed stream, scaled: a score is their product with a key.

        The positions broadcast against all axes of `h` but the last.
        """
        q = split_heads(h @ join_heads(self.W_Q), self.n_heads) + self.b_Q
        return self.finish_queries(q, positions)

    def keys(
        self, h: Float[Tensor, "*batch d"], positions: Int[Tensor, "*places"]
    ) -> Float[Tensor, "*batch kv_head qk"]:
        """Compute keys of the normed stream; positions as for `queries`."""
        k = split_heads(h @ join_heads(self.W_K), self.n_kv_heads) + self.b_K
        return self.finish_keys(k, positions)

    def finish_queries(
        self, q: Float[Tensor, "*batch head qk"], positions: Int[Tensor, "*places"]
    ) -> Float[Tensor, "*batch head qk"]:
        """Norm, turn and scale what W_Q and b_Q gave, as far as the network does."""
        return self._finish(q, self.q_norm_w, positions) / self.attn_scale

    def finish_keys(
        self, k: Float[Tensor, "*batch kv_head qk"], positions: Int[Tensor, "*places"]
    ) -> Float[Tensor, "*batch kv_head qk"]:
        """Norm and turn what W_K and b_K gave, as far as the network does."""
        return self._finish(k, self.k_norm_w, positions)

    def values(self, h: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch kv_head v"]:
        """Compute values of the normed stream."""
        return split_heads(h @ join_heads(self.W_V), self.n_kv_heads) + self.b_V

    def write(self, values: Float[Tensor, "*batch kv_head v"]) -> Float[Tensor, "*batch head d"]:
        """Compute what each head would write for these values, bias apart: values times W_O."""
        group = self.n_heads // self.n_kv_heads
        written = [values[..., head // group, :] @ self.W_O[head] for head in range(self.n_heads)]
        return torch.stack(written, dim=-2)

    def activate(self, x: Float[Tensor, "*batch ff"]) -> Float[Tensor, "*batch ff"]:
        """Apply the feed-forward layer's nonlinear function."""
        return apply_activation(x, self.act)

    def units(self, g: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch ff"]:
        """Compute the units of the feed-forward layer from the normed stream: what W_out reads."""
        if self.act == "none":
            return g.new_zeros(*g.shape[:-1], 0)
        pre = g @ self.W_in + self.b_in
        if self.W_gate is None or self.b_gate is None:
            return self.activate(pre)
        return self.activate(g @ self.W_gate + self.b_gate) * pre

    def feed_forward(self, mid: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Compute what the feed-forward layer adds to the stream `mid`."""
        return self.units(self.normalise(mid, "ln2")) @ self.W_out + self.b_out

    def _finish(
        self,
        x: Float[Tensor, "*batch heads qk"],
        gain: Float[Tensor, " qk"] | None,
        positions: Int[Tensor, "*places"],
    ) -> Float[Tensor, "*batch heads qk"]:
        if gain is not None:
            x = x / torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + self.qk_eps) * gain
        return x if self.rotary is None else rotate(x, positions, self.rotary)


def forward(
    network: Network, tokens: Int[Tensor, "batch length"]
) -> Float[Tensor, "batch length vocab"]:
    """Compute the logits of every next token, in the type of the weights."""
    positions = torch.arange(tokens.shape[1])
    x = network.W_E[tokens] + network.W_pos[positions]
    if network.W_X is not None:
        x = x + network.W_X[positions, tokens]
    h = network.normalise(x, "ln1")
    group = network.n_heads // network.n_kv_heads
    q = network.queries(h, positions)
    k = network.keys(h, positions).repeat_interleave(group, dim=-2)
    v = network.values(h).repeat_interleave(group, dim=-2)
    scores = torch.einsum("bihq,bjhq->bhij", q, k)
    causal = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    pattern = scores.masked_fill(~causal, float("-inf")).softmax(dim=-1)
    z = torch.einsum("bhij,bjhv->bihv", pattern, v)
    mid = x + torch.einsum("bihv,hvd->bid", z, network.W_O) + network.b_O
    post = mid if network.act == "none" else mid + network.feed_forward(mid)
    return network.normalise(post, "ln_final") @ network.W_U + network.b_U


def join_heads(weight: Float[Tensor, "heads d width"]) -> Float[Tensor, "d joined"]:
    """Lay the heads of a reading matrix side by side."""
    return einops.rearrange(weight, "heads d width -> d (heads width)")


def split_heads(x: Float[Tensor, "*batch joined"], n: int) -> Float[Tensor, "*batch heads width"]:
    """Give `n` heads that lie side by side an axis of their own."""
    return x.unflatten(-1, (n, -1))


def apply_activation(x: Float[Tensor, "*batch ff"], act: Activation) -> Float[Tensor, "*batch ff"]:
    """Apply the nonlinear function `act`; GELU is exact (erf) or by tanh."""
    if act == "relu":
        return F.relu(x)
    if act == "silu":
        return F.silu(x)
    return F.gelu(x, approximate="tanh" if act == "gelu_tanh" else "none")


def rotate(
    x: Float[Tensor, "*batch heads qk"], positions: Int[Tensor, "*places"], rotary: Rotary
) -> Float[Tensor, "*batch heads qk"]:
    """Turn pairs of coordinates by the angles of their positions, which broadcast against x."""
    half = rotary.dim // 2
    steps = torch.arange(half, dtype=x.dtype) / half
    angle = positions.to(x.dtype)[..., None, None] * rotary.theta**-steps
    cos, sin = angle.cos(), angle.sin()
    turned, rest = x[..., : rotary.dim], x[..., rotary.dim :]
    if rotary.interleaved:
        first, second = turned[..., 0::2], turned[..., 1::2]
    else:
        first, second = turned[..., :half], turned[..., half:]
    pair = (first * cos - second * sin, first * sin + second * cos)
    joined = torch.stack(pair, dim=-1).flatten(-2) if rotary.interleaved else torch.cat(pair, -1)
    return torch.cat([joined, rest], dim=-1)
