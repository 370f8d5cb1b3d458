"""To TransformerLens and back, whichever of its two classes there is.

TransformerLens 3 has HookedTransformer; from 4 on TransformerBridge has taken its place.
"""

from importlib import metadata
from typing import Any

from model.adder import Adder
from model.errors import InputError
from model.layouts import Layout
from model.network import Network

HAS_HOOKED_TRANSFORMER = int(metadata.version("transformer-lens").partition(".")[0]) < 4


def to_hooked(model: Adder | Network) -> Any:
    """Wrap a network for TransformerLens, in float64.

    Args:
        model: Any network; it is not changed and shares no tensor.

    Returns:
        A HookedTransformer; with TransformerLens 4 a TransformerBridge, whose hooks answer to the
        same names.
    """
    if HAS_HOOKED_TRANSFORMER:
        from interp.hooked.wrap import to_hooked_transformer

        return to_hooked_transformer(model)
    from interp.hooked.bridge import to_bridge

    return to_bridge(model)


def from_hooked(hooked: Any, layout: Layout) -> Network:
    """Turn a one-layer model of TransformerLens into a network.

    Args:
        hooked: A HookedTransformer, or a TransformerBridge that `boot_native` or `to_hooked` made;
            it is not changed and shares no tensor.
        layout: The task that it was trained on.

    Returns:
        The network, in the model's type; `from_hooked(to_hooked(x), x.layout)` equals x.

    Raises:
        InputError: Another kind of model, more than one layer, an option that a network cannot
            say, or a layout that does not fit; the message names it.
    """
    from transformer_lens.model_bridge import TransformerBridge

    if isinstance(hooked, TransformerBridge):
        from interp.hooked.unbridge import from_bridge

        return from_bridge(hooked, layout)
    if HAS_HOOKED_TRANSFORMER:
        from transformer_lens import HookedTransformer

        from interp.hooked.unwrap import from_hooked_transformer

        if isinstance(hooked, HookedTransformer):
            return from_hooked_transformer(hooked, layout)
    raise InputError(f"{type(hooked).__name__} is no model of TransformerLens that can be read")
