"""For which weights the certifier proves anything, and where float32 stays below 2^127.

Stored numbers are 0 or of magnitude 2^-126 to 2^64. Then no float64 number of the certifier itself
can overflow (docs/certification.md, "The range"). A float32 intermediate is kept below 2^127 by
bounding the sum of the magnitudes that it is made of below 2^126; where that fails, nothing is
claimed of float32.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from model.errors import InputError

LARGEST_WEIGHT = 2.0**64
SMALLEST_WEIGHT = 2.0**-126
LARGEST_SIZE = 2.0**126
"""Intermediates bounded by this stay below 2^127, errors and roundings included."""
ROOM = 2.0**200
"""The residual stream may reach this far in the certifier's float64."""
LEAST_WEIGHT_SUM = 2.0**-64
"""The sum of attention weights of a cell, relative to the largest weight of any source."""


def check_range(params: Mapping[str, Tensor]) -> None:
    """Refuse weights outside the range of the theorem.

    Raises:
        InputError: A weight is not finite, larger than 2^64, or below 2^-126 and not 0.
    """
    for name, value in params.items():
        size = value.detach().double().abs()
        if not bool(size.isfinite().all()):
            raise InputError(f"tensor {name} holds a number that is not finite")
        if bool((size > LARGEST_WEIGHT).any()):
            raise InputError(
                f"tensor {name} holds {float(size.max()):.3g}: nothing is proved above 2^64"
            )
        small = size[(size > 0) & (size < SMALLEST_WEIGHT)]
        if len(small):
            raise InputError(
                f"tensor {name} holds {float(small.min()):.3g}: nothing is proved below 2^-126, "
                "except for 0"
            )


def through(size: np.ndarray, factors: Sequence[np.ndarray]) -> np.ndarray:
    """Bound every intermediate of a row times factors, from the sizes of the row, one per row."""
    found = [size.max(axis=-1)]
    for factor in factors:
        size = size @ np.abs(factor)
        found.append(size.max(axis=-1))
    return np.max(found, axis=0)


def in_norm(
    size: np.ndarray, low: np.ndarray, gain: np.ndarray, bias: np.ndarray, layer: bool
) -> np.ndarray:
    """Bound every intermediate of a norm, one per row.

    Args:
        size: Sizes of its inputs.
        low: Bound from below of its scale, (..., 1).
        gain: Its gain.
        bias: Its bias.
        layer: Whether the mean is subtracted, which at most doubles the sizes.
    """
    size = 2 * size if layer else size
    quotient = size / low
    return np.max(
        [
            (size * size).sum(axis=-1),
            quotient.max(axis=-1),
            (quotient * np.abs(gain) + np.abs(bias)).max(axis=-1),
        ],
        axis=0,
    )
