"""Reads the dictionaries that the write-ups' authors published as .pt files."""

import reprlib
from typing import Any

import torch
from torch import Tensor

from model.config import VOCAB_SIZE, ModelConfig, param_shapes
from model.errors import InputError
from model.factored import Params
from model.tensor_file import as_weights, check_name

# Keys that this family leaves at one value: any other value is another forward pass.
_FIXED: dict[str, Any] = {
    "n_layer": 1,
    "n_head": 1,
    "vocab_size": VOCAB_SIZE,
    "pe_type": "learned",
    "token_emb_rank": 0,
    "use_index_emb": False,
    "lm_head_rank": 0,
    "norm_type": "",
}
# Keys that change only how the model was trained.
_IGNORED = ("dropout", "pe_init_period")
_RENAMED = {"max_seq_len": "n_ctx"}
_LONGEST = 80
_KEPT = ("d_model", "d_ff", "pos_rank", "qkv_rank", "attn_out_rank", "ffn_rank", "tie_qkv")

_BLOCK = "blocks.0."
_MATRICES = {
    "pos_emb": "W_pos",
    f"{_BLOCK}attn.proj": "W_O",
    f"{_BLOCK}mlp.fc1": "W_in",
    f"{_BLOCK}mlp.fc2": "W_out",
}
_NORMS = {f"{_BLOCK}ln1": "ln1", f"{_BLOCK}ln2": "ln2", "ln_f": "ln_final"}
_FULL_QKV = {"qkv_shared": "W_QKV", "qk_shared": "W_QK", "q_proj": "W_Q", "kv_shared": "W_KV"}


def from_published(content: Any) -> tuple[ModelConfig, Params]:
    """Translate a published dictionary (`model_config`, `model_state`) to our names.

    Raises:
        InputError: Not such a dictionary, a configuration key that changes the forward pass in a
            way that is not implemented, or tensors that do not belong.
    """
    parts = ("model_config", "model_state")
    if not isinstance(content, dict) or not all(isinstance(content.get(x), dict) for x in parts):
        raise InputError("no model_config and model_state inside: not a published adder")
    config = _config(dict(content["model_config"]))
    state = {str(key): _plain(str(key), value) for key, value in content["model_state"].items()}
    head = state.pop("lm_head.weight", None)
    if head is not None and not torch.equal(head, state.get("token_emb.weight", head)):
        raise InputError(
            "lm_head.weight differs from token_emb.weight: an untied head is not supported"
        )
    params: Params = {}
    for key, value in state.items():
        for name, tensor in _translate(key, value, config):
            params[name] = tensor.contiguous()
    return config, {name: params[name] for name in _ordered(params, config)}


def _plain(key: str, value: Any) -> Tensor:
    check_name(key)
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        raise InputError(f"model_state[{key!r}] is no plain tensor of numbers: it cannot be used")
    return as_weights(f"model_state[{key!r}]", value)


def _ordered(params: Params, config: ModelConfig) -> list[str]:
    shapes = param_shapes(config)
    return [*(name for name in shapes if name in params), *(n for n in params if n not in shapes)]


def _config(published: dict[str, Any]) -> ModelConfig:
    for key in ("d_model", "d_ff", "max_seq_len"):
        if key not in published:
            raise InputError(f"configuration key {key} is missing: not a published adder")
    use_rmsnorm = published.pop("use_rmsnorm", False)
    if not isinstance(use_rmsnorm, bool):
        _check_plain("use_rmsnorm", use_rmsnorm)
        raise InputError(f"configuration key use_rmsnorm is {use_rmsnorm!r}: it must be a bool")
    norm = "rms" if use_rmsnorm else "layer"
    fields: dict[str, Any] = {}
    for key, value in published.items():
        _check_plain(key, value)
        if key in _FIXED:
            if value != _FIXED[key]:
                raise InputError(
                    f"configuration key {key} = {value!r} changes the forward pass in a way that "
                    f"is not supported (only {_FIXED[key]!r} is)"
                )
        elif key in _KEPT or key in _RENAMED:
            fields[_RENAMED.get(key, key)] = value
        elif key not in _IGNORED:
            raise InputError(
                f"configuration key {key} = {value!r} is unknown and may change the forward pass"
            )
    for key in ("pos_rank", "qkv_rank", "attn_out_rank", "ffn_rank"):
        fields.setdefault(key, 0)
    fields.setdefault("tie_qkv", "none")
    return ModelConfig.from_dict({"norm": norm, **fields})


def _check_plain(key: Any, value: Any) -> None:
    """Refuse what could not be compared or printed: tensors, containers, very long texts."""
    if not isinstance(key, str) or len(key) > _LONGEST or not key.isprintable():
        raise InputError(f"configuration key {reprlib.repr(key)} is unknown: no published adder")
    if type(value) not in (bool, int, float, str) or len(str(value)) > _LONGEST:
        kind = type(value).__name__
        raise InputError(f"configuration key {key} holds a {kind}: it must be a short plain value")


def _translate(key: str, value: Tensor, config: ModelConfig) -> list[tuple[str, Tensor]]:
    """Give our names and tensors for one published tensor; unknown keys keep their name."""
    if key == "token_emb.weight":
        return [("W_E", value)]
    stem, _, part = key.rpartition(".")
    if stem in _NORMS and part in ("weight", "bias"):
        return [(f"{_NORMS[stem]}_{part[0]}", value)]
    if value.ndim != 2:
        return [(key, value)]
    if stem in _MATRICES:
        name = _MATRICES[stem]
        if part == "weight":  # nn.Linear keeps (out, in), nn.Embedding keeps (pos, d)
            return [(name, value if name == "W_pos" else value.T)]
        return [(f"{name}_{part}", value)]
    inner = key.removeprefix(f"{_BLOCK}attn.")
    if inner.startswith("qkv_") and not inner.startswith("qkv_shared"):
        stem, suffix = inner[:5], inner[5:]
        return [(f"{stem}_{suffix.upper()}" if suffix else stem, value)]
    owner, _, part = inner.partition(".")
    if owner == "qkv":
        return _untied(part, value, config)
    if owner in _FULL_QKV or owner == "v_proj":
        name = _FULL_QKV.get(owner, "W_V")
        if part == "weight":
            return [(name, value.T)]
        suffix = name[2:]
        shared = f"qkv_{part}" if suffix == "QKV" else f"qkv_{part}_{suffix}"
        return [(shared, value)]
    return [(key, value)]


def _untied(part: str, value: Tensor, config: ModelConfig) -> list[tuple[str, Tensor]]:
    if part == "A":
        return [("qkv_A", value)]
    width = config.d_model
    stacked = value.T if part == "weight" else value
    if stacked.shape[1] != 3 * width:
        raise InputError(f"attn.qkv.{part} has shape {tuple(value.shape)}, not 3 x {width} wide")
    stem = "W" if part == "weight" else "qkv_B"
    return [
        (f"{stem}_{role}", block)
        for role, block in zip("QKV", stacked.split(width, dim=1), strict=True)
    ]
