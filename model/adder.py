"""The transformer: one pre-norm decoder layer with one head, its parameters kept as factors."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.config import ModelConfig, param_shapes, qkv_names
from model.errors import InputError
from model.factored import Params, apply_factors, factor_names, init_params


def normalise(
    x: Float[Tensor, "... d"], params: Params, name: str, config: ModelConfig
) -> Float[Tensor, "... d"]:
    """Apply RMSNorm (Zhang & Sennrich 2019) or LayerNorm with the gain (and bias) called `name`."""
    if config.norm == "layer":
        return F.layer_norm(
            x, (config.d_model,), params[f"{name}_w"], params[f"{name}_b"], config.eps
        )
    scale = torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + config.eps)
    return x / scale * params[f"{name}_w"]


def forward(
    params: Params, config: ModelConfig, tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos vocab"]:
    """Compute the logits of every next token.

    Args:
        params: Parameters by name.
        config: The network's shape.
        tokens: Token ids 0 to 13, at most `config.n_ctx` positions.

    Returns:
        Logits; the head is the token embedding, logits = ln_final(x) @ W_E.T.
    """
    length = tokens.shape[1]
    first, *rest = factor_names(params, "W_pos")
    x = params["W_E"][tokens] + apply_factors(params[first][:length], params, tuple(rest))

    h = normalise(x, params, "ln1", config)
    q, k, v = (apply_factors(h, params, names) for names in qkv_names(config))
    scores = q @ k.transpose(-2, -1) / math.sqrt(config.d_model)
    causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
    pattern = scores.masked_fill(~causal, float("-inf")).softmax(dim=-1)
    x = x + apply_factors(pattern @ v, params, factor_names(params, "W_O"))

    h = normalise(x, params, "ln2", config)
    post = F.gelu(apply_factors(h, params, factor_names(params, "W_in")))
    x = x + apply_factors(post, params, factor_names(params, "W_out"))

    return normalise(x, params, "ln_final", config) @ params["W_E"].T


class Adder(nn.Module):
    """A network of the family as an nn.Module; `params` holds the same tensors by name.

    Args:
        config: The network's shape.
        params: Parameters by name; drawn with seed 0 when absent.

    Raises:
        InputError: A parameter is missing, unknown or of the wrong shape.
    """

    def __init__(self, config: ModelConfig, params: Params | None = None) -> None:
        """Check and copy the parameters."""
        super().__init__()
        self.config = config
        params = init_params(config, seed=0) if params is None else params
        shapes = param_shapes(config)
        for name in [*shapes, *sorted(set(params) - set(shapes))]:
            if name not in params:
                raise InputError(f"tensor {name} is missing: expected shape {shapes[name]}")
            if name not in shapes:
                raise InputError(f"tensor {name} does not belong to this configuration")
            if tuple(params[name].shape) != shapes[name]:
                raise InputError(
                    f"tensor {name} has shape {tuple(params[name].shape)}, not {shapes[name]}"
                )
            self.register_parameter(name, nn.Parameter(params[name].detach().clone()))

    @property
    def params(self) -> Params:
        """The parameters by name, in stored order (live tensors, not copies)."""
        return dict(self.named_parameters())

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos vocab"]:
        """Compute the logits of every next token; see `forward` of this module."""
        return forward(self.params, self.config, tokens)
