"""Hook points for the low-rank bottlenecks of the write-ups' family.

Question: where does TransformerLens see the bottlenecks?

Method: a dense wrapper hides the bottleneck h = x A of a product W = A B, so each one is given back
as a hook point: a permanent hook on y = h B recovers h = y B^+ (B^+ the pseudo-inverse, exact where
B has full row rank), passes it through the hook point, and adds what the hooks changed,
(hook(h) - h) B. Reading h from y rather than from x is what keeps edits upstream visible. Where B
lacks full row rank, the part of h that B ignores is unseen.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.hook_points import HookPoint

from model.adder import Adder
from model.config import qkv_names
from model.factored import factor_names

BOTTLENECKS: dict[str, tuple[str, str]] = {
    "W_pos": ("hook_pos_low", "hook_pos_embed"),
    "W_Q": ("blocks.0.attn.hook_q_low", "blocks.0.attn.hook_q"),
    "W_K": ("blocks.0.attn.hook_k_low", "blocks.0.attn.hook_k"),
    "W_V": ("blocks.0.attn.hook_v_low", "blocks.0.attn.hook_v"),
    "W_O": ("blocks.0.attn.hook_o_low", "blocks.0.hook_attn_out"),
    "W_in": ("blocks.0.mlp.hook_in_low", "blocks.0.mlp.hook_pre"),
    "W_out": ("blocks.0.mlp.hook_out_low", "blocks.0.hook_mlp_out"),
}
"""For each matrix that may be a product: the hook point of its bottleneck, and the one it feeds."""


def factors_of(model: Adder, matrix: str) -> tuple[str, ...]:
    """Name the parameters whose product is `matrix` (a key of `BOTTLENECKS`): one if it is full."""
    if matrix in ("W_Q", "W_K", "W_V"):
        return qkv_names(model.config)["QKV".index(matrix[-1])]
    return factor_names(model.params, matrix)


def open_bottleneck(hooked: HookedTransformer, model: Adder, matrix: str) -> None:
    """Add the hook point of one bottleneck (a key of `BOTTLENECKS`); a full matrix has none."""
    names = factors_of(model, matrix)
    if len(names) == 1:
        return
    low, high = BOTTLENECKS[matrix]
    B = model.params[names[1]].detach().double()
    point = HookPoint()
    parent, _, name = low.rpartition(".")
    hooked.get_submodule(parent).add_module(name, point)
    target = hooked.get_submodule(high)
    assert isinstance(target, HookPoint)
    target.add_perma_hook(_through(point, B))


def _through(point: HookPoint, B: Tensor) -> Callable[..., Tensor]:
    inverse = torch.linalg.pinv(B)

    def pass_through(activation: Tensor, hook: HookPoint) -> Tensor:
        h = activation @ inverse
        return activation + (point(h) - h) @ B

    return pass_through
