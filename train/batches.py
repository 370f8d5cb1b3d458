"""The training stream: a pure function of seed and step, so that every engine sees the same pairs.

Every random number is one word of Philox-4x32-7 (Salmon et al. 2011) at counter
(example, block, step, 0) under the key of the seed: nothing has to be stored to resume, and the
batch of any step can be drawn on its own.
"""

import numpy as np

from train.schedule import EXTRA, HEAVY, MAX_DIGITS, SHARE_UNIT, SHIFT

ROUNDS = 7
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)


def seed_key(seed: int) -> tuple[int, int]:
    """Split a seed (0 to 2^64 - 1) into the two words of a Philox key."""
    return seed & 0xFFFFFFFF, seed >> 32


def philox(
    counter: tuple[np.ndarray, ...], key: tuple[int, int], rounds: int = ROUNDS
) -> tuple[np.ndarray, ...]:
    """Compute Philox-4x32: four random words for each counter of four words (arrays of uint64)."""
    c0, c1, c2, c3 = (np.asarray(c, np.uint64) for c in counter)
    k0, k1 = key
    for _ in range(rounds):
        first, second = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c1, c2, c3 = (
            (second >> np.uint64(32)) ^ c1 ^ np.uint64(k0),
            second & _LOW,
            (first >> np.uint64(32)) ^ c3 ^ np.uint64(k1),
            first & _LOW,
        )
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def draw_batch(
    seed: int,
    step: int,
    batch: int,
    row: np.ndarray,
    propagate: float,
    extra: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the digits of one step's pairs.

    Both operands have the same number of digits, uniform from 1 to the step's largest, and each is
    uniform below that power of ten (as published); under SHIFT they are moved up to start at a
    uniform column. A carry-heavy example turns each column within
    that length into a propagating one, b_i = 9 - a_i, with probability `propagate`. An extra case
    has its given digits, and uniform ones where it leaves them free.

    Args:
        seed: The run's seed.
        step: Counted from 0.
        batch: Number of pairs.
        row: The step's row of `schedule`.
        propagate: See above.
        extra: Cases (n, 20) int32: digits of a then of b, units first, -1 where free.

    Returns:
        Digits of a and of b, (batch, 10) int64 each, units first.
    """
    example = np.arange(batch, dtype=np.uint64)
    constant = np.zeros(batch, np.uint64)
    blocks = [
        philox(
            (example, constant + np.uint64(i), constant + np.uint64(step), constant), seed_key(seed)
        )
        for i in range(6)
    ]
    kind, length_word, case_word, start_word = blocks[0]
    heavy_share, extra_share = np.uint64(row[HEAVY]), np.uint64(row[EXTRA])
    unit = kind >> np.uint64(8)
    is_heavy = unit < heavy_share
    is_extra = (unit >= heavy_share) & (unit < heavy_share + extra_share)
    if extra is None:
        is_extra[:] = False

    scaled_length = (length_word >> np.uint64(8)) * np.uint64(row[MAX_DIGITS])
    length = 1 + (scaled_length >> np.uint64(24)).astype(np.int64)
    length[is_extra] = 10
    scaled = (np.stack(sum(blocks[1:], ()), axis=1) >> np.uint64(8)) * np.uint64(10)
    digit = (scaled >> np.uint64(24)).astype(np.int64)
    coin = scaled & np.uint64(SHARE_UNIT - 1)

    a, b = digit[:, :10], digit[:, 10:]
    turned = is_heavy[:, None] & (coin[:, 10:] < np.uint64(int(propagate * SHARE_UNIT)))
    b = np.where(turned, 9 - a, b)
    places = np.uint64(row[SHIFT]) * (11 - length).astype(np.uint64)
    start = ((start_word >> np.uint64(8)) * places >> np.uint64(24)).astype(np.int64)[:, None]
    inside = (np.arange(10) >= start) & (np.arange(10) < start + length[:, None])
    a, b = np.where(inside, a, 0), np.where(inside, b, 0)
    if extra is not None:
        chosen = extra[(case_word * np.uint64(len(extra)) >> np.uint64(32)).astype(np.int64)]
        a = np.where(is_extra[:, None] & (chosen[:, :10] >= 0), chosen[:, :10], a)
        b = np.where(is_extra[:, None] & (chosen[:, 10:] >= 0), chosen[:, 10:], b)
    return a, b
