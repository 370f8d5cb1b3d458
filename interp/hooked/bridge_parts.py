"""Parts of a TransformerBridge that TransformerLens has no adapter for."""

import math
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.conversion_utils.conversion_steps.base_tensor_conversion import (
    BaseTensorConversion,
)
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge.generalized_components import (
    AttentionBridge,
    BlockBridge,
    LinearBridge,
    NormalizationBridge,
)

from model.network import Network, rotate, split_heads

_SPLIT_INPUTS = ("hook_attn_in", "hook_q_input", "hook_k_input", "hook_v_input")
"""Names that a block has for inputs split by head, which our attention does not offer."""


class SplitHeads(BaseTensorConversion):
    """Hooks see heads on an axis of their own."""

    splits_attention_heads = True

    def __init__(self, n_heads: int) -> None:
        """Keep the number of heads."""
        super().__init__()
        self.n_heads = n_heads

    def handle_conversion(self, input_value: Tensor, *full_context: Any) -> Tensor:
        """Give the heads their axis."""
        return split_heads(input_value, self.n_heads)

    def revert(self, input_value: Tensor, *full_context: Any) -> Tensor:
        """Lay the heads side by side again."""
        return input_value.flatten(-2)


class Attention(AttentionBridge):
    """Attention of a network, every hook in its place: an edit acts on what follows it."""

    supports_split_qkv_fork = False
    supports_attn_result = True

    def __init__(self, network: Network, cfg: Any) -> None:
        """Keep the options; the weights are those of the module that is wrapped."""
        parts: dict[str, Any] = {name: LinearBridge(name=name) for name in "qkvo"}
        if network.q_norm_w is not None:
            own = SimpleNamespace(eps=network.qk_eps)
            for name in ("q_norm", "k_norm"):
                parts[name] = norm_bridge(name, own, uses_rms_norm=True)
        super().__init__(name="attn", config=cfg, submodules=parts)
        self._n_heads, self._n_kv_heads = network.n_heads, network.n_kv_heads
        self._scale, self._rotary = network.attn_scale, network.rotary
        # TransformerLens splits weights into heads of cfg.d_head, or of this second width.
        self._v_head_dim = network.W_Q.shape[-1]

    def _setup_qkv_hook_reshaping(self) -> None:
        for name, n in (("q", self._n_heads), ("k", self._n_kv_heads), ("v", self._n_kv_heads)):
            getattr(self, name).hook_out.hook_conversion = SplitHeads(n)
        self.o.hook_in.hook_conversion = SplitHeads(self._n_heads)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Compute what all heads write together; arguments of other models are ignored."""
        x = self.hook_in(args[0] if args else kwargs["hidden_states"])
        q = split_heads(self.q(x), self._n_heads)
        k = split_heads(self.k(x), self._n_kv_heads)
        v = split_heads(self.v(x), self._n_kv_heads)
        if "q_norm" in self._modules:
            q, k = self.q_norm(q), self.k_norm(k)
        if self._rotary is not None:
            places = torch.arange(x.shape[1])
            q = self.hook_rot_q(rotate(q, places, self._rotary))
            k = self.hook_rot_k(rotate(k, places, self._rotary))
        group = self._n_heads // self._n_kv_heads
        k, v = (y.repeat_interleave(group, dim=-2) for y in (k, v))
        scores = torch.einsum("bihq,bjhq->bhij", q, k) / self._scale
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = self.hook_attn_scores(scores.masked_fill(future, -math.inf))
        pattern = self.hook_pattern(scores.softmax(dim=-1))
        z = torch.einsum("bhij,bjhv->bihv", pattern, v).flatten(-2)
        if getattr(self.config, "use_attn_result", False):
            z = split_heads(self.o.hook_in(z), self._n_heads)
            return self.hook_out(self._compute_per_head_result(z, self._n_heads, z.shape[-1]))
        return self.hook_out(self.o(z))


class Block(BlockBridge):
    """The layer; an edit of hook_resid_mid is one of the stream, not of what the norm reads."""

    def __init__(self, parts: dict[str, Any], cfg: Any) -> None:
        """Add the hook point, and take away the names that lead nowhere."""
        super().__init__(name="layers", config=cfg, submodules=parts)
        gone = {*_SPLIT_INPUTS, "hook_resid_mid", *(() if "mlp" in parts else ("hook_mlp_out",))}
        self.hook_aliases = {x: path for x, path in self.hook_aliases.items() if x not in gone}
        self.hook_resid_mid = HookPoint()

    def set_original_component(self, original_component: nn.Module) -> None:
        """Put the hook point where the layer has the stream between its halves."""
        super().set_original_component(original_component)
        original_component.add_module("resid_mid", self.hook_resid_mid)


def norm_bridge(name: str, cfg: Any, *, uses_rms_norm: bool) -> NormalizationBridge:
    """Wrap a norm so that edits of its hooks act, in the type of what it reads."""
    return NormalizationBridge(
        name=name,
        config=cfg,
        use_native_layernorm_autograd=False,
        uses_rms_norm=uses_rms_norm,
    )
