"""The effective weights: what the wrapper, the evaluator, ablations and the certifier all read."""

import dataclasses
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from model.adder import Adder
from model.config import ModelConfig, Norm, qkv_names
from model.factored import Params, factor_names, product
from model.layouts import WRITE_UPS
from model.network import Network
from model.parts import no_biases


@dataclass(frozen=True, kw_only=True)
class Dense:
    """Dense weights of one network, as TransformerLens orients them: activations stand on the left.

    Gauge-free: (A G, G^-1 B) gives the same `Dense`. Biases of norms are zero for RMSNorm. The head
    `W_U` starts as W_E.T and may be edited apart from it.
    """

    W_E: Float[Tensor, "vocab d"]
    W_pos: Float[Tensor, "pos d"]
    W_Q: Float[Tensor, "d d"]
    W_K: Float[Tensor, "d d"]
    W_V: Float[Tensor, "d d"]
    W_O: Float[Tensor, "d d"]
    W_in: Float[Tensor, "d ff"]
    W_out: Float[Tensor, "ff d"]
    W_U: Float[Tensor, "d vocab"]
    ln1_w: Float[Tensor, " d"]
    ln1_b: Float[Tensor, " d"]
    ln2_w: Float[Tensor, " d"]
    ln2_b: Float[Tensor, " d"]
    ln_final_w: Float[Tensor, " d"]
    ln_final_b: Float[Tensor, " d"]
    norm: Norm
    eps: float

    @property
    def W_QK(self) -> Float[Tensor, "d d"]:
        """Bilinear form of the scores with the gains folded in: rows are the query side."""
        return self.ln1_w[:, None] * (self.W_Q @ self.W_K.T) * self.ln1_w

    @property
    def W_OV(self) -> Float[Tensor, "d d"]:
        """What a source writes per unit of attention, gain folded on the reading side."""
        return self.ln1_w[:, None] * (self.W_V @ self.W_O)

    def edit(self, **tensors: Tensor) -> "Dense":
        """Return a copy with the named weights replaced."""
        return dataclasses.replace(self, **tensors)

    def to(self, dtype: torch.dtype) -> "Dense":
        """Return a copy with every tensor in `dtype`."""
        return self.edit(**{name: value.to(dtype) for name, value in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def general(self) -> Network:
        """Return the same weights as a network of the general kind."""
        d, d_ff = self.W_in.shape
        plain = no_biases(
            d=d,
            heads=1,
            kv_heads=1,
            qk=d,
            v=d,
            ff=d_ff,
            vocab=WRITE_UPS.vocab_size,
            dtype=self.W_E.dtype,
        )
        names = ("W_E", "W_pos", "W_in", "W_out", "W_U")
        norms = [f"{name}_{part}" for name in ("ln1", "ln2", "ln_final") for part in "wb"]
        given = {name: getattr(self, name) for name in (*names, *norms)}
        heads = {name: getattr(self, name)[None] for name in ("W_Q", "W_K", "W_V", "W_O")}
        return Network(
            layout=WRITE_UPS,
            norm=self.norm,
            eps=self.eps,
            act="gelu",
            attn_scale=math.sqrt(d),
            **{**plain, **given, **heads},
        )

    def normalise(self, x: Float[Tensor, "... d"], name: str) -> Float[Tensor, "... d"]:
        """Apply the norm called `name` ("ln1", "ln2" or "ln_final") to `x`."""
        if self.norm == "layer":
            x = x - x.mean(dim=-1, keepdim=True)
        x = x / torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + self.eps)
        return x * getattr(self, f"{name}_w") + getattr(self, f"{name}_b")


def compose(params: Params, config: ModelConfig) -> Dense:
    """Multiply the factors out.

    Args:
        params: Parameters by name.
        config: The network's shape.

    Returns:
        The effective weights, in the parameters' type and differentiable in them.
    """
    zero = torch.zeros_like(params["ln1_w"])
    W_Q, W_K, W_V = (product(params, names) for names in qkv_names(config))
    return Dense(
        W_E=params["W_E"],
        W_pos=product(params, factor_names(params, "W_pos")),
        W_Q=W_Q,
        W_K=W_K,
        W_V=W_V,
        W_O=product(params, factor_names(params, "W_O")),
        W_in=product(params, factor_names(params, "W_in")),
        W_out=product(params, factor_names(params, "W_out")),
        W_U=params["W_E"].T,
        norm=config.norm,
        eps=config.eps,
        **{
            f"{name}_{part}": params.get(f"{name}_{part}", zero)
            for name in ("ln1", "ln2", "ln_final")
            for part in ("w", "b")
        },
    )


def dense(model: Adder, dtype: torch.dtype = torch.float64) -> Dense:
    """Return the effective weights of a model, detached, multiplied out in `dtype`."""
    params = {name: value.detach().to(dtype) for name, value in model.params.items()}
    return compose(params, model.config)
