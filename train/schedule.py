"""What changes from step to step: learning rate, operand length, mixture."""

import numpy as np

from train.config import BETA_1, BETA_2, TrainConfig

LR, INV_BIAS_1, INV_ROOT_BIAS_2, MAX_DIGITS, HEAVY, EXTRA, SHIFT = range(7)
WIDTH = 8
SHARE_UNIT = 1 << 24


def schedule(config: TrainConfig, start: int, n_steps: int) -> np.ndarray:
    """Tabulate the schedule of steps `start` to `start + n_steps` - 1, counted from 0.

    Returns:
        Array (n_steps, 8) of float32 with columns LR (linear warm-up, then cosine to
        `min_lr_ratio`), INV_BIAS_1 and INV_ROOT_BIAS_2 (Adam's corrections 1 / (1 - beta_1^t) and
        1 / sqrt(1 - beta_2^t)), MAX_DIGITS, the shares HEAVY and EXTRA in units of 2^-24, and
        SHIFT (1 where short operands start anywhere, else 0).
    """
    step = np.arange(start, start + n_steps, dtype=np.float64)
    warm = config.lr * (step + 1) / max(1, config.warmup)
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    floor = config.lr * config.min_lr_ratio
    cosine = floor + (config.lr - floor) * 0.5 * (1 + np.cos(np.pi * np.clip(progress, 0, 1)))
    span = max(1, config.fade_stop - config.fade_start)
    fade = np.clip((config.fade_stop - step) / span, 0, 1)
    table = np.zeros((n_steps, WIDTH))
    table[:, LR] = np.where(step < config.warmup, warm, cosine)
    table[:, INV_BIAS_1] = 1 / (1 - BETA_1 ** (step + 1))
    table[:, INV_ROOT_BIAS_2] = 1 / np.sqrt(1 - BETA_2 ** (step + 1))
    table[:, MAX_DIGITS] = np.where(
        step < config.phase_1, 3, np.where(step < config.phase_2, 6, 10)
    )
    table[:, HEAVY] = np.floor(config.carry_heavy * fade * SHARE_UNIT)
    table[:, EXTRA] = np.floor(config.extra_share * SHARE_UNIT)
    table[:, SHIFT] = step < config.shift_until
    return table.astype(np.float32)
