"""A random network of the shape and scale of another: the control where no recipe is known.

Every weight is drawn from a normal distribution with the root mean square of the weight that it
replaces; what is zero stays zero, as in a stream of which one part knows the token and another the
position. Gains are shuffled among themselves. Weights that are the same numbers stay the same
(tied heads and projections).
"""

import torch
from torch import Tensor

from model.network import Network


def random_like(network: Network, seed: int) -> Network:
    """Draw a random network with the shape, options, ties and weight scales of `network`."""
    generator = torch.Generator().manual_seed(seed)
    drawn: dict[str, Tensor] = {}
    for name, weight in network.tensors().items():
        tied = _tied(network, name, weight, drawn)
        if tied is not None:
            drawn[name] = tied
        elif name.endswith("_w"):
            drawn[name] = weight[torch.randperm(len(weight), generator=generator)]
        else:
            present = weight != 0
            scale = weight[present].pow(2).mean().sqrt() if present.any() else 0.0
            noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
            drawn[name] = noise * present * scale
    return network.edit(**drawn)


def _tied(network: Network, name: str, weight: Tensor, drawn: dict[str, Tensor]) -> Tensor | None:
    """Find what was drawn for the same numbers, those of a head perhaps laid across."""
    if not weight.any():
        return None
    for other, value in drawn.items():
        original = getattr(network, other)
        if original.shape == weight.shape and torch.equal(original, weight):
            return value
        if name == "W_U" and original.shape == weight.T.shape and torch.equal(original.T, weight):
            return value.T
    return None
