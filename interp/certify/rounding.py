"""How far a floating-point forward pass can be from the real one, before and in attention.

A priori forward error analysis of `model.adder.forward` with unit roundoff u: every bound holds for
any order of summation, with or without fused multiply-add. `gamma(n)` = n u / (1 - n u) bounds the
relative effect of n successive roundings (Higham 2002, lemma 3.1); every result may also lose
`tiny` to underflow. Library functions are assumed to be within two units in the last place (4 u,
relative). Derivations: docs/certification.md.
"""

from dataclasses import dataclass

import numpy as np

from interp.certify.range import LARGEST_SIZE, in_norm, through
from model.adder import Adder
from model.config import VOCAB_SIZE, ModelConfig, qkv_names
from model.factored import factor_names
from model.task import EQUALS, N_DIGITS, N_INPUT, N_PROMPT, PLUS

LIBRARY_ULPS = 4
"""Relative error of exp, erf and sqrt in units of u (two units in the last place)."""


@dataclass(frozen=True)
class Roundoff:
    """Unit roundoff `u` of an arithmetic, and what a result can lose to underflow or flushing."""

    u: float
    tiny: float

    def gamma(self, n: int) -> float:
        """Bound the relative effect of n roundings."""
        return n * self.u / (1 - n * self.u)

    def lost(self, n: int) -> float:
        """Bound what an inner product of n terms loses to underflow: 2 n results, and to spare."""
        return 4 * n * self.tiny


@dataclass(frozen=True)
class Linear:
    """A matrix applied as a product of stored factors.

    Attributes:
        matrix: The product.
        absolute: The product of the factors' absolute values.
        depth: Number of roundings a term passes: the sum of the factors' row counts, and one that
            stands for the rounding of `matrix` itself.
        factors: The stored factors.
    """

    matrix: np.ndarray
    absolute: np.ndarray
    depth: int
    factors: tuple[np.ndarray, ...]

    def rounding(self, unit: Roundoff) -> np.ndarray:
        """Bound the error of x @ factors per unit of |x|, shape of the matrix."""
        return unit.gamma(self.depth) * self.absolute

    def underflow(self, unit: Roundoff) -> np.ndarray:
        """Bound what underflow adds to the error of x @ factors, per component."""
        total = np.zeros(len(self.factors[0]))
        for factor in self.factors:
            total = total @ np.abs(factor) + unit.lost(len(factor))
        return total


def linear(params: dict[str, np.ndarray], names: tuple[str, ...]) -> Linear:
    """Multiply the named factors out, with what the error analysis needs."""
    factors = tuple(params[name] for name in names)
    matrix, absolute = factors[0], np.abs(factors[0])
    for factor in factors[1:]:
        matrix, absolute = matrix @ factor, absolute @ np.abs(factor)
    return Linear(matrix, absolute, 1 + sum(len(factor) for factor in factors), factors)


def numpy_params(model: Adder) -> dict[str, np.ndarray]:
    """Copy a model's parameters into float64 arrays."""
    return {name: p.detach().double().cpu().numpy() for name, p in model.params.items()}


def centring_error(x: np.ndarray, config: ModelConfig, unit: Roundoff) -> np.ndarray:
    """Bound the error of x - mean(x) per component, given |x|; zero for RMSNorm."""
    if config.norm == "rms":
        return np.zeros_like(x)
    x = np.abs(x)
    rounding = unit.gamma(config.d_model + 4) * (x + x.mean(axis=-1, keepdims=True))
    return rounding + unit.lost(config.d_model + 1)


def norm_underflow(gain: np.ndarray, unit: Roundoff) -> np.ndarray:
    """Bound what a norm loses once its scale is known: quotient, product form, gain, bias."""
    return 4 * unit.tiny * (np.abs(gain) + 1)


def centre(x: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Subtract the mean where the norm does."""
    return x if config.norm == "rms" else x - x.mean(axis=-1, keepdims=True)


@dataclass(frozen=True)
class Normed:
    """A norm's value, its error, whether that is bounded at all, and the largest intermediate."""

    value: np.ndarray
    error: np.ndarray
    bounded: np.ndarray
    largest: np.ndarray


def normalise(
    x: np.ndarray,
    error: np.ndarray,
    params: dict[str, np.ndarray],
    config: ModelConfig,
    name: str,
    unit: Roundoff,
) -> Normed:
    """Apply a norm to x, whose components are uncertain by `error`.

    With c = centred x and s = sqrt(mean(c^2) + eps), |s(x + e) - s(x)| <= rms(e), so
    |c'/s' - c/s| <= e / s' + |c| rms(e) / (s s'). Where rms(e) is half of s, nothing is bounded.
    """
    gain = params[f"{name}_w"]
    bias = params.get(f"{name}_b", np.zeros_like(gain))
    layer = config.norm == "layer"
    size = np.abs(x) + error
    error = error + (error.mean(axis=-1, keepdims=True) if layer else 0.0)
    error = error + centring_error(np.abs(x) + error, config, unit)
    c = centre(x, config)
    s = np.sqrt((c * c).mean(axis=-1, keepdims=True) + config.eps)
    spread = np.sqrt((error * error).mean(axis=-1, keepdims=True))
    bounded = spread < s / 2
    spread, error = np.where(bounded, spread, 0.0), np.where(bounded, error, 0.0)
    low = s - spread
    moved = error / low + np.abs(c) * spread / (s * low)
    value = c / s
    own = unit.gamma(config.d_model + 6 + LIBRARY_ULPS)
    total = np.abs(gain) * (moved + own * (np.abs(value) + moved)) + norm_underflow(gain, unit)
    result = value * gain + bias
    total = total + unit.gamma(2) * (np.abs(bias) + np.abs(result) + total)
    return Normed(result, total, bounded[..., 0], in_norm(size, low, gain, bias, layer))


@dataclass(frozen=True)
class SourceErrors:
    """Every table of attention with a bound of its error in an arithmetic of unit roundoff u.

    Attributes:
        resid: Residual stream before the layer, (position, token, d); resid_error its error.
        q: Queries (not divided by sqrt(d)); k keys; v values; with their errors.
        ov: Values times W_O.
        ov_error: Error that one unit of attention on the source brings into the output.
        bounded: Where these errors are bounded at all.
        fits: Whether every intermediate of every token that can occur stays below 2^127.
    """

    resid: np.ndarray
    resid_error: np.ndarray
    q: np.ndarray
    q_error: np.ndarray
    k: np.ndarray
    k_error: np.ndarray
    ov: np.ndarray
    ov_error: np.ndarray
    bounded: np.ndarray
    fits: bool


def tokens_at(position: int) -> np.ndarray:
    """Mark the tokens that a position can hold while digits or the end are answered."""
    token = np.arange(VOCAB_SIZE)
    fixed = {N_DIGITS: PLUS, N_PROMPT - 1: EQUALS}
    return token == fixed[position] if position in fixed else token < 10


def source_errors(model: Adder, unit: Roundoff) -> SourceErrors:
    """Bound the rounding of embeddings, first norm, queries, keys and values.

    Args:
        model: The network.
        unit: The arithmetic.
    """
    params, config = numpy_params(model), model.config
    W_pos = linear(params, factor_names(model.params, "W_pos"))
    position = W_pos.matrix[:N_INPUT, None]
    size = np.abs(params["W_E"]) + W_pos.absolute[:N_INPUT, None]
    resid = params["W_E"] + position
    resid_error = unit.gamma(config.pos_rank + 1) * size + unit.lost(config.pos_rank + 1)
    normed = normalise(resid, resid_error, params, config, "ln1", unit)
    h_size = np.abs(normed.value) + normed.error
    sizes = [size.max(axis=-1), normed.largest]

    def project(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        W = linear(params, names)
        sizes.append(through(h_size, W.factors))
        moved = normed.error @ np.abs(W.matrix) + h_size @ W.rounding(unit)
        return normed.value @ W.matrix, moved + W.underflow(unit)

    (q, q_error), (k, k_error), (v, v_error) = map(project, qkv_names(config))
    W_O = linear(params, factor_names(model.params, "W_O"))
    occurring = np.array([tokens_at(position) for position in range(N_INPUT)])
    v_size = np.abs(v) + v_error
    v_top = v_size[occurring].max(axis=0)
    mixing = unit.gamma(2 * N_INPUT + 4)  # normaliser, division and the sum over sources
    mixed = v_error + mixing * v_size
    # Every probability, product and sum over the 33 sources may lose `tiny`; twice, for the rest.
    mixed = mixed + 2 * unit.tiny * ((N_INPUT + 1) * v_top + 4 * (N_INPUT + 1))
    ov_error = mixed @ np.abs(W_O.matrix) + v_size @ W_O.rounding(unit) * (1 + mixing)
    largest = [float(part[occurring].max()) for part in sizes]
    largest.append(float(through(64 * v_top[None], W_O.factors).max()))
    return SourceErrors(
        resid=resid,
        resid_error=resid_error,
        q=q,
        q_error=q_error,
        k=k,
        k_error=k_error,
        ov=v @ W_O.matrix,
        ov_error=ov_error + W_O.underflow(unit),
        bounded=normed.bounded,
        fits=max(largest) < LARGEST_SIZE,
    )


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
    error = error + unit.gamma(q.shape[-1] + 3) * own + unit.lost(q.shape[-1])
    return q @ np.moveaxis(k, -1, -2) / root, error / root + 2 * unit.tiny
