"""Forward passes of other authors' networks, from the tensors of their files: the reference.

Written for the tests from the description of the files, one design at a time, in float32 as their
authors run them; nothing is shared with the readers.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Any]


def load_state(path: Path) -> State:
    """Tensors by name; names of MicroAdder's later designs without their prefixes."""
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    content = torch.load(path, map_location="cpu", weights_only=True)
    state = content.get("model_state_dict", content)
    short = {}
    for name, value in state.items():
        for prefix in ("blocks.0.", "attn.", "ffn."):
            name = name.removeprefix(prefix)
        short[name] = value
    return {**short, **({"config": content["config"]} if "config" in content else {})}


def logits_of(s: State, tokens: Tensor) -> Tensor:
    """Logits at every position."""
    if "digit_enc" in s or "z_hi_pos" in s:
        return _split(s, tokens)
    return _qwen3(s, tokens)


def answers(s: State, tokens: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """What greedy decoding answers at each step if it answered as `tokens` do before.

    Where the result equals the tokens, decoding from the prompt gives just them.

    Args:
        s: The network.
        tokens: Prompts and answers, without the last one.
        first: Length of the prompt.

    Returns:
        Answers, and the gap between the two largest logits at each step.
    """
    top = logits_of(s, tokens)[:, first - 1 :].topk(2, dim=2)
    return top.indices[..., 0], top.values[..., 0] - top.values[..., 1]


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of (batch, head, position, width)."""
    n = q.shape[-2]
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), -math.inf)
    z = scores.softmax(-1) @ v
    return z.transpose(1, 2).flatten(2)


def _heads(x: Tensor, n: int) -> Tensor:
    return x.unflatten(-1, (n, -1)).transpose(1, 2)


def _rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def _split(s: State, tokens: Tensor) -> Tensor:
    if "tok_emb.weight" in s:
        table = s["tok_emb.weight"]
    else:
        t = s["tok_arc_start"] + torch.arange(10) * s["tok_arc_stride"]
        B = s.get("tok_arc_B", s["tok_arc_A"])
        table = torch.stack([s["tok_arc_A"] * t.cos(), B * t.sin()], dim=1)
    if "digit_enc" in s:
        rows, last, special = s["digit_enc"], s["z10_enc"], s["special_enc"]
    elif "digit_pos" in s:
        rows = s["digit_pos"]
    else:
        i = torch.arange(10, dtype=s["spiral_amp"].dtype)
        t = 2 * math.pi * i / 10 + s["spiral_phase"]
        line = s["spiral_slope"] * i + s["spiral_offset"]
        rows = torch.stack([s["spiral_amp"] * t.cos(), s["spiral_amp"] * t.sin(), line], dim=1)
        rows = F.pad(rows, (0, s["z_hi_pos"].shape[1] - 3))
        if "pos_correction" in s:
            rows = rows * (1 + s["pos_correction"])[:, None]
        if "pos_corr_slope" in s:
            rows = rows * (1 + s["pos_corr_slope"] * i + s["pos_corr_intercept"])[:, None]
    if "z_hi_pos" in s:
        last = s["z_hi_pos"]
        if "special_pos" in s:
            special = s["special_pos"]
        elif "special_pos_learned" in s:
            special = torch.cat([s["special_pos_learned"], s["_eos_pos"]])
        else:
            special = torch.cat([s["_plus_pos"], s["special_pos_equals"], s["_eos_pos"]])
    places = torch.cat([rows, special[:1], rows, special[1:2], rows, last, special[2:]])
    n, tok = tokens.shape[1], table.shape[1]
    x = torch.cat([table[tokens], places[:n].expand(len(tokens), -1, -1)], dim=-1)

    def norm(x: Tensor, *names: str) -> Tensor:
        name = next(name for name in names if f"{name}.weight" in s)
        weight = s[f"{name}.weight"]
        if f"{name}.bias" in s:
            return F.layer_norm(x, weight.shape, weight, s[f"{name}.bias"], 1e-5)
        return _rms(x, weight, 1e-5)

    h = norm(x, "ln1", "norm1")
    n_heads = s["config"]["n_heads"] if "config" in s else 2
    q = h[..., tok:] @ s["q_proj.weight"].T
    W_V = s["v_proj.weight"].T if "v_proj.weight" in s else s["head_proj.weight"]
    all_z = s["out_proj.A"].shape[0] if "out_proj.A" in s else s["out_proj.weight"].shape[1]
    kv_heads = n_heads * W_V.shape[1] // all_z
    tied = q[..., : q.shape[-1] * kv_heads // n_heads]
    k = h[..., tok:] @ s["k_proj.weight"].T if "k_proj.weight" in s else tied
    v = h[..., :tok] @ W_V
    q, k, v = _heads(q, n_heads), _heads(k, kv_heads), _heads(v, kv_heads)
    k, v = (y.repeat_interleave(n_heads // kv_heads, dim=1) for y in (k, v))
    if "q_phase_angle" in s:
        turned = q.clone()
        for head, angle in enumerate(s["q_phase_angle"].tolist()):
            c, sn = math.cos(angle), math.sin(angle)
            for p in range(0, q.shape[-1] - 1, 2):
                first, second = q[:, head, :, p], q[:, head, :, p + 1]
                turned[:, head, :, p] = first * c - second * sn
                turned[:, head, :, p + 1] = first * sn + second * c
        q = turned
    z = _attend(q, k, v)
    x = x + (
        z @ s["out_proj.A"] @ s["out_proj.B"] if "out_proj.A" in s else z @ s["out_proj.weight"].T
    )
    names = ("ffn.0", "ffn.2") if "ffn.0.weight" in s else ("fc1", "fc2")
    if "0.weight" in s:  # JackCai's names, whose ffn. was taken off
        names = ("0", "2")
    g = norm(x, "ln2", "norm2") @ s[f"{names[0]}.weight"].T + s.get(f"{names[0]}.bias", 0.0)
    W_out = s[f"{names[1]}.weight"].T if f"{names[1]}.weight" in s else s["head_proj.weight"]
    x = x + F.gelu(g) @ W_out + s.get(f"{names[1]}.bias", 0.0)
    return norm(x, "ln_f", "norm_f") @ s["head_proj.weight"].T @ table.T


def _qwen3(s: State, tokens: Tensor, theta: float = 3.0, eps: float = 1e-6) -> Tensor:
    layer = "model.layers.0."

    def weight(name: str) -> Tensor:
        return s[f"{layer}{name}.weight"]

    width = len(weight("self_attn.q_norm"))
    table = s["model.embed_tokens.weight"]
    x = table[tokens]
    h = _rms(x, weight("input_layernorm"), eps)
    parts = {}
    for role in "qkv":
        W = weight(f"self_attn.{role}_proj")
        parts[role] = _heads(h @ W.T, W.shape[0] // width)
    frequency = theta ** -(torch.arange(0, width, 2, dtype=x.dtype) / width)
    angle = torch.arange(tokens.shape[1], dtype=x.dtype)[:, None] * frequency
    cos, sin = torch.cat([angle, angle], -1).cos(), torch.cat([angle, angle], -1).sin()
    for role in "qk":
        y = _rms(parts[role], weight(f"self_attn.{role}_norm"), eps)
        first, second = y.chunk(2, dim=-1)
        parts[role] = y * cos + torch.cat([-second, first], dim=-1) * sin
    group = parts["q"].shape[1] // parts["k"].shape[1]
    k, v = (parts[role].repeat_interleave(group, dim=1) for role in "kv")
    x = x + _attend(parts["q"], k, v) @ weight("self_attn.o_proj").T
    h = _rms(x, weight("post_attention_layernorm"), eps)
    hidden = F.silu(h @ weight("mlp.gate_proj").T) * (h @ weight("mlp.up_proj").T)
    x = x + hidden @ weight("mlp.down_proj").T
    return _rms(x, s["model.norm.weight"], eps) @ table.T
