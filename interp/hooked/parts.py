"""Parts of a HookedTransformer that TransformerLens has no option for."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.components.mlps.gated_mlp import GatedMLP


class StreamEmbed(nn.Module):
    """An embedding that knows the position: rows of W_E, of W_pos, and of a table over both.

    It stands where a network has a stream that is no sum of token and position, or learned
    positions beside rotary ones. Positions count from 0, so key-value caches do not work with it.
    """

    def __init__(self, W_E: Tensor, W_pos: Tensor, W_X: Tensor | None) -> None:
        """Keep copies of the tables; W_X is None where there is none."""
        super().__init__()
        self.W_E = nn.Parameter(W_E.clone())
        self.W_pos = nn.Parameter(W_pos.clone())
        self.W_X = None if W_X is None else nn.Parameter(W_X.clone())

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d"]:
        """Look up the stream before the layer."""
        places = torch.arange(tokens.shape[1])
        x = self.W_E[tokens] + self.W_pos[places]
        return x if self.W_X is None else x + self.W_X[places, tokens]


class BiasedGatedMLP(GatedMLP):
    """A gated feed-forward layer whose gate and input have biases inside, under the same hooks."""

    def __init__(self, cfg: Any) -> None:
        """Add the gate's bias; b_in is added to the input, before the product."""
        super().__init__(cfg)
        self.b_gate = nn.Parameter(torch.zeros(self.d_mlp, dtype=self.cfg.dtype))

    def forward(self, x: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos d"]:
        """Compute act(x W_gate + b_gate) * (x W_in + b_in), times W_out, plus b_out."""
        gate = self.hook_pre(F.linear(x, self.W_gate.T, self.b_gate))
        linear = self.hook_pre_linear(F.linear(x, self.W_in.T, self.b_in))
        post = self.hook_post(self.act_fn(gate) * linear)
        return F.linear(post, self.W_out.T, self.b_out)
