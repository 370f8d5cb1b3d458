"""Matrices held as products: W = A B, applied from the left, and the rank-one terms they sum to."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from model.config import ModelConfig, param_shapes

Params = dict[str, Tensor]
"""Parameters by name, in the order and with the shapes of `param_shapes`."""


def factor_names(params: Params, name: str) -> tuple[str, ...]:
    """Name the stored factors of matrix `name`: one if it is full, two if it is a product."""
    return (name,) if name in params else (f"{name}_A", f"{name}_B")


def apply_factors(
    x: Float[Tensor, "... m"], params: Params, names: tuple[str, ...]
) -> Float[Tensor, "... n"]:
    """Multiply `x` by each named factor in turn, so that x A B passes through the bottleneck."""
    for name in names:
        x = x @ params[name]
    return x


def product(params: Params, names: tuple[str, ...]) -> Float[Tensor, "m n"]:
    """Multiply the named factors into the matrix that they stand for."""
    matrix = params[names[0]]
    for name in names[1:]:
        matrix = matrix @ params[name]
    return matrix


def rank_one_terms(
    A: Float[Tensor, "m r"],
    B: Float[Tensor, "r n"],
) -> Float[Tensor, "r m n"]:
    """Split A B into its r raw rank-one terms, which sum to it.

    The terms depend on the gauge: (A G, G^-1 B) is the same matrix with other terms.
    """
    return torch.einsum("mr,rn->rmn", A, B)


def init_params(
    config: ModelConfig,
    seed: int,
    *,
    token_std: float = 0.02,
    position_std: float = 0.02,
    dtype: torch.dtype = torch.float32,
) -> Params:
    """Draw initial parameters as the published code distributes them.

    Embeddings and full matrices are normal with `token_std` (0.02 published); both factors of the
    position embedding with `position_std` (0.02 published); other factors with variance
    2 / (rows + columns) of that factor; gains 1, biases 0. With tie_qkv "none" and a rank, the
    published B is one (r, 3 d) matrix, and its variance is that of the whole.

    Args:
        config: The shape of the network.
        seed: Any non-negative integer; the same seed gives the same parameters.
        token_std: Standard deviation of the embedding and of every full matrix.
        position_std: Standard deviation of W_pos, or of each of its factors.
        dtype: Type of the parameters; the draw itself is always float32.

    Returns:
        Parameters by name, in stored order.
    """
    generator = torch.Generator().manual_seed(seed)
    params: Params = {}
    for name, shape in param_shapes(config).items():
        if name.startswith("ln"):
            value = torch.ones(shape) if name.endswith("_w") else torch.zeros(shape)
            params[name] = value.to(dtype)
            continue
        if name.startswith("W_pos"):
            std = position_std
        elif name.endswith("_A") or "_A_" in name or "_B" in name:
            columns = shape[1]
            if config.tie_qkv == "none" and name.startswith("qkv_B"):
                columns *= 3
            std = math.sqrt(2.0 / (shape[0] + columns))
        else:
            std = token_std
        params[name] = (torch.randn(shape, generator=generator) * std).to(dtype)
    return params
