"""The network with its factors unmultiplied and a hook on everything: the oracle of the wrapper.

Question: is an edit made through the wrapper of `interp.hooked` the edit that it claims to be?

Method: the forward pass of `model.adder` written once more as a TransformerLens HookedRootModule.
Each product x A B is really computed in two steps with a hook point between them, so nothing has to
be recovered. Hook names and shapes are those of the wrapper (activations per head keep their head
axis of one), which lets tests run one edit in both and compare logits.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

from interp.hooked import BOTTLENECKS, factors_of
from model.adder import Adder

_BLOCK = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
_ATTENTION = ("q", "k", "v", "attn_scores", "pattern", "z")
HOOKS = (
    "hook_embed",
    "hook_pos_embed",
    *(f"blocks.0.hook_{name}" for name in _BLOCK),
    *(f"blocks.0.attn.hook_{name}" for name in _ATTENTION),
    "blocks.0.mlp.hook_pre",
    "blocks.0.mlp.hook_post",
    "unembed.hook_in",
    "unembed.hook_out",
)
"""Every hook point apart from those of the norms and of the bottlenecks."""


class Norm(torch.nn.Module):
    """RMSNorm or LayerNorm with hook points on its scale and on its output before gain and bias."""

    def __init__(self, gain: Tensor, bias: Tensor | None, eps: float) -> None:
        """Keep the gain, the bias (None for RMSNorm, which does not centre either) and epsilon."""
        super().__init__()
        self.gain, self.bias, self.eps = gain, bias, eps
        self.hook_scale = HookPoint()
        self.hook_normalized = HookPoint()

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Normalise the last axis."""
        if self.bias is not None:
            x = x - x.mean(dim=-1, keepdim=True)
        scale = self.hook_scale(torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + self.eps))
        x = self.hook_normalized(x / scale) * self.gain
        return x if self.bias is None else x + self.bias


class LowRankTwin(HookedRootModule):
    """The factored network in float64 under the hook names of the wrapper.

    Args:
        model: A network of any configuration; its parameters are copied.
    """

    def __init__(self, model: Adder) -> None:
        """Copy the parameters and place a hook point on every intermediate value."""
        super().__init__()
        self.params = {name: value.detach().double() for name, value in model.params.items()}
        self.d_model = model.config.d_model
        self.factors = {matrix: factors_of(model, matrix) for matrix in BOTTLENECKS}

        def norm(name: str) -> Norm:
            return Norm(self.params[f"{name}_w"], self.params.get(f"{name}_b"), model.config.eps)

        tree = {"attn": torch.nn.Module(), "mlp": torch.nn.Module()}
        block = torch.nn.ModuleDict({**tree, "ln1": norm("ln1"), "ln2": norm("ln2")})
        self.blocks = torch.nn.ModuleList([block])
        self.ln_final, self.unembed = norm("ln_final"), torch.nn.Module()
        bottlenecks = [BOTTLENECKS[m][0] for m, names in self.factors.items() if len(names) == 2]
        for path in [*HOOKS, *bottlenecks]:
            parent, _, name = path.rpartition(".")
            self.get_submodule(parent).add_module(name, HookPoint())
        self.setup()

    def _apply_matrix(self, x: Tensor, matrix: str) -> Tensor:
        """Multiply by `matrix`, through its bottleneck and hook where it is a product."""
        names = self.factors[matrix]
        low, high = BOTTLENECKS[matrix]
        y = x @ self.params[names[0]]
        if len(names) == 2:
            y = self.hook_dict[low](y) @ self.params[names[1]]
        return self.hook_dict[high](y)

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos vocab"]:
        """Compute the logits of every next token."""
        hook, block = self.hook_dict, "blocks.0."
        length = tokens.shape[1]
        rows = torch.eye(length, self.params[self.factors["W_pos"][0]].shape[0]).double()
        position = self._apply_matrix(rows.expand(tokens.shape[0], -1, -1), "W_pos")
        x = hook["hook_embed"](self.params["W_E"][tokens]) + position
        x = hook[f"{block}hook_resid_pre"](x)

        h = self.get_submodule(f"{block}ln1")(x)[:, :, None, :]
        q, k, v = (self._apply_matrix(h, matrix) for matrix in ("W_Q", "W_K", "W_V"))
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(self.d_model)
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        scores = hook[f"{block}attn.hook_attn_scores"](scores.masked_fill(~causal, float("-inf")))
        pattern = hook[f"{block}attn.hook_pattern"](scores.softmax(dim=-1))
        z = hook[f"{block}attn.hook_z"](torch.einsum("bhqk,bkhd->bqhd", pattern, v))
        x = hook[f"{block}hook_resid_mid"](x + self._apply_matrix(z[:, :, 0], "W_O"))

        post = hook[f"{block}mlp.hook_post"](
            F.gelu(self._apply_matrix(self.get_submodule(f"{block}ln2")(x), "W_in"))
        )
        x = hook[f"{block}hook_resid_post"](x + self._apply_matrix(post, "W_out"))
        logits = hook["unembed.hook_in"](self.ln_final(x)) @ self.params["W_E"].T
        return hook["unembed.hook_out"](logits)
