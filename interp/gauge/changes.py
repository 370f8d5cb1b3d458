"""Which parameters mean the same network: changes of gauge, and a checkpoint in balanced gauge.

Question: what of the stored factors is the network, and what is a choice of coordinates?

Method: W = A B is unchanged by (A G, G^-1 B) for every invertible G; factors that are shared share
their G. The head has one more gauge: scores and outputs are unchanged when W_Q, W_K, W_V are
multiplied from the right by R_Q, R_K, R_V with R_Q R_K^T = 1, and W_O from the left by R_V^-1; what
is tied must carry the same R. And the gains of the first two norms can move into the rows of the
matrices that read them. A balanced checkpoint is the same function with A^T A = B B^T.

    python -m interp.gauge CHECKPOINT --out FOLDER
"""

import torch
from torch import Tensor

from model.config import ModelConfig, qkv_names
from model.factored import Params, factor_names


def factor_groups(params: Params, config: ModelConfig) -> list[tuple[list[str], list[str]]]:
    """List the factors that must change together: names of left factors, names of right factors.

    A full matrix has no such gauge and is left out.
    """
    groups: list[tuple[list[str], list[str]]] = []
    products = [factor_names(params, name) for name in ("W_pos", "W_O", "W_in", "W_out")]
    for names in [*products, *qkv_names(config)]:
        if len(names) == 1:
            continue
        left, right = names
        touching = [group for group in groups if left in group[0] or right in group[1]]
        lefts = {left}.union(*(group[0] for group in touching))
        rights = {right}.union(*(group[1] for group in touching))
        groups = [group for group in groups if group not in touching]
        groups.append((sorted(lefts), sorted(rights)))
    return groups


def norm_readers(params: Params, config: ModelConfig) -> dict[str, list[str]]:
    """Name, for each of the first two norms, the parameters whose rows its gain multiplies."""
    qkv = sorted({names[0] for names in qkv_names(config)})
    return {"ln1": qkv, "ln2": [factor_names(params, "W_in")[0]]}


def random_invertible(n: int, generator: torch.Generator, *, spread: float = 0.5) -> Tensor:
    """Draw rotation x diagonal x rotation, the logarithms of the diagonal normal with `spread`."""

    def rotation() -> Tensor:
        return torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]

    scales = torch.exp(spread * torch.randn(n, generator=generator, dtype=torch.float64))
    return rotation() @ torch.diag(scales) @ rotation()


def random_gauge(params: Params, config: ModelConfig, generator: torch.Generator) -> Params:
    """Draw other parameters of the same function, over every gauge freedom of the configuration.

    Args:
        params: Parameters by name.
        config: The network's shape and ties.
        generator: Source of G for every product, of R for the head and of the norms' scales.

    Returns:
        New parameters in float64; the function is the same up to rounding.
    """
    out = {name: value.detach().double() for name, value in params.items()}
    for lefts, rights in factor_groups(out, config):
        G = random_invertible(out[lefts[0]].shape[1], generator)
        inverse = torch.linalg.inv(G)
        out |= {name: out[name] @ G for name in lefts}
        out |= {name: inverse @ out[name] for name in rights}
    q, k, v = (names[-1] for names in qkv_names(config))
    R_K = random_invertible(config.d_model, generator, spread=0.0 if q == k else 0.5)
    R_Q = torch.linalg.inv(R_K).T
    R_V = {k: R_K, q: R_Q}.get(v)
    if R_V is None:
        R_V = random_invertible(config.d_model, generator)
    last = {q: R_Q, k: R_K} | ({} if v in (q, k) else {v: R_V})
    # A right factor shared by all three (shareB, or tied full matrices) must be turned only once.
    out |= {name: out[name] @ R for name, R in last.items()}
    reader = factor_names(out, "W_O")[0]
    out[reader] = torch.linalg.inv(R_V) @ out[reader]
    for norm, readers in norm_readers(out, config).items():
        scale = torch.exp(0.5 * torch.randn(config.d_model, generator=generator).double())
        out |= {name: out[name] / scale[:, None] for name in readers}
        out |= {name: out[name] * scale for name in (f"{norm}_w", f"{norm}_b") if name in out}
    return out


def balance(params: Params, config: ModelConfig) -> Params:
    """Move every product into the gauge where its factors carry equal weight, A^T A = B B^T.

    Right factors that share a left one are taken side by side (and left ones on top of each other),
    so that |A| equals the norm of all of them together. Columns of A are ordered by singular value,
    the largest entry of each row of B is positive. The head's own gauge R is left as it is.

    Args:
        params: Parameters by name.
        config: The network's shape and ties.

    Returns:
        Parameters of the same function, in float64.
    """
    out = {name: value.detach().double() for name, value in params.items()}
    for lefts, rights in factor_groups(out, config):
        left = torch.cat([out[name] for name in lefts])
        right = torch.cat([out[name] for name in rights], dim=1)
        rank = left.shape[1]
        U, S, Vh = torch.linalg.svd(left @ right, full_matrices=False)
        pad = max(0, rank - S.shape[0])
        root = torch.nn.functional.pad(S[:rank], (0, pad)).sqrt()
        U = torch.nn.functional.pad(U[:, :rank], (0, pad))
        Vh = torch.nn.functional.pad(Vh[:rank], (0, 0, 0, pad))
        signs = fixed_signs(Vh.T)
        new_left, new_right = U * signs * root, (root * signs)[:, None] * Vh
        rows = [out[name].shape[0] for name in lefts]
        columns = [out[name].shape[1] for name in rights]
        out |= dict(zip(lefts, new_left.split(rows), strict=True))
        out |= dict(zip(rights, new_right.split(columns, dim=1), strict=True))
    return out


def fixed_signs(columns: Tensor) -> Tensor:
    """Give the sign per column that makes its entry of largest magnitude positive."""
    largest = columns.abs().argmax(dim=0, keepdim=True)
    return torch.where(columns.gather(0, largest)[0] < 0, -1.0, 1.0).to(columns.dtype)
