"""Any one-layer adder as a TransformerBridge, in float64: what TransformerLens 4 has.

Question: are the bridge's logits the network's, and does an edit of a hook act on what follows it?

Method: TransformerLens wraps any module whose parts have the names that its native architecture
looks for. The module is ours (`interp.hooked.native`), so that nothing is computed in float32 and
nothing that a network can be is missing. The bridge around attention is ours too
(`interp.hooked.bridge_parts`): TransformerLens' own gives out the pattern in the place of the
scores. A network of the write-ups' family has its bottlenecks' hook points, as in `interp.hooked`.

    bridge = to_bridge(load("262p"))
    logits, cache = bridge.run_with_cache(tokens)
    cache["blocks.0.attn.k.hook_out"]  # or "blocks.0.attn.hook_k"
"""

from collections.abc import Collection
from typing import Any

import torch
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.generalized_components import (
    GatedMLPBridge,
    LinearBridge,
    MLPBridge,
)
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

from interp.hooked.bottlenecks import BOTTLENECKS, bottlenecks_of, pass_through, second_factor
from interp.hooked.bridge_parts import Attention, Block, norm_bridge
from interp.hooked.names import ACTIVATIONS, NORM_TYPES
from interp.hooked.native import OneLayer
from model.adder import Adder
from model.dense import dense
from model.network import Network

ARCHITECTURE = "TransformerLensNative"


def to_bridge(model: Adder | Network) -> TransformerBridge:
    """Wrap a network as a TransformerBridge in float64.

    Logits equal those of the network in float64. Hooks have the names of TransformerLens 4 and the
    older ones. There is no tokenizer, and no hook for inputs split by head. Do not call
    `enable_compatibility_mode`: nothing needs folding.

    Args:
        model: Any network; it is not changed and shares no tensor.

    Returns:
        The bridge on the CPU, in evaluation mode. For a network of the write-ups' family it has a
        hook point for every bottleneck (the first names in `BOTTLENECKS`); `reset_hooks()` keeps
        them, as their hooks are permanent.
    """
    if isinstance(model, Network):
        return _build(model.to(torch.float64), ())
    matrices = bottlenecks_of(model)
    bridge = _build(dense(model), [BOTTLENECKS[matrix][0] for matrix in matrices])
    points = bridge.hook_dict
    for matrix in matrices:
        low, high = (points[name] for name in BOTTLENECKS[matrix])
        pass_through(low, high, second_factor(model, matrix))
    return bridge


def _build(network: Network, points: Collection[str]) -> TransformerBridge:
    def adapt(adapter: Any) -> None:
        _map(adapter, network)
        for path in points:
            _place(adapter.component_mapping, path)

    bridge = build_bridge_from_module(
        OneLayer(network),
        ARCHITECTURE,
        tl_config=_config(network),
        post_adapter_hook=adapt,
        device="cpu",
    )
    for path in points:
        if "." not in path:
            setattr(bridge, path, HookPoint())
    return bridge.eval()


def _place(mapping: dict[str, Any], path: str) -> None:
    """Add a hook point to the part that it belongs to, before TransformerLens lists them."""
    *parts, name = path.replace("blocks.0.", "blocks.").split(".")
    if parts:
        part = mapping[parts[0]]
        for inner in parts[1:]:
            part = part.submodules[inner]
        setattr(part, name, HookPoint())


def _config(network: Network) -> TransformerBridgeConfig:
    rotary = network.rotary
    turning: dict[str, Any] = {}
    if rotary is not None:
        turning = {
            "positional_embedding_type": "rotary",
            "rotary_base": rotary.theta,
            "rotary_dim": rotary.dim,
            "rotary_adjacent_pairs": rotary.interleaved,
        }
    layer: dict[str, Any] = {"attn_only": True}
    if network.act != "none":
        layer = {
            "d_mlp": network.d_ff,
            "act_fn": ACTIVATIONS[network.act],
            "gated_mlp": network.W_gate is not None,
        }
    shared = network.n_kv_heads != network.n_heads
    return TransformerBridgeConfig(
        n_layers=1,
        d_model=network.d_model,
        d_head=network.W_V.shape[-1],
        n_heads=network.n_heads,
        n_key_value_heads=network.n_kv_heads if shared else None,
        n_ctx=network.n_ctx,
        d_vocab=network.layout.vocab_size,
        normalization_type=NORM_TYPES[network.norm],
        eps=network.eps,
        use_qk_norm=network.q_norm_w is not None,
        attn_scale=network.attn_scale,
        default_prepend_bos=False,
        init_weights=False,
        dtype=torch.float64,
        device="cpu",
        architecture=ARCHITECTURE,
        **turning,
        **layer,
    )


def _map(adapter: Any, network: Network) -> None:
    """Say which bridge wraps which module."""
    cfg, mapping = adapter.cfg, adapter.component_mapping
    rms = network.norm == "rms"
    block: dict[str, Any] = {**mapping["blocks"].submodules, "attn": Attention(network, cfg)}
    if network.norm != "none":
        mapping["ln_final"] = norm_bridge("ln_out", cfg, uses_rms_norm=rms)
        for name in ("ln1", "ln2"):
            if name in block:
                block[name] = norm_bridge(name, cfg, uses_rms_norm=rms)
    if network.act != "none":
        gated = network.W_gate is not None
        names = ("gate", "in", "out") if gated else ("in", "out")
        parts: dict[str, Any] = {name: LinearBridge(name=name) for name in names}
        kind = GatedMLPBridge if gated else MLPBridge
        block["mlp"] = kind(name="mlp", config=cfg, submodules=parts)
    mapping["blocks"] = Block(block, cfg)
