"""A HookedTransformer that anybody trained, as a network of this project.

Question: what does this HookedTransformer compute, as layout and effective weights?

Method: weights are read off the modules. Every field of its configuration either is one that the
network can say, or has no part in the forward pass, or stands at its default: anything else is
refused by name, so that nothing is left out in silence. Hooks that are set on it are not part of
its weights and are not read.

    network = from_hooked_transformer(hooked, MICRO_14)
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor
from transformer_lens import HookedTransformer, HookedTransformerConfig

from interp.hooked.names import ACTS, NORM_KINDS
from interp.hooked.parts import BiasedGatedMLP
from interp.hooked.stream import StreamEmbed
from model.errors import InputError
from model.layouts import Layout
from model.network import Network
from model.parts import NORMS, Rotary

# Fields that are read below.
READ = (
    *("n_layers", "d_model", "d_head", "n_heads", "d_mlp", "d_vocab", "d_vocab_out", "n_ctx"),
    *("n_key_value_heads", "attn_only", "gated_mlp", "normalization_type", "act_fn", "eps"),
    *("positional_embedding_type", "rotary_base", "rotary_dim", "rotary_adjacent_pairs"),
    *("use_attn_scale", "attn_scale", "use_qk_norm"),
)
# Fields without a part in the forward pass on tokens.
IDLE = (
    *("model_name", "device", "n_devices", "dtype", "seed", "init_mode", "init_weights"),
    *("initializer_range", "n_params", "tokenizer_name", "default_prepend_bos"),
    *("tokenizer_prepends_bos", "use_attn_result", "use_split_qkv_input", "use_hook_mlp_in"),
    *("use_attn_in", "use_hook_tokens", "ungroup_grouped_query_attention", "from_checkpoint"),
    *("checkpoint_index", "checkpoint_label_type", "checkpoint_value", "trust_remote_code"),
    *("scale_attn_by_inverse_layer_idx", "uses_rms_norm", "tie_word_embeddings"),
)


def from_hooked_transformer(hooked: HookedTransformer, layout: Layout) -> Network:
    """Turn a one-layer HookedTransformer into a network.

    Args:
        hooked: The model; it is not changed and shares no tensor.
        layout: The task that it was trained on.

    Returns:
        The network, in the model's type; there and back it equals itself.

    Raises:
        InputError: More than one layer, an option that a network cannot say, or a layout that does
            not fit; the message names it.
    """
    _check(hooked.cfg)
    cfg, block = hooked.cfg, hooked.blocks[0]
    attn: Any = block.attn
    kv = "" if cfg.n_key_value_heads is None else "_"
    weights: dict[str, Tensor] = {
        "W_Q": attn.W_Q,
        "b_Q": attn.b_Q,
        "W_O": attn.W_O,
        "b_O": attn.b_O,
        **{name: getattr(attn, f"{kv}{name}") for name in ("W_K", "b_K", "W_V", "b_V")},
        "W_U": hooked.unembed.W_U,
        "b_U": hooked.unembed.b_U,
        **_stream(hooked),
        **_feed_forward(hooked),
        **_norms(hooked),
    }
    options: dict[str, Any] = {
        "norm": NORM_KINDS[cfg.normalization_type],
        "eps": _eps(hooked),
        "qk_eps": 1e-6,
        "act": "none" if cfg.attn_only else ACTS[cfg.act_fn],
        "attn_scale": float(attn.attn_scale),
        "rotary": None,
    }
    if cfg.use_qk_norm:
        weights |= {"q_norm_w": attn.q_norm.w, "k_norm_w": attn.k_norm.w}
        options["qk_eps"] = float(attn.q_norm.eps)
        if attn.k_norm.eps != attn.q_norm.eps:
            raise InputError("q_norm and k_norm have different eps: it is not supported")
    if cfg.positional_embedding_type == "rotary":
        options["rotary"] = Rotary(
            theta=float(cfg.rotary_base),
            dim=int(cfg.rotary_dim or cfg.d_head),
            interleaved=bool(cfg.rotary_adjacent_pairs),
        )
    copies = {name: value.detach().cpu().clone() for name, value in weights.items()}
    return Network.build(layout, options, copies)


def _check(cfg: HookedTransformerConfig) -> None:
    if cfg.n_layers != 1:
        raise InputError(f"the model has {cfg.n_layers} layers: only one-layer networks are read")
    if cfg.d_vocab_out not in (-1, cfg.d_vocab):
        raise InputError(f"d_vocab_out is {cfg.d_vocab_out}: it must be d_vocab, {cfg.d_vocab}")
    known = {
        "normalization_type": tuple(NORM_KINDS),
        "positional_embedding_type": ("standard", "rotary"),
        **({} if cfg.attn_only else {"act_fn": tuple(ACTS)}),
    }
    for name, values in known.items():
        if getattr(cfg, name) not in values:
            supported = ", ".join(map(str, values))
            raise InputError(f"{name} is {getattr(cfg, name)!r}: supported are {supported}")
    plain = HookedTransformerConfig(
        n_layers=1,
        d_model=cfg.d_model,
        d_head=cfg.d_head,
        n_heads=cfg.n_heads,
        n_ctx=cfg.n_ctx,
        d_vocab=cfg.d_vocab,
        attn_only=True,
        device="cpu",
    )
    for field in dataclasses.fields(cfg):
        if field.name not in (*READ, *IDLE):
            value = getattr(cfg, field.name)
            if value != getattr(plain, field.name, None):
                raise InputError(f"{field.name} is {value!r}: this option is not supported")


def _stream(hooked: HookedTransformer) -> dict[str, Tensor]:
    embed: Any = hooked.embed
    if isinstance(embed, StreamEmbed):
        tables: dict[str, Tensor] = {"W_E": embed.W_E, "W_pos": embed.W_pos}
        if embed.W_X is not None:
            tables["W_X"] = embed.W_X
        if hasattr(hooked, "pos_embed"):
            tables["W_pos"] = embed.W_pos + hooked.pos_embed.W_pos
        return tables
    if hooked.cfg.positional_embedding_type == "rotary":
        W_pos = embed.W_E.new_zeros(hooked.cfg.n_ctx, hooked.cfg.d_model)
    else:
        W_pos = hooked.pos_embed.W_pos
    return {"W_E": embed.W_E, "W_pos": W_pos}


def _feed_forward(hooked: HookedTransformer) -> dict[str, Tensor]:
    cfg = hooked.cfg
    if cfg.attn_only:
        zeros = hooked.unembed.W_U.new_zeros
        d = cfg.d_model
        return {
            "W_in": zeros(d, 0),
            "W_out": zeros(0, d),
            "b_in": zeros(0),
            "b_out": zeros(d),
        }
    mlp: Any = hooked.blocks[0].mlp
    found = {name: getattr(mlp, name) for name in ("W_in", "b_in", "W_out", "b_out")}
    if not cfg.gated_mlp:
        return found
    found["W_gate"] = mlp.W_gate
    if isinstance(mlp, BiasedGatedMLP):
        return {**found, "b_gate": mlp.b_gate}
    # TransformerLens adds b_in after the product: it is part of what is written.
    found["b_gate"] = torch.zeros_like(mlp.b_in)
    if bool(mlp.b_in.any()):
        found["b_out"] = mlp.b_out + mlp.b_in @ mlp.W_out
        found["b_in"] = torch.zeros_like(mlp.b_in)
    return found


def _norm_modules(hooked: HookedTransformer) -> dict[str, Any]:
    if hooked.cfg.normalization_type is None:
        return {}
    block = hooked.blocks[0]
    found = {"ln1": block.ln1, "ln_final": hooked.ln_final}
    return found if hooked.cfg.attn_only else {**found, "ln2": block.ln2}


def _norms(hooked: HookedTransformer) -> dict[str, Tensor]:
    """Gains and biases; those that a folded or absent norm lacks are one and zero."""
    plain, modules = hooked.unembed.W_U, _norm_modules(hooked)
    d = hooked.cfg.d_model
    found: dict[str, Tensor] = {}
    for name in NORMS:
        module = modules.get(name)
        gain, bias = getattr(module, "w", None), getattr(module, "b", None)
        found[f"{name}_w"] = plain.new_ones(d) if gain is None else gain
        found[f"{name}_b"] = plain.new_zeros(d) if bias is None else bias
    return found


def _eps(hooked: HookedTransformer) -> float:
    values = {float(module.eps) for module in _norm_modules(hooked).values()}
    if len(values) > 1:
        raise InputError("the norms have different eps: it is not supported")
    return values.pop() if values else float(hooked.cfg.eps)
