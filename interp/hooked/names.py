"""TransformerLens' words for what a network can be."""

ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_tanh": "gelu_pytorch_tanh",
    "silu": "silu",
}
"""TransformerLens' name for each activation."""

ACTS = {theirs: ours for ours, theirs in ACTIVATIONS.items()}
"""The activation of each of those names."""

NORM_TYPES = {"rms": "RMS", "layer": "LN", "none": None}
"""TransformerLens' name for each kind of norm."""

NORM_KINDS = {"RMS": "rms", "RMSPre": "rms", "LN": "layer", "LNPre": "layer", None: "none"}
"""The kind of norm of each of its names; "Pre" norms have neither gain nor bias."""
