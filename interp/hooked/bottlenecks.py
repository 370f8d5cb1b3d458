"""Hook points for the low-rank bottlenecks of the write-ups' family.

Question: where does TransformerLens see the bottlenecks?

Method: a dense wrapper hides the bottleneck h = x A of a product W = A B, so each one is given back
as a hook point: a permanent hook on y = h B recovers h = y B^+ (B^+ the pseudo-inverse, exact where
B has full row rank), passes it through the hook point, and adds what the hooks changed,
(hook(h) - h) B. Reading h from y rather than from x is what keeps edits upstream visible. Where B
lacks full row rank, the part of h that B ignores is unseen.
"""

import torch
from torch import Tensor, nn
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


def bottlenecks_of(model: Adder) -> tuple[str, ...]:
    """List the matrices (keys of `BOTTLENECKS`) that are products."""
    return tuple(matrix for matrix in BOTTLENECKS if len(factors_of(model, matrix)) == 2)


def place_point(hooked: nn.Module, matrix: str) -> HookPoint:
    """Add the hook point of one bottleneck to a model that has its other hook points."""
    point = HookPoint()
    parent, _, name = BOTTLENECKS[matrix][0].rpartition(".")
    hooked.get_submodule(parent).add_module(name, point)
    return point


def pass_through(point: HookPoint, high: HookPoint, B: Tensor) -> None:
    """Make `high`, whose activation is h B, take h through `point` first; for good."""
    inverse = torch.linalg.pinv(B)

    def take_through(tensor: Tensor, *, hook: HookPoint) -> Tensor:
        h = tensor @ inverse
        return tensor + (point(h) - h) @ B

    high.add_perma_hook(take_through)


def second_factor(model: Adder, matrix: str) -> Tensor:
    """Return the factor B of W = A B, in float64."""
    return model.params[factors_of(model, matrix)[1]].detach().double()
