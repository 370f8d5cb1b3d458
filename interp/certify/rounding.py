"""How far a floating-point forward pass can be from the real one, before and in attention.

A priori forward error analysis of `model.adder.forward` with unit roundoff u: every bound holds for
any order of summation, with or without fused multiply-add. `gamma(n)` = n u / (1 - n u) bounds the
relative effect of n successive roundings (Higham 2002, lemma 3.1). Library functions are assumed to
be within two units in the last place (4 u, relative). Derivations: docs/certification.md.
"""

from dataclasses import dataclass

import numpy as np

from model.adder import Adder
from model.config import ModelConfig, qkv_names
from model.factored import factor_names
from model.task import N_INPUT

LIBRARY_ULPS = 4
"""Relative error of exp, erf and sqrt in units of u (two units in the last place)."""


@dataclass(frozen=True)
class Roundoff:
    """Unit roundoff `u` of an arithmetic."""

    u: float

    def gamma(self, n: int) -> float:
        """Bound the relative effect of n roundings."""
        return n * self.u / (1 - n * self.u)


@dataclass(frozen=True)
class Linear:
    """A matrix applied as a product of stored factors.

    Attributes:
        matrix: The product.
        absolute: The product of the factors' absolute values.
        depth: Number of roundings a term passes: the sum of the factors' row counts.
    """

    matrix: np.ndarray
    absolute: np.ndarray
    depth: int

    def rounding(self, unit: Roundoff) -> np.ndarray:
        """Bound the error of x @ factors per unit of |x|, shape of the matrix."""
        return unit.gamma(self.depth) * self.absolute


def linear(params: dict[str, np.ndarray], names: tuple[str, ...]) -> Linear:
    """Multiply the named factors out, with what the error analysis needs."""
    matrix, absolute = params[names[0]], np.abs(params[names[0]])
    depth = matrix.shape[0]
    for name in names[1:]:
        depth += params[name].shape[0]
        matrix, absolute = matrix @ params[name], absolute @ np.abs(params[name])
    return Linear(matrix, absolute, depth)


def numpy_params(model: Adder) -> dict[str, np.ndarray]:
    """Copy a model's parameters into float64 arrays."""
    return {name: p.detach().double().cpu().numpy() for name, p in model.params.items()}


def centring_error(x: np.ndarray, config: ModelConfig, unit: Roundoff) -> np.ndarray:
    """Bound the error of x - mean(x) per component, given |x|; zero for RMSNorm."""
    if config.norm == "rms":
        return np.zeros_like(x)
    x = np.abs(x)
    return unit.gamma(config.d_model + 4) * (x + x.mean(axis=-1, keepdims=True))


def centre(x: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Subtract the mean where the norm does."""
    return x if config.norm == "rms" else x - x.mean(axis=-1, keepdims=True)


def normalise(
    x: np.ndarray,
    error: np.ndarray,
    params: dict[str, np.ndarray],
    config: ModelConfig,
    name: str,
    unit: Roundoff,
) -> tuple[np.ndarray, np.ndarray]:
    """Apply a norm to x, whose components are uncertain by `error`; return value and error.

    With c = centred x and s = sqrt(mean(c^2) + eps), |s(x + e) - s(x)| <= rms(e), so
    |c'/s' - c/s| <= e / s' + |c| rms(e) / (s s').
    """
    gain = params[f"{name}_w"]
    error = error + (error.mean(axis=-1, keepdims=True) if config.norm == "layer" else 0.0)
    error = error + centring_error(np.abs(x) + error, config, unit)
    c = centre(x, config)
    s = np.sqrt((c * c).mean(axis=-1, keepdims=True) + config.eps)
    spread = np.sqrt((error * error).mean(axis=-1, keepdims=True))
    low = s - spread
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = np.where(low > 0, error / low + np.abs(c) * spread / (s * low), np.inf)
    value = c / s
    bias = params.get(f"{name}_b", np.zeros_like(gain))
    own = unit.gamma(config.d_model + 6 + LIBRARY_ULPS)
    total = np.abs(gain) * (moved + own * (np.abs(value) + moved))
    result = value * gain + bias
    return result, total + unit.gamma(2) * (np.abs(bias) + np.abs(result) + total)


@dataclass(frozen=True)
class SourceErrors:
    """Every table of attention with a bound of its error in an arithmetic of unit roundoff u.

    Attributes:
        resid: Residual stream before the layer, (position, token, d); resid_error its error.
        q: Queries (not divided by sqrt(d)); k keys; v values; with their errors.
        ov: Values times W_O.
        ov_error: Error that one unit of attention on the source brings into the output.
    """

    resid: np.ndarray
    resid_error: np.ndarray
    q: np.ndarray
    q_error: np.ndarray
    k: np.ndarray
    k_error: np.ndarray
    ov: np.ndarray
    ov_error: np.ndarray


def source_errors(model: Adder, unit: Roundoff) -> SourceErrors:
    """Bound the rounding of embeddings, first norm, queries, keys and values.

    Args:
        model: The network.
        unit: The arithmetic.
    """
    params, config = numpy_params(model), model.config
    W_pos = linear(params, factor_names(model.params, "W_pos"))
    position, absolute = W_pos.matrix[:N_INPUT, None], W_pos.absolute[:N_INPUT, None]
    resid = params["W_E"] + position
    resid_error = unit.gamma(config.pos_rank + 1) * (np.abs(params["W_E"]) + absolute)
    h, h_error = normalise(resid, resid_error, params, config, "ln1", unit)

    def project(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        W = linear(params, names)
        moved = h_error @ np.abs(W.matrix)
        return h @ W.matrix, moved + (np.abs(h) + h_error) @ W.rounding(unit)

    (q, q_error), (k, k_error), (v, v_error) = map(project, qkv_names(config))
    W_O = linear(params, factor_names(model.params, "W_O"))
    size = np.abs(v) + v_error
    mixing = unit.gamma(2 * N_INPUT + 4)  # normaliser, division and the sum over sources
    ov_error = (v_error + mixing * size) @ np.abs(W_O.matrix) + size @ W_O.rounding(unit) * (
        1 + mixing
    )
    return SourceErrors(resid, resid_error, q, q_error, k, k_error, v @ W_O.matrix, ov_error)


def score_errors(
    q: np.ndarray, q_error: np.ndarray, k: np.ndarray, k_error: np.ndarray, unit: Roundoff
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the scores of one query against keys (..., d), and a bound of their errors."""
    root = np.sqrt(q.shape[-1])
    q_size, k_size = np.abs(q), np.abs(k)
    error = q_error @ np.moveaxis(k_size, -1, -2) + (q_size + q_error) @ np.moveaxis(
        k_error, -1, -2
    )
    own = (q_size + q_error) @ np.moveaxis(k_size + k_error, -1, -2)
    return q @ np.moveaxis(k, -1, -2) / root, (error + unit.gamma(q.shape[-1] + 3) * own) / root
