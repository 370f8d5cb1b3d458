"""What differs inside the network between one input and a control: tidy, site by site.

Attention is summed by role; the low-rank bottlenecks are given in gauge-free coordinates, those of
the singular basis of the matrix that they carry; all else is coordinate by coordinate.
"""

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.anatomy import ROLES, Trace, role_index, trace_column
from model.network import Network
from model.task import TOKENS, query_position

_RANK_TOLERANCE = 1e-6
_ROLE_OF = role_index()
_STREAM = ("skip", "attn_out", "resid_mid", "pre", "post", "mlp_out", "resid_post")


def bottleneck_coordinates(
    x: Float[Tensor, "batch m"], matrix: Float[Tensor, "m n"]
) -> Float[Tensor, "batch r"]:
    """Coordinates of x W on the right singular vectors of W: all that passes through a bottleneck.

    Unlike the stored factor's activation they do not change under (A G, G^-1 B). Signs make each
    singular vector's largest entry positive; r is the numerical rank.
    """
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    rank = int((S / S[0]).gt(_RANK_TOLERANCE).sum()) if float(S[0]) > 0 else 0
    lead = Vh[:rank].gather(1, Vh[:rank].abs().argmax(dim=1, keepdim=True))[:, 0].sign()
    return x @ U[:, :rank] * (S[:rank] * lead)


def column_features(
    weights: Network, tokens: Int[Tensor, "1 pos"], column: int
) -> dict[tuple[str, str], float]:
    """Describe one input's run by (site, element): the values that `difference_table` compares."""
    trace = trace_column(weights, tokens, column)
    features: dict[tuple[str, str], float] = {}
    roles = _ROLE_OF[column, : query_position(column) + 1]
    written = trace["pattern"][:, :, None] * (trace["v"] @ weights.W_O[0])
    for index in sorted({int(r) for r in roles}):
        at = roles == index
        features["attention", ROLES[index]] = float(trace["pattern"][0, at].sum())
        features["written norm", ROLES[index]] = float(written[0, at].sum(dim=0).norm())
    for name, value in _bottlenecks(weights, trace).items():
        features |= {(name, str(i)): float(x) for i, x in enumerate(value[0])}
    for site in _STREAM:
        features |= {(site, str(i)): float(x) for i, x in enumerate(trace[site][0])}
    features |= {("logits", TOKENS[i]): float(x) for i, x in enumerate(trace["logits"][0])}
    return features


def difference_table(
    weights: Network, own: Int[Tensor, "1 pos"], controls: dict[str, Tensor], column: int
) -> pd.DataFrame:
    """Compare one input with each control at one column.

    Args:
        weights: The network.
        own: Tokens of the input.
        controls: Tokens (1, pos) of each control by name.
        column: Answer column.

    Returns:
        Rows of control, site, element, input, control_value and difference (input less control).
    """
    mine = column_features(weights, own, column)
    rows = []
    for name, tokens in controls.items():
        theirs = column_features(weights, tokens, column)
        rows += [
            (name, *key, value, theirs[key], value - theirs[key]) for key, value in mine.items()
        ]
    names = ["control", "site", "element", "input", "control_value", "difference"]
    return pd.DataFrame(rows, columns=names)


def _bottlenecks(weights: Network, trace: Trace) -> dict[str, Tensor]:
    query = weights.normalise(trace["resid_pre"][:, -1], "ln1")
    read = weights.normalise(trace["resid_mid"], "ln2")
    return {
        "bottleneck W_Q": bottleneck_coordinates(query, weights.W_Q[0]),
        "bottleneck W_O": bottleneck_coordinates(trace["z"], weights.W_O[0]),
        "bottleneck W_in": bottleneck_coordinates(read, weights.W_in),
        "bottleneck W_out": bottleneck_coordinates(trace["post"], weights.W_out),
    }
