"""The batch sampler as the write-ups describe it: one draw at a time, in Python."""

import torch

from model.task import N_DIGITS, encode


def sample_published_batch(batch: int, generator: torch.Generator) -> torch.Tensor:
    """Draw pairs one by one: a length from 1 to 10, then both operands below that power of ten."""
    pairs = torch.zeros(2, batch, dtype=torch.int64)
    for i in range(batch):
        length = int(torch.randint(1, N_DIGITS + 1, (1,), generator=generator))
        for operand in range(2):
            pairs[operand, i] = torch.randint(0, 10**length, (1,), generator=generator)
    return encode(pairs[0], pairs[1])
