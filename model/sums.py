"""The numbers of the task, apart from everything that computes: sizes, and named hard pairs."""

N_DIGITS = 10
N_ANSWER = 11
MAX_WIDTH = 12
"""Most digits that an operand of any task can have."""
MAX_OPERAND = 10**N_DIGITS - 1

HARD_CASES: dict[str, tuple[int, int]] = {
    "zero plus zero": (0, 0),
    "all nines": (9999999999, 9999999999),
    "full carry chain": (9999999999, 1),
    "full carry chain, commuted": (1, 9999999999),
    "all nines plus zero": (9999999999, 0),
    "propagate everywhere, no carry": (1234567890, 8765432109),
    "propagate everywhere, one carry": (1234567890, 8765432110),
    "nines and a carry in the middle": (9999950000, 50000),
    "long chain that stops below the top": (899999999, 1),
    "alternating generate and kill": (9090909090, 9090909090),
    "fives": (5555555555, 5555555555),
    "fours and fives": (4444444444, 5555555555),
    "published failing case": (9304630660, 8594408863),
    "published failing case, commuted": (8594408863, 9304630660),
}
"""Named pairs (a, b) that stress carries; the last ones are the report's one error."""
