"""The network of a certificate: what is stored, and tables over (position, token) with errors."""

import numpy as np

from interp.check_certificate.bounds import Head
from interp.check_certificate.files import qkv_names
from interp.check_certificate.hull import Hull, Tables, build_hull
from interp.check_certificate.rounding import (
    PEAK,
    TINY,
    Approx,
    Matrix,
    Norm,
    Tensors,
    check_range,
    gamma,
    lost,
    multiply,
)

SOURCES = 33
POSSIBLE = np.zeros((SOURCES, 14), dtype=bool)
"""Tokens that a position can hold where a column is answered."""
POSSIBLE[:, :10] = True
POSSIBLE[10], POSSIBLE[21] = np.arange(14) == 10, np.arange(14) == 11


class Checker:
    """The network, read from its tensors, with every bound that a leaf needs."""

    def __init__(self, tensors: Tensors, config: dict) -> None:
        """Read the weights; shapes and ranks are those of the tensors.

        Args:
            tensors: Stored parameters in float64.
            config: The configuration in the checkpoint's card: which norm, which factors are tied.

        Raises:
            ValueError: A stored number is outside the range of the theorem.
        """
        check_range(tensors)
        self.t, self.d = tensors, tensors["W_E"].shape[1]
        self.layer = config["norm"] == "layer"
        self.head = Head(
            self.norm("ln2"),
            self.matrix("W_in"),
            self.matrix("W_out"),
            self.norm("ln_final"),
            tensors["W_E"].T,
        )
        self.tables = self.tabulate(qkv_names(config))

    def norm(self, name: str) -> Norm:
        """Read a norm."""
        gain = self.t[f"{name}_w"]
        bias = self.t[f"{name}_b"] if self.layer else np.zeros_like(gain)
        return Norm(gain, bias, self.layer, 1e-5 if self.layer else 1e-8)

    def matrix(self, name: str) -> Matrix:
        """Read a matrix that is stored whole or as two factors."""
        names = (name,) if name in self.t else (f"{name}_A", f"{name}_B")
        return multiply([self.t[part] for part in names])

    def tabulate(self, projections: list[tuple[str, ...]]) -> Tables:
        """Compute residual stream, and queries, keys and values by their stored factors."""
        peaks = []
        stream, size = self.stream()
        h, sound, peak = self.norm("ln1").apply(stream)
        peaks += [size.max(axis=-1), peak]
        found = []
        for names in projections:
            matrix = multiply([self.t[name] for name in names])
            found.append(matrix.apply(h))
            peaks.append(matrix.peak(h.size))
        q, k, v = found
        # All sources are mixed, normalised or not: at most 64 times the largest value.
        largest = v.size[POSSIBLE].max(axis=0)
        out = self.matrix("W_O")
        mixing = gamma(70)
        mixed = v.error + mixing * v.size + 2 * TINY * (34 * largest + 136)
        error = mixed @ np.abs(out.value) + (1 + mixing) * out.relative * (v.size @ out.size)
        ov = Approx(v.value @ out.value, error + out.underflow)
        highest = max(float(peak[POSSIBLE].max()) for peak in peaks)
        highest = max(highest, float(out.peak(64 * largest[None])[0]))
        return Tables(stream, q, k, ov, sound, highest < PEAK)

    def stream(self) -> tuple[Approx, np.ndarray]:
        """Add token and position; also the size of every intermediate."""
        if "W_pos" in self.t:
            where = size = self.t["W_pos"][:SOURCES, None]
            rank = 0
        else:
            A, B = self.t["W_pos_A"][:SOURCES], self.t["W_pos_B"]
            where, rank = (A @ B)[:, None], len(B)
            size = (np.abs(A) @ np.abs(B))[:, None]
        embedding = self.t["W_E"]
        size = np.abs(embedding) + np.abs(size)
        return Approx(embedding + where, gamma(rank + 1) * size + lost(rank + 1)), size

    def hull(self, column: int, query: int, reference: np.ndarray, axes: np.ndarray) -> Hull:
        """Tabulate what every option of every group brings to one query; see `build_hull`."""
        possible = POSSIBLE[: 22 + column].copy()
        possible[21 + column] = np.arange(14) == query
        return build_hull(self.tables, possible, query, reference, axes)
