"""A TransformerBridge, as a network of this project.

Question: what does this bridge compute, as layout and effective weights?

Method: the weights are read off the modules that the bridge wraps, which are those of
TransformerLens' native architecture or ours (`interp.hooked.native`). As in
`interp.hooked.unwrap`, every option is one that the network can say, or has no part in the forward
pass, or stands at its default; anything else is refused by name. TransformerLens' native RMSNorm
works in float32, and the network in its weights' type, so the two agree to float32 there.

    network = from_bridge(TransformerBridge.boot_native(config), MICRO_14)
"""

from typing import Any

from torch import Tensor
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources.native import NativeModel

from interp.hooked.names import NORM_KINDS
from interp.hooked.native import OneLayer
from interp.hooked.stream import StreamEmbed
from model.errors import InputError
from model.layouts import Layout
from model.network import Network, split_heads
from model.parts import NORMS, Rotary

ACTS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
}
"""What the native architecture calls activations."""

# Options that are read, and those without a part in the forward pass of the native architecture.
READ = (
    *("n_layers", "d_model", "d_head", "n_heads", "d_mlp", "d_vocab", "d_vocab_out", "n_ctx"),
    *("n_key_value_heads", "attn_only", "gated_mlp", "normalization_type", "act_fn", "eps"),
    *("positional_embedding_type", "rotary_base", "rotary_dim", "use_attn_scale", "attn_scale"),
)
IDLE = (
    *("architecture", "original_architecture", "model_name", "device", "n_devices", "dtype"),
    *("seed", "init_mode", "init_weights", "initializer_range", "n_params", "tokenizer_name"),
    *("default_prepend_bos", "tokenizer_prepends_bos", "tokenizer_appends_eos"),
    *("default_padding_side", "trust_remote_code", "from_checkpoint", "checkpoint_index"),
    *("checkpoint_label_type", "checkpoint_value", "attn_implementation", "use_attn_result"),
    *("use_split_qkv_input", "use_attn_in", "use_hook_mlp_in", "use_hook_tokens"),
    *("ungroup_grouped_query_attention", "split_attention_weights", "tie_word_embeddings"),
    *("uses_rms_norm", "scale_attn_by_inverse_layer_idx", "rotary_adjacent_pairs"),
)


def from_bridge(bridge: TransformerBridge, layout: Layout) -> Network:
    """Turn a one-layer bridge into a network.

    Args:
        bridge: One that `boot_native` or `to_bridge` made; it is not changed and shares no tensor.
        layout: The task that it was trained on.

    Returns:
        The network, in the model's type.

    Raises:
        InputError: A bridge around another architecture, processed weights, more than one layer,
            an option that a network cannot say, or a layout that does not fit.
    """
    model = bridge.original_model
    if getattr(bridge, "_weights_processed", False):
        raise InputError("the bridge's weights were processed: give it before compatibility mode")
    if isinstance(model, OneLayer):
        options = dict(model.options)
    elif isinstance(model, NativeModel):
        _check(bridge.cfg)
        options = _options(bridge)
    else:
        kind = type(model).__name__
        raise InputError(f"the bridge is around a {kind}: only native ones (boot_native) are read")
    weights = {**_ends(bridge), **_attention(bridge), **_feed_forward(bridge), **_norms(bridge)}
    copies = {name: x.detach().cpu().contiguous().clone() for name, x in weights.items()}
    return Network.build(layout, options, copies)


def _check(cfg: Any) -> None:
    if cfg.n_layers != 1:
        raise InputError(f"the model has {cfg.n_layers} layers: only one-layer networks are read")
    if cfg.d_vocab_out not in (-1, cfg.d_vocab):
        raise InputError(f"d_vocab_out is {cfg.d_vocab_out}: it must be d_vocab, {cfg.d_vocab}")
    if not cfg.attn_only and (cfg.act_fn or "gelu").lower() not in ACTS:
        raise InputError(f"act_fn is {cfg.act_fn!r}: supported are {', '.join(ACTS)}")
    plain = TransformerBridgeConfig(
        n_layers=1,
        d_model=cfg.d_model,
        d_head=cfg.d_head,
        n_heads=cfg.n_heads,
        n_ctx=cfg.n_ctx,
        d_vocab=cfg.d_vocab,
    )
    for name, value in vars(cfg).items():
        if name not in (*READ, *IDLE) and value != getattr(plain, name, None):
            raise InputError(f"{name} is {value!r}: this option is not supported")


def _options(bridge: TransformerBridge) -> dict[str, Any]:
    """Read what TransformerLens' native model does."""
    cfg, attn = bridge.cfg, _wrapped(bridge.blocks[0].attn)
    kinds = {None if name is None else name.upper(): kind for name, kind in NORM_KINDS.items()}
    norm, default = cfg.normalization_type, "silu" if cfg.gated_mlp else "gelu"
    rotary = None
    if attn.rotary is not None:
        if attn.rotary.position_scale != 1:
            raise InputError("the bridge scales rotary positions: it is not supported")
        theta, dim = float(attn.rotary.effective_base), int(attn.rotary.rotary_dim)
        rotary = Rotary(theta=theta, dim=dim, interleaved=True)
    return {
        "norm": kinds[None if norm is None else norm.upper()],
        "eps": float(cfg.eps),
        "qk_eps": 1e-6,
        "act": "none" if cfg.attn_only else ACTS[(cfg.act_fn or default).lower()],
        "attn_scale": float(attn.scale),
        "rotary": rotary,
    }


def _wrapped(part: Any) -> Any:
    return part.original_component


def _ends(bridge: TransformerBridge) -> dict[str, Tensor]:
    """Read embeddings and head."""
    embed, head = _wrapped(bridge.embed), _wrapped(bridge.unembed)
    found = {"W_E": embed.weight, "W_U": head.weight.T, "b_U": head.bias}
    found["W_pos"] = embed.weight.new_zeros(bridge.cfg.n_ctx, bridge.cfg.d_model)
    if hasattr(bridge, "pos_embed"):
        found["W_pos"] = _wrapped(bridge.pos_embed).weight
    if isinstance(embed, StreamEmbed):
        found["W_pos"] = found["W_pos"] + embed.W_pos
        if embed.W_X is not None:
            found["W_X"] = embed.W_X
    return found


def _attention(bridge: TransformerBridge) -> dict[str, Tensor]:
    cfg, attn = bridge.cfg, bridge.blocks[0].attn
    n, kv = cfg.n_heads, cfg.n_key_value_heads or cfg.n_heads
    found: dict[str, Tensor] = {}
    for name, heads in (("Q", n), ("K", kv), ("V", kv)):
        linear = _wrapped(getattr(attn, name.lower()))
        found[f"W_{name}"] = split_heads(linear.weight.T, heads).transpose(0, 1)
        found[f"b_{name}"] = split_heads(linear.bias, heads)
    output = _wrapped(attn.o)
    found |= {"W_O": output.weight.T.unflatten(0, (n, -1)), "b_O": output.bias}
    for name in ("q_norm", "k_norm"):
        if hasattr(attn, name):
            found[f"{name}_w"] = _wrapped(getattr(attn, name)).weight
    return found


def _feed_forward(bridge: TransformerBridge) -> dict[str, Tensor]:
    d, zeros = bridge.cfg.d_model, _wrapped(bridge.unembed).weight.new_zeros
    if bridge.cfg.attn_only:
        return {"W_in": zeros(d, 0), "W_out": zeros(0, d), "b_in": zeros(0), "b_out": zeros(d)}
    found: dict[str, Tensor] = {}
    for name in ("in", "out", *(("gate",) if bridge.cfg.gated_mlp else ())):
        linear = _wrapped(getattr(bridge.blocks[0].mlp, name))
        width = linear.weight.shape[0]
        found[f"W_{name}"] = linear.weight.T
        found[f"b_{name}"] = zeros(width) if linear.bias is None else linear.bias
    return found


def _norms(bridge: TransformerBridge) -> dict[str, Tensor]:
    """Gains and biases; those that a norm lacks are one and zero."""
    block, plain = bridge.blocks[0], _wrapped(bridge.unembed).weight
    parts = {"ln1": block.ln1, "ln2": getattr(block, "ln2", None), "ln_final": bridge.ln_final}
    found: dict[str, Tensor] = {}
    for name in NORMS:
        norm = None if parts[name] is None else _wrapped(parts[name])
        gain, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
        found[f"{name}_w"] = plain.new_ones(bridge.cfg.d_model) if gain is None else gain
        found[f"{name}_b"] = plain.new_zeros(bridge.cfg.d_model) if bias is None else bias
    return found
