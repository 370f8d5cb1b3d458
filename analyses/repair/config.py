"""How a round of repair trains."""

import dataclasses

from train.spec import FINETUNE

RECIPE = dataclasses.replace(FINETUNE, steps=60_000, batch=1_024, extra_share=0.15)
"""Fine-tuning of one round: larger batches than the published rounds, 15 % from the atlas."""
