"""Any one-layer adder as a HookedTransformer of TransformerLens 3, in float64.

Question: are TransformerLens' logits the network's, and do its hooks see what the network computes?

Method: TransformerLens' own options carry what it has (RMSNorm, LayerNorm, rotary positions of both
kinds, shared key-value heads, norms of q and k, gated layers); weights are loaded with strict=True,
and nothing is folded or centred. Heads whose queries and values differ in width get weights of
their own widths. For the rest there are two parts of ours (`interp.hooked.parts`). A network of the
write-ups' family also gets a hook point for each bottleneck (`interp.hooked.bottlenecks`).

    hooked = to_hooked_transformer(load("262p"))
    logits, cache = hooked.run_with_cache(tokens)
    cache["blocks.0.attn.hook_k_low"]
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.components.rms_norm import RMSNorm
from transformer_lens.hook_points import HookPoint

from interp.hooked.bottlenecks import (
    BOTTLENECKS,
    bottlenecks_of,
    pass_through,
    place_point,
    second_factor,
)
from interp.hooked.names import ACTIVATIONS, NORM_TYPES
from interp.hooked.parts import BiasedGatedMLP
from interp.hooked.stream import StreamEmbed, needs_stream
from model.adder import Adder
from model.dense import dense
from model.network import Network
from model.parts import NORMS

BLOCK = "blocks.0."


def to_hooked_transformer(model: Adder | Network) -> HookedTransformer:
    """Wrap a network as a HookedTransformer in float64.

    Logits equal those of the network in float64 to 1e-8 (a float32 network is itself about 1e-2
    away from its own float64 values). `hooked.cfg.n_params` counts dense weights and is not the
    network's count. Call `generate` with use_past_kv_cache=False and stop_at_eos=False, since there
    is no tokenizer.

    Args:
        model: Any network; it is not changed and shares no tensor.

    Returns:
        The wrapper on the CPU, in evaluation mode. For a network of the write-ups' family it has a
        hook point for every bottleneck (the first names in `BOTTLENECKS`); `reset_hooks()` keeps
        them, as their hooks are permanent.
    """
    if isinstance(model, Network):
        return _wrap(model.to(torch.float64))
    hooked = _wrap(dense(model))
    for matrix in bottlenecks_of(model):
        point, high = place_point(hooked, matrix), hooked.get_submodule(BOTTLENECKS[matrix][1])
        assert isinstance(high, HookPoint)
        pass_through(point, high, second_factor(model, matrix))
    hooked.setup()
    return hooked


def _config(network: Network) -> HookedTransformerConfig:
    rotary = network.rotary
    shared = network.n_kv_heads != network.n_heads
    turning: dict[str, Any] = (
        {
            "positional_embedding_type": "rotary",
            "rotary_base": rotary.theta,
            "rotary_dim": rotary.dim,
            "rotary_adjacent_pairs": rotary.interleaved,
        }
        if rotary is not None
        else {}
    )
    layer: dict[str, Any] = (
        {"attn_only": True}
        if network.act == "none"
        else {
            "d_mlp": network.d_ff,
            "act_fn": ACTIVATIONS[network.act],
            "gated_mlp": network.W_gate is not None,
        }
    )
    return HookedTransformerConfig(
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
        **turning,
        **layer,
    )


def _wrap(network: Network) -> HookedTransformer:
    hooked = HookedTransformer(_config(network))
    _fit_heads(hooked, network)
    if needs_stream(network):
        hooked.add_module("embed", StreamEmbed(network.W_E, network.W_pos, network.W_X))
    biased = network.b_gate is not None and bool(network.b_gate.any() or network.b_in.any())
    if biased:
        hooked.blocks[0].mlp = BiasedGatedMLP(hooked.cfg)
    state = _state(network)
    # TransformerLens keeps its causal mask, the masked score and angles as buffers in the state.
    buffers = {name: value for name, value in hooked.named_buffers() if name in hooked.state_dict()}
    hooked.load_state_dict({**buffers, **state}, strict=True)
    hooked.setup()
    hooked.eval()
    return hooked


def _fit_heads(hooked: HookedTransformer, network: Network) -> None:
    """Give queries and keys their own width, which TransformerLens takes to be that of values."""
    attn = hooked.blocks[0].attn
    prefix = "" if hooked.cfg.n_key_value_heads is None else "_"
    for name, stored in (("Q", "Q"), ("K", f"{prefix}K")):
        for stem in ("W", "b"):
            value = getattr(network, f"{stem}_{name}")
            attribute = f"{stem}_{stored}" if stored == name else f"_{stem}_{name}"
            setattr(attn, attribute, nn.Parameter(torch.empty_like(value)))
    if network.q_norm_w is not None:
        for name in ("q_norm", "k_norm"):
            norm = RMSNorm(hooked.cfg, length=network.W_Q.shape[-1])
            norm.eps = network.qk_eps
            setattr(attn, name, norm)


def _state(network: Network) -> dict[str, Tensor]:
    attn, mlp = f"{BLOCK}attn.", f"{BLOCK}mlp."
    kv = "" if network.n_kv_heads == network.n_heads else "_"
    state = {
        "embed.W_E": network.W_E,
        "unembed.W_U": network.W_U,
        "unembed.b_U": network.b_U,
        f"{attn}W_Q": network.W_Q,
        f"{attn}b_Q": network.b_Q,
        f"{attn}W_O": network.W_O,
        f"{attn}b_O": network.b_O,
    }
    for name in ("W_K", "b_K", "W_V", "b_V"):
        state[f"{attn}{kv}{name}"] = getattr(network, name)
    if needs_stream(network):
        state["embed.W_pos"] = network.W_pos
        if network.W_X is not None:
            state["embed.W_X"] = network.W_X
    if network.rotary is None:
        both = network.W_X is None
        state["pos_embed.W_pos"] = network.W_pos if both else torch.zeros_like(network.W_pos)
    if network.q_norm_w is not None and network.k_norm_w is not None:
        state[f"{attn}q_norm.w"] = network.q_norm_w
        state[f"{attn}k_norm.w"] = network.k_norm_w
    if network.act != "none":
        for name in ("W_in", "b_in", "W_out", "b_out"):
            state[f"{mlp}{name}"] = getattr(network, name)
    if network.W_gate is not None and network.b_gate is not None:
        state[f"{mlp}W_gate"] = network.W_gate
        if bool(network.b_gate.any() or network.b_in.any()):
            state[f"{mlp}b_gate"] = network.b_gate
    for ours in NORMS:
        theirs = ours if ours == "ln_final" else f"{BLOCK}{ours}"
        if network.norm != "none" and not (ours == "ln2" and network.act == "none"):
            state[f"{theirs}.w"] = getattr(network, f"{ours}_w")
            if network.norm == "layer":
                state[f"{theirs}.b"] = getattr(network, f"{ours}_b")
    return state
