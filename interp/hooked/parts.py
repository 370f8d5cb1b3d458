"""A part of a HookedTransformer that TransformerLens has no option for."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.components.mlps.gated_mlp import GatedMLP


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
