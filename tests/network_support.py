"""Random networks of every option, and their forward pass written out: the reference for tests."""

import math
from typing import Any

import torch
from torch import Tensor

from model.layouts import MICRO_10, MICRO_14, PAIRS, QWEN3, WRITE_UPS, Layout
from model.network import Network
from model.parts import Rotary

SHORT = Layout(name="short", prompt=(5, "b", 1, "a"), vocab_size=7, end=None, width=3, base=4)
SHIFTED = Layout(
    name="shifted",
    prompt=(0, "a", 12, "b", 13),
    vocab_size=14,
    end=0,
    width=12,
    first_digit=2,
    answer="units last",
)

OPTIONS: dict[str, dict[str, Any]] = {
    "write-ups": {},
    "two heads of their own widths": {"heads": 2, "kv_heads": 2, "qk": 3, "v": 2},
    "shared keys and values": {"heads": 4, "kv_heads": 2, "qk": 2, "v": 3, "layout": QWEN3},
    "one kv head": {"heads": 3, "kv_heads": 1, "layout": MICRO_10},
    "rotary, half split": {"rotary": Rotary(theta=3.0, dim=4), "layout": QWEN3},
    "rotary, interleaved": {"rotary": Rotary(theta=7.0, dim=4, interleaved=True)},
    "rotary of a part": {"rotary": Rotary(theta=100.0, dim=2), "qk": 5},
    "norms of q and k": {"qk_norm": True, "heads": 2, "kv_heads": 1},
    "layer norm": {"norm": "layer", "layout": MICRO_14},
    "no norm": {"norm": "none", "scale": 0.3},
    "no feed-forward": {"act": "none", "ff": 0},
    "relu": {"act": "relu"},
    "gelu by tanh": {"act": "gelu_tanh"},
    "silu": {"act": "silu"},
    "gated silu": {"act": "silu", "gated": True, "layout": QWEN3},
    "gated gelu": {"act": "gelu", "gated": True, "norm": "layer"},
    "gated relu": {"act": "relu", "gated": True, "norm": "none", "scale": 0.3},
    "gated gelu by tanh": {"act": "gelu_tanh", "gated": True},
    "any stream": {"stream": True, "layout": MICRO_14},
    "without biases": {"biases": False},
    "pairs": {"layout": PAIRS},
    "short operands": {"layout": SHORT},
    "twelve digits, units last": {"layout": SHIFTED},
    "everything": {
        "layout": SHIFTED,
        "d": 7,
        "heads": 4,
        "kv_heads": 2,
        "qk": 6,
        "v": 3,
        "ff": 9,
        "rotary": Rotary(theta=11.0, dim=4, interleaved=True),
        "qk_norm": True,
        "norm": "layer",
        "act": "silu",
        "gated": True,
        "stream": True,
    },
}
"""Options of `random_network` by name; together they hold every choice that a network has."""


def random_network(
    *,
    seed: int = 0,
    layout: Layout = WRITE_UPS,
    d: int = 5,
    heads: int = 1,
    kv_heads: int = 1,
    qk: int = 4,
    v: int = 4,
    ff: int = 6,
    norm: str = "rms",
    act: str = "gelu",
    gated: bool = False,
    qk_norm: bool = False,
    rotary: Rotary | None = None,
    stream: bool = False,
    biases: bool = True,
    scale: float = 0.8,
) -> Network:
    """Weights large enough for attention and activations to be far from linear."""
    generator = torch.Generator().manual_seed(seed)
    vocab, n_ctx = layout.vocab_size, layout.n_input + 1

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64) * scale

    def bias(*shape: int) -> Tensor:
        return draw(*shape) if biases else torch.zeros(shape, dtype=torch.float64)

    norms: dict[str, Tensor] = {}
    for name in ("ln1", "ln2", "ln_final"):
        used = norm != "none" and (ff > 0 or name != "ln2")
        one, zero = torch.ones(d, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)
        norms[f"{name}_w"] = one + draw(d) if used else one
        norms[f"{name}_b"] = bias(d) if used and norm == "layer" else zero

    return Network(
        layout=layout,
        W_E=draw(vocab, d),
        W_pos=draw(n_ctx, d),
        W_X=draw(n_ctx, vocab, d) if stream else None,
        W_Q=draw(heads, d, qk),
        W_K=draw(kv_heads, d, qk),
        W_V=draw(kv_heads, d, v),
        W_O=draw(heads, v, d),
        b_Q=bias(heads, qk),
        b_K=bias(kv_heads, qk),
        b_V=bias(kv_heads, v),
        b_O=bias(d),
        q_norm_w=1 + draw(qk) if qk_norm else None,
        k_norm_w=1 + draw(qk) if qk_norm else None,
        W_in=draw(d, ff),
        W_gate=draw(d, ff) if gated else None,
        W_out=draw(ff, d),
        b_in=bias(ff),
        b_gate=bias(ff) if gated else None,
        b_out=bias(d) if ff else torch.zeros(d, dtype=torch.float64),
        W_U=draw(d, vocab),
        b_U=bias(vocab),
        **norms,
        norm=norm,  # pyright: ignore[reportArgumentType]
        eps=1e-5,
        qk_eps=1e-3,
        act=act,  # pyright: ignore[reportArgumentType]
        attn_scale=math.sqrt(qk) * 1.3,
        rotary=rotary,
    )


def plain_logits(net: Network, tokens: Tensor) -> Tensor:
    """The forward pass, one example, head and position at a time, from the equations."""

    def norm(x: Tensor, name: str) -> Tensor:
        if net.norm == "none":
            return x
        gain, shift = getattr(net, f"{name}_w"), getattr(net, f"{name}_b")
        if net.norm == "layer":
            return torch.nn.functional.layer_norm(x, x.shape, gain, shift, net.eps)
        return x * (x.square().mean() + net.eps).rsqrt() * gain + shift

    def turn(x: Tensor, position: int) -> Tensor:
        if net.rotary is None:
            return x
        x = x.clone()
        half = net.rotary.dim // 2
        for i in range(half):
            at = (2 * i, 2 * i + 1) if net.rotary.interleaved else (i, i + half)
            angle = position * net.rotary.theta ** (-2 * i / net.rotary.dim)
            c, s = math.cos(angle), math.sin(angle)
            first, second = float(x[at[0]]), float(x[at[1]])
            x[at[0]], x[at[1]] = first * c - second * s, first * s + second * c
        return x

    def unit(x: Tensor, gain: Tensor | None) -> Tensor:
        return x if gain is None else x * (x.square().mean() + net.qk_eps).rsqrt() * gain

    def act(x: Tensor) -> Tensor:
        if net.act == "relu":
            return x.clamp(min=0)
        if net.act == "silu":
            return x * torch.sigmoid(x)
        if net.act == "gelu":
            return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        cubic = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return x * 0.5 * (1 + torch.tanh(cubic))

    def one(sequence: list[int]) -> Tensor:
        streams = []
        for position, token in enumerate(sequence):
            x = net.W_E[token] + net.W_pos[position]
            streams.append(x if net.W_X is None else x + net.W_X[position, token])
        normed = [norm(x, "ln1") for x in streams]
        rows = []
        for i, x in enumerate(streams):
            mid = x + net.b_O
            for h in range(net.n_heads):
                kv = h * net.n_kv_heads // net.n_heads
                q = turn(unit(normed[i] @ net.W_Q[h] + net.b_Q[h], net.q_norm_w), i)
                keys = [
                    turn(unit(normed[j] @ net.W_K[kv] + net.b_K[kv], net.k_norm_w), j)
                    for j in range(i + 1)
                ]
                weights = (torch.stack(keys) @ q / net.attn_scale).softmax(0)
                values = torch.stack(normed[: i + 1]) @ net.W_V[kv] + net.b_V[kv]
                mid = mid + weights @ values @ net.W_O[h]
            if net.act != "none":
                g = norm(mid, "ln2")
                post = g @ net.W_in + net.b_in
                gate = None if net.W_gate is None else act(g @ net.W_gate + net.b_gate)
                post = act(post) if gate is None else gate * post
                mid = mid + post @ net.W_out + net.b_out
            rows.append(norm(mid, "ln_final") @ net.W_U + net.b_U)
        return torch.stack(rows)

    return torch.stack([one(sequence) for sequence in tokens.tolist()])
