"""An embedding that knows the position, for streams that are no sum of token and position."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.network import Network


class StreamEmbed(nn.Module):
    """Rows of W_E, of W_pos, and of a table over both.

    It stands where a network has a stream that is no sum of token and position, or learned
    positions beside rotary ones. Positions count from 0, so key-value caches do not work with it.
    """

    def __init__(self, W_E: Tensor, W_pos: Tensor, W_X: Tensor | None) -> None:
        """Keep copies of the tables; W_X is None where there is none."""
        super().__init__()
        self.W_E = nn.Parameter(W_E.clone())
        self.W_pos = nn.Parameter(W_pos.clone())
        self.W_X = None if W_X is None else nn.Parameter(W_X.clone())

    @property
    def weight(self) -> Tensor:
        """The rows of the tokens, by the name that PyTorch gives them."""
        return self.W_E

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d"]:
        """Look up the stream before the layer."""
        places = torch.arange(tokens.shape[1])
        x = self.W_E[tokens] + self.W_pos[places]
        return x if self.W_X is None else x + self.W_X[places, tokens]


def needs_stream(network: Network) -> bool:
    """Tell whether the stream before the layer is more than TransformerLens' embeddings give."""
    learned = bool(network.W_pos.any())
    return network.W_X is not None or (network.rotary is not None and learned)
