"""How many parameters are there really? The rank of the Jacobian of the logits, beside the count.

Question: a network of n parameters moves in how many directions of function space?

Method: the Jacobian of the answer logits with respect to all parameters, on random sums with the
true digits fed back, in float64; its rank is the number of singular values above the largest gap
below 1e-6 of the first. Beside it stand two counts that need no data: the dimension of the gauge
group at these parameters (the rank of its infinitesimal moves, interp.gauge), and the rank of the
Jacobian of the effective weights. A network that uses all it can has rank n - gauge.
Where the trained factors are not known, the numbers of the effective weights take their place: each
may move alone, so ties of training count several times, and the two counts without data are left
out.
The logits of one position can shift together without changing any answer, so the rank for
log-probabilities is given as well.

    python -m interp.effective_params 262p
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from interp.effective_params.config import Config
from interp.gauge import factor_groups, norm_readers
from interp.output import ONE_COLUMN, paper_style, save_figure, save_json
from model.adder import Adder, forward
from model.config import ModelConfig, qkv_names
from model.dense import compose
from model.errors import InputError
from model.factored import Params, factor_names
from model.network import Network
from model.network import forward as network_forward
from model.task import encode, query_position, uniform_pairs

SMALL = 1e-6
"""Singular values below this share of the first can be numerical zeros."""
MOST_ENTRIES = 2**27
"""Entries of the Jacobian of effective weights: a gigabyte."""


@dataclass(frozen=True)
class Result:
    """Ranks beside the nominal count.

    Attributes:
        stored: What the numbers are, stored parameters or those of the effective weights.
        nominal: How many there are.
        gauge: Dimension of the gauge orbit at these parameters; None for effective weights.
        logits: Rank of the Jacobian of the logits.
        log_probabilities: Rank of the Jacobian of the log-probabilities.
        weights: Rank of the Jacobian of the effective weights; None for effective weights.
        spectrum: Singular values of the Jacobian of the logits, falling, the first 1.
        gap: Ratio of the last value counted to the first not counted; 1 when all are counted.
    """

    stored: Literal["parameters", "effective weights"]
    nominal: int
    gauge: int | None
    logits: int
    log_probabilities: int
    weights: int | None
    spectrum: Float[Tensor, " n"]
    gap: float

    @property
    def free(self) -> int:
        """The most directions that are possible: all numbers, less the gauge where it is known."""
        return self.nominal - (self.gauge or 0)


def numerical_rank(values: Float[Tensor, " n"]) -> tuple[int, float]:
    """Count singular values (falling) down to the largest drop that ends below `SMALL`.

    Returns:
        The count, and the ratio across that drop (1.0 when nothing is that small).
    """
    share = (values / values[0]).clamp(min=1e-300)
    places = [i for i in range(1, len(share)) if float(share[i]) < SMALL]
    if not places:
        return len(share), 1.0
    drops = {i: float(share[i - 1] / share[i].clamp(min=1e-17)) for i in places}
    rank = max(drops, key=lambda i: drops[i])
    return rank, drops[rank]


def gauge_moves(params: Params, config: ModelConfig) -> Float[Tensor, "moves n"]:
    """List the infinitesimal gauge moves at these parameters, each flattened in stored order."""
    zero = {name: torch.zeros_like(value) for name, value in params.items()}
    moves: list[dict[str, Tensor]] = []
    for lefts, rights in factor_groups(params, config):
        for E in _units(params[lefts[0]].shape[1], params):
            moves.append(
                {name: params[name] @ E for name in lefts}
                | {name: -E @ params[name] for name in rights}
            )
    q, k, v = (names[-1] for names in qkv_names(config))
    writer = factor_names(params, "W_O")[0]
    for E in _units(config.d_model, params):
        # Scores stay when the queries turn by -E^T where the keys turn by E; if they are one
        # parameter only rotations are left.
        turn = E - E.T if q == k else E
        move = {k: params[k] @ turn, q: -params[q] @ turn.T}
        if v == k:
            move[writer] = -turn @ params[writer]
        elif v == q:
            move[writer] = turn.T @ params[writer]
        else:
            moves.append({v: params[v] @ E, writer: -E @ params[writer]})
        moves.append(move)
    for norm, readers in norm_readers(params, config).items():
        for i in range(config.d_model):
            unit = torch.zeros_like(params["ln1_w"])
            unit[i] = 1
            move = {name: -unit[:, None] * params[name] for name in readers}
            own = (f"{norm}_w", f"{norm}_b")
            moves.append(move | {name: unit * params[name] for name in own if name in params})
    return torch.stack(
        [torch.cat([(zero | move)[name].flatten() for name in params]) for move in moves]
    )


def _units(n: int, params: Params) -> list[Tensor]:
    eye = torch.eye(n * n, dtype=next(iter(params.values())).dtype)
    return [row.reshape(n, n) for row in eye]


def run(model: Adder | Network, config: Config) -> Result:
    """Compute the ranks of one network.

    Raises:
        InputError: The Jacobian would not fit into memory.
    """
    return _of_adder(model, config) if isinstance(model, Adder) else _of_network(model, config)


def _of_adder(model: Adder, config: Config) -> Result:
    params = {name: value.detach().double() for name, value in model.params.items()}
    shapes = {name: value.shape for name, value in params.items()}
    flat = torch.cat([value.flatten() for value in params.values()])
    generator = torch.Generator().manual_seed(config.seed)
    tokens = encode(*uniform_pairs(config.pairs, generator))[:, :-1]

    def unflatten(vector: Tensor) -> Params:
        return _unflatten(vector, shapes)

    def logits(vector: Tensor, sum_tokens: Tensor) -> Tensor:
        return forward(unflatten(vector), model.config, sum_tokens[None])[0, query_position(0) :]

    def weights(vector: Tensor) -> Tensor:
        effective = compose(unflatten(vector), model.config)
        # The head is the embedding; queries and keys, values and output are seen as products.
        products = {"W_QK": effective.W_QK(), "W_OV": effective.W_OV()}
        products["W_in"] = effective.ln2_w[:, None] * effective.W_in
        rest = {x: getattr(effective, x) for x in ("W_E", "W_pos", "W_out", "ln_final_w")}
        return torch.cat([value.flatten() for value in (products | rest).values()])

    jacobian = _jacobian(logits, flat, tokens)
    return Result(
        stored="parameters",
        nominal=model.config.n_params,
        gauge=numerical_rank(torch.linalg.svdvals(gauge_moves(params, model.config)))[0],
        weights=numerical_rank(torch.linalg.svdvals(torch.func.jacrev(weights)(flat)))[0],
        **_ranks(jacobian),
    )


def _of_network(network: Network, config: Config) -> Result:
    network = network.to(torch.float64)
    layout = network.layout
    moving = moving_weights(network)
    flat = torch.cat([value.flatten() for value in moving.values()])
    size = config.pairs * layout.n_target * layout.vocab_size * len(flat)
    if size > MOST_ENTRIES:
        fewer = max(1, config.pairs * MOST_ENTRIES // size)
        raise InputError(
            f"{len(flat)} effective weights on --pairs {config.pairs} do not fit into memory: "
            f"use at most --pairs {fewer}"
        )
    shapes = {name: value.shape for name, value in moving.items()}
    generator = torch.Generator().manual_seed(config.seed)
    tokens = layout.encode(*uniform_pairs(config.pairs, generator, layout))[:, : layout.n_input]
    rest = network.W_pos[layout.n_input :]

    def logits(vector: Tensor, sum_tokens: Tensor) -> Tensor:
        pieces = _unflatten(vector, shapes)
        if "W_pos" in pieces:
            pieces["W_pos"] = torch.cat([pieces["W_pos"], rest])
        return network_forward(network.edit(**pieces), sum_tokens[None])[0, layout.n_prompt - 1 :]

    ranks = _ranks(_jacobian(logits, flat, tokens))
    return Result(stored="effective weights", nominal=len(flat), gauge=None, weights=None, **ranks)


def moving_weights(network: Network) -> dict[str, Tensor]:
    """List the effective weights that a network has: absent biases, gains and positions left out.

    W_X is left out as well: it is a table, and what it was made from is not known.
    """
    found = {}
    for name, value in network.tensors().items():
        if name == "W_X" or not bool((value != (1.0 if name.startswith("ln") else 0.0)).any()):
            continue
        if name.endswith("_b") and not value.any():
            continue
        found[name] = value[: network.layout.n_input] if name == "W_pos" else value
    return found


def _unflatten(vector: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    pieces = vector.split([shape.numel() for shape in shapes.values()])
    return {
        name: piece.reshape(shape)
        for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
    }


def _jacobian(
    logits: Callable[[Tensor, Tensor], Tensor], flat: Tensor, tokens: Tensor
) -> Float[Tensor, "batch step vocab n"]:
    return torch.stack([torch.func.jacrev(logits)(flat, one) for one in tokens])


def _ranks(jacobian: Float[Tensor, "batch step vocab n"]) -> dict[str, Any]:
    centred = jacobian - jacobian.mean(dim=2, keepdim=True)
    values = torch.linalg.svdvals(jacobian.flatten(0, 2))
    rank, gap = numerical_rank(values)
    return {
        "logits": rank,
        "log_probabilities": numerical_rank(torch.linalg.svdvals(centred.flatten(0, 2)))[0],
        "spectrum": values / values[0],
        "gap": gap,
    }


def plot(result: Result) -> Figure:
    """Draw the spectrum of the Jacobian with the counts as lines."""
    with paper_style():
        figure, axes = plt.subplots(figsize=(ONE_COLUMN, 2.3))
        axes.semilogy(
            range(1, len(result.spectrum) + 1), result.spectrum.clamp(min=1e-18), ".", ms=3
        )
        lines = [(result.logits, "rank", "C1")]
        if result.gauge is not None:
            lines.append((result.free, "n - gauge", "C2"))
        for place, label, colour in lines:
            style = "-" if label == "rank" else "--"
            axes.axvline(place, color=colour, linestyle=style, lw=1, label=f"{label} = {place}")
        axes.set(xlabel="singular value of the Jacobian of the logits", ylabel="relative size")
        axes.legend(frameon=False, loc="lower left")
    return figure


def write(result: Result, name: str, config: Config, folder: Path) -> None:
    """Write ranks and spectrum."""
    content = {"checkpoint": name, "config": asdict(config), **asdict(result)}
    save_json(content, folder / "ranks.json")
    save_figure(plot(result), folder / "spectrum")
