import numpy as np

from interp.certify.atlas import sample_pairs, template, training_cases
from interp.certify.cells import (
    CARRY_OUT,
    SINGLE,
    base_cells,
    children_count,
    members,
    query_tokens,
    split_cells,
)
from interp.certify.count import TOTAL, build_automaton, cell_masses, count_avoiding


def random_leaves(
    column: int, query: int, seed: int, rounds: int = 4, among: tuple[int, ...] = tuple(range(10))
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    cells, _ = base_cells(column, query)
    leaves = []
    for _ in range(rounds):
        counts = np.stack(
            [children_count(cells, np.full(len(cells), k), column) for k in range(10)], axis=1
        )
        counts[:, [k for k in range(10) if k not in among]] = 0
        groups = np.where(counts > 0, rng.random(counts.shape), -1.0).argmax(axis=1)
        split = (rng.random(len(cells)) < 0.05) & (counts.max(axis=1) > 0)
        leaves.append(cells[~split])
        cells, _ = split_cells(cells[split], groups[split], column)
    return np.concatenate([*leaves, cells])


def options_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    carry, columns = np.zeros_like(a), []
    for k in range(10):
        columns.append(100 * carry + 10 * (a // 10**k % 10) + b // 10**k % 10)
        carry = CARRY_OUT[columns[-1]]
    return np.stack(columns, axis=1)


def contains(cells: np.ndarray, options: np.ndarray) -> np.ndarray:
    inside = np.ones((len(options), len(cells)), dtype=bool)
    for k in range(10):
        inside &= members(k)[cells[:, k]][:, options[:, k]].T
    return inside


def test_leaves_of_random_splits_partition_all_pairs():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 10**10, (2, 10))
    for column in (0, 2, 10, 11):
        leaves = np.concatenate(
            [random_leaves(column, query, seed=query) for query in query_tokens(column)]
        )
        assert sum(cell_masses(leaves)) == TOTAL
        assert (contains(leaves, options_of(a, b)).sum(axis=1) == 1).all()


def test_base_cells_fix_query_and_answer():
    rng = np.random.default_rng(1)
    for column in (1, 4, 10):
        for query in (0, 7):
            cells, target = base_cells(column, query)
            a, b = sample_pairs(cells, rng)
            total = a + b
            assert (total // 10 ** (column - 1) % 10 == query).all()
            assert (total // 10**column % 10 == target).all()


def test_sampled_pairs_lie_in_their_cell_and_are_uniform():
    leaves = random_leaves(6, 3, seed=2)
    leaves = leaves[np.array(cell_masses(leaves), dtype=object) > 0]
    a, b = sample_pairs(leaves, np.random.default_rng(3))
    options = options_of(a, b)
    assert all(members(k)[leaves[:, k], options[:, k]].all() for k in range(10))
    free = np.zeros((4000, 10), dtype=np.int16)
    a, _ = sample_pairs(free, np.random.default_rng(4))
    counts = np.bincount(a % 10, minlength=10)
    assert np.abs(counts - 400).max() < 100


def test_counts_equal_enumeration_on_small_domains():
    rng = np.random.default_rng(5)
    for trial in range(2):
        column = int(rng.integers(1, 10))
        leaves = random_leaves(column, int(rng.integers(10)), seed=trial, among=(0, column))
        other = random_leaves(min(column + 1, 9), 4, seed=trial + 50, among=(1, column - 1))
        bad, worse = (part[rng.choice(len(part), 80)] for part in (leaves, other))
        free = [column, column - 1]
        fixed = rng.integers(0, 100, 10)
        allowed = np.zeros((10, 100), dtype=bool)
        allowed[np.arange(10), fixed] = True
        allowed[free] = True
        x, y = np.meshgrid(np.arange(100), np.arange(100))
        pairs = np.tile(fixed, (10_000, 1))
        pairs[:, free[0]], pairs[:, free[1]] = x.ravel(), y.ravel()
        powers = 10 ** np.arange(10)
        a, b = (pairs // 10 * powers).sum(1), (pairs % 10 * powers).sum(1)
        options = options_of(a, b)
        hit = contains(bad, options).any(axis=1) | contains(worse, options).any(axis=1)
        automata = [build_automaton(bad), build_automaton(worse)]
        assert count_avoiding(automata, allowed) == (~hit).sum()


def test_counts_of_trivial_sets():
    everything = np.zeros((1, 10), dtype=np.int16)
    assert count_avoiding([]) == TOTAL
    assert count_avoiding([build_automaton(everything[:0])]) == TOTAL
    assert count_avoiding([build_automaton(everything)]) == 0
    single = everything.copy()
    single[0, 4] = SINGLE + 57
    assert count_avoiding([build_automaton(single)]) == TOTAL - cell_masses(single)[0]


def test_templates_fix_what_the_cell_fixes():
    cells, _ = base_cells(4, 6)
    cell = cells[-1]
    a, b = template(cell)
    assert a.count("?") == b.count("?") == 8
    cases = training_cases(cells[-1:], np.random.default_rng(0), draws=3)
    assert cases.shape == (3, 20)
    assert (cases[:, [2, 3, 4, 12, 13, 14]] >= 0).all()
    assert (cases[:, [0, 1, 5, 9, 10, 19]] == -1).all()
