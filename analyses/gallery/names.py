"""Names of all figures, for commands that draw none yet."""

from typing import Literal

FigureName = Literal[
    "parameter_journey",
    "training_curve",
    "pipeline",
    "errors_by_round",
    "seed_sweep",
    "seed_sweep_262p",
    "configurations",
    "recipes",
    "transition",
    "token_embedding",
    "position_embedding",
    "attention_by_role",
    "attention_scores",
    "ffn_units",
    "rank_components",
    "logits_along_value",
    "carry_flow",
    "margins_by_chain",
    "failure_atlas",
]
