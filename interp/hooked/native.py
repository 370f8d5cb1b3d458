"""A one-layer network as plain modules, under the names that a TransformerBridge looks for.

TransformerLens' own native model works in float32 inside its norms, turns adjacent pairs only, and
has no norms of q and k and no biases in a gated layer. These modules have everything that a
`Network` has, in its own type. A bridge puts its hooks around them; attention is computed by
`interp.hooked.bridge_parts`, here are its projections alone.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interp.hooked.stream import StreamEmbed, needs_stream
from model.network import Network, apply_activation, join_heads
from model.parts import OPTIONS, Activation


class Norm(nn.Module):
    """A norm's gain and bias."""

    def __init__(self, gain: Tensor, bias: Tensor | None, eps: float) -> None:
        """Keep copies; RMSNorm has no bias and does not centre."""
        super().__init__()
        self.weight = nn.Parameter(gain.clone())
        self.bias = None if bias is None else nn.Parameter(bias.clone())
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Normalise the last axis."""
        if self.bias is not None:
            x = x - x.mean(dim=-1, keepdim=True)
        x = x / torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + self.eps) * self.weight
        return x if self.bias is None else x + self.bias


class Projections(nn.Module):
    """What attention multiplies by, heads side by side."""

    def __init__(self, network: Network) -> None:
        """Copy the weights."""
        super().__init__()
        self.q = linear(join_heads(network.W_Q), network.b_Q.flatten())
        self.k = linear(join_heads(network.W_K), network.b_K.flatten())
        self.v = linear(join_heads(network.W_V), network.b_V.flatten())
        self.o = linear(network.W_O.flatten(0, 1), network.b_O)
        for name in ("q", "k"):
            gain = getattr(network, f"{name}_norm_w")
            if gain is not None:
                self.add_module(f"{name}_norm", Norm(gain, None, network.qk_eps))


class FeedForward(nn.Module):
    """A feed-forward layer, gated or not, with all its biases."""

    def __init__(self, network: Network) -> None:
        """Copy the weights."""
        super().__init__()
        self.act: Activation = network.act
        self.add_module("in", linear(network.W_in, network.b_in))
        self.out = linear(network.W_out, network.b_out)
        self.gate = None
        if network.W_gate is not None and network.b_gate is not None:
            self.gate = linear(network.W_gate, network.b_gate)

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Compute what the layer adds to the stream."""
        pre = self.get_submodule("in")(x)
        if self.gate is None:
            return self.out(apply_activation(pre, self.act))
        return self.out(apply_activation(self.gate(x), self.act) * pre)


class Layer(nn.Module):
    """The decoder layer."""

    def __init__(self, network: Network) -> None:
        """Copy the weights."""
        super().__init__()
        self.ln1, self.attn = norm_of(network, "ln1"), Projections(network)
        self.resid_mid: nn.Module = nn.Identity()
        if network.act != "none":
            self.ln2, self.mlp = norm_of(network, "ln2"), FeedForward(network)

    def forward(self, hidden_states: Float[Tensor, "batch pos d"], **options: Any) -> Any:
        """Add what attention and the feed-forward layer write; options belong to other layers."""
        x = self.resid_mid(hidden_states + self.attn(self.ln1(hidden_states)))
        return (x + self.mlp(self.ln2(x)) if hasattr(self, "mlp") else x,)


class OneLayer(nn.Module):
    """The whole network."""

    def __init__(self, network: Network) -> None:
        """Copy the weights, and keep what is no weight."""
        super().__init__()
        self.options: dict[str, Any] = {name: getattr(network, name) for name in OPTIONS}
        stream = needs_stream(network)
        if stream:
            self.tok_embed: nn.Module = StreamEmbed(network.W_E, network.W_pos, network.W_X)
        else:
            self.tok_embed = nn.Embedding.from_pretrained(network.W_E.clone(), freeze=False)
        self.pos = None
        if network.rotary is None:
            table = torch.zeros_like(network.W_pos) if stream else network.W_pos.clone()
            self.pos = nn.Embedding.from_pretrained(table, freeze=False)
        self.layers = nn.ModuleList([Layer(network)])
        self.ln_out = norm_of(network, "ln_final")
        self.head = linear(network.W_U, network.b_U)

    def forward(
        self, input_ids: Int[Tensor, "batch pos"], **options: Any
    ) -> Float[Tensor, "batch pos vocab"]:
        """Compute the logits of every next token; options of other models are ignored."""
        x = self.tok_embed(input_ids)
        if self.pos is not None:
            x = x + self.pos(torch.arange(input_ids.shape[1]).expand(input_ids.shape))
        (x,) = self.layers[0](x)
        return self.head(self.ln_out(x))


def linear(weight: Float[Tensor, "n m"], bias: Float[Tensor, " m"]) -> nn.Linear:
    """Return x W + b as a module."""
    n, m = weight.shape
    made = nn.Linear(n, m, dtype=weight.dtype)
    with torch.no_grad():
        made.weight.copy_(weight.T)
        made.bias.copy_(bias)
    return made


def norm_of(network: Network, name: str) -> nn.Module:
    """Return the norm called `name`; nothing where there are none."""
    if network.norm == "none":
        return nn.Identity()
    bias = getattr(network, f"{name}_b") if network.norm == "layer" else None
    return Norm(getattr(network, f"{name}_w"), bias, network.eps)
