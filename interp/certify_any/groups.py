"""Digit groups, sets of their options, and how a set is split.

Group k is the digit pair (a_k, b_k) with the carry into its column: options c B^2 + a B + b in base
B. A *set* is a set of options; sets are numbered as they are met, one pool for all groups, with 0
for the empty one. A *cell* of an answer column is one set per group: the pairs whose groups all lie
in their sets.
"""

import numpy as np

EMPTY = 0


class Options:
    """The options of a group in one base: what each is made of."""

    def __init__(self, base: int) -> None:  # noqa: D107
        option = np.arange(2 * base * base)
        self.base = base
        self.count = len(option)
        self.carry_in = option // (base * base)
        self.a, self.b = option // base % base, option % base
        total = self.a + self.b + self.carry_in
        self.digit, self.carry_out = total % base, total // base


class Pool:
    """Sets of options by number, with their cuts and parts remembered.

    Attributes:
        everything: The set of all options.
        lowest: Those without a carry in: all that group 0 can be.
    """

    def __init__(self, base: int) -> None:  # noqa: D107
        self.base, self.options = base, Options(base)
        self._numbers: dict[bytes, int] = {}
        self._rows: list[np.ndarray] = []
        self._cuts: dict[tuple[str, int], dict[int, int]] = {}
        self._parts: dict[tuple[bool, int], np.ndarray] = {}
        self._counts = [np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)]
        self.number(np.zeros(self.options.count, dtype=bool))
        self.everything = self.number(np.ones(self.options.count, dtype=bool))
        self.lowest = self.number(self.options.carry_in == 0)

    def number(self, row: np.ndarray) -> int:
        """Give the number of a set of options."""
        key = np.packbits(row).tobytes()
        if key not in self._numbers:
            self._numbers[key] = len(self._rows)
            self._rows.append(row)
        return self._numbers[key]

    def row(self, number: int) -> np.ndarray:
        """Tell which options a set holds."""
        return self._rows[number]

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """Tell which options some sets hold, (set, option)."""
        rows = [self._rows[number] for number in numbers.tolist()]
        return np.array(rows, dtype=bool).reshape(-1, self.options.count)

    def __len__(self) -> int:
        """How many sets there are."""
        return len(self._rows)

    def cut(self, numbers: np.ndarray, what: str, values: np.ndarray) -> np.ndarray:
        """Cut sets to the options with a given "digit", "carry_in" or "carry_out".

        Args:
            numbers: Sets.
            what: Name of an array of `Options`.
            values: The value that each set is cut to; a negative one leaves it whole.
        """
        out = numbers.copy()
        for value in np.unique(values):
            if value < 0:
                continue
            known = self._cuts.setdefault((what, int(value)), {})
            chosen = values == value
            used, where = np.unique(numbers[chosen], return_inverse=True)
            for number in used.tolist():
                if number not in known:
                    row = self._rows[number] & (getattr(self.options, what) == value)
                    known[number] = self.number(row)
            out[chosen] = np.array([known[number] for number in used.tolist()])[where.ravel()]
        return out

    def value(self, numbers: np.ndarray, what: str) -> np.ndarray:
        """Give the one value that all options of each set share, or -1."""
        used, where = np.unique(numbers, return_inverse=True)
        known = self._cuts.setdefault((what, -1), {})
        for number in used.tolist():
            if number not in known:
                values = np.unique(getattr(self.options, what)[self._rows[number]])
                known[number] = int(values[0]) if len(values) == 1 else -1
        return np.array([known[number] for number in used.tolist()], dtype=np.int64)[where.ravel()]

    def parts(self, number: int, shown: bool) -> np.ndarray:
        """Split a set by the first thing in which its options differ, as seen by the network.

        Args:
            number: The set.
            shown: Whether the network sees the group's answer digit: then by that, the first digit,
                the carry; otherwise by the first digit, the second (the carry does not show).

        Returns:
            Disjoint sets, in order; only `number` itself where nothing differs.
        """
        if (shown, number) not in self._parts:
            options, row = self.options, self._rows[number]
            parts = [number]
            order = ("digit", "a", "b") if shown else ("a", "b")
            for name in order:
                values = np.unique(getattr(options, name)[row])
                if len(values) > 1:
                    rows = [row & (getattr(options, name) == value) for value in values]
                    parts = [self.number(x) for x in rows]
                    break
            self._parts[shown, number] = np.array(parts)
        return self._parts[shown, number]

    def part_counts(self, numbers: np.ndarray, shown: bool) -> np.ndarray:
        """Count the parts into which sets are split; 1 where nothing is left to split."""
        known = self._counts[shown]
        if len(known) < len(self):
            more = np.zeros(2 * len(self), dtype=np.int64)
            more[: len(known)] = known
            known = self._counts[shown] = more
        counts = known[numbers]
        if not counts.all():
            for number in np.unique(numbers[counts == 0]).tolist():
                known[number] = len(self.parts(number, shown))
            counts = known[numbers]
        return counts
