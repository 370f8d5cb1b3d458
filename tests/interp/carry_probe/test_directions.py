import pytest
import torch

from interp.carry_probe.directions import (
    column_space,
    das,
    mean_difference,
    norm_matched,
    orthonormal,
    probe_projection,
    project,
    widen,
)

N, WIDTH = 400, 5
GENERATOR = torch.Generator().manual_seed(0)
PLANTED = torch.tensor([1.0, -1.0, 0.5, 0.0, 2.0], dtype=torch.float64)
PLANTED /= PLANTED.norm()
NOISE = torch.randn(N, WIDTH, generator=GENERATOR, dtype=torch.float64)
NOISE -= (NOISE @ PLANTED)[:, None] * PLANTED
TOTAL = torch.randint(0, 5, (N,), generator=GENERATOR)


def alignment(basis):
    return float((basis.T @ PLANTED).norm())


def test_the_planted_direction_is_found_by_means_and_by_a_probe():
    without, with_carry = NOISE, NOISE.flip(0) + PLANTED
    assert alignment(mean_difference(without, with_carry)) > 0.999
    P = probe_projection(without, with_carry, TOTAL)
    assert torch.allclose(P @ P, P)
    difference = with_carry - without
    assert float((difference @ P @ PLANTED).mean()) == pytest.approx(1.0, abs=0.02)


def test_a_probes_interchange_is_the_same_in_every_gauge():
    without, with_carry = NOISE, NOISE.flip(0) + PLANTED
    G = torch.randn(WIDTH, WIDTH, generator=GENERATOR, dtype=torch.float64)
    plain = probe_projection(without, with_carry, TOTAL)
    mixed = probe_projection(without @ G, with_carry @ G, TOTAL)
    difference = with_carry - without
    assert torch.allclose(difference @ G @ mixed, difference @ plain @ G, atol=1e-3)


def test_a_site_without_variance_gives_no_probe():
    same = torch.ones(N, WIDTH, dtype=torch.float64)
    assert probe_projection(same, same, TOTAL).abs().max() == 0


def test_projection_is_idempotent_and_a_random_move_has_the_same_length():
    basis = orthonormal(torch.randn(WIDTH, 2, generator=GENERATOR, dtype=torch.float64))
    assert torch.allclose(basis.T @ basis, torch.eye(2, dtype=torch.float64))
    once = project(NOISE, basis)
    assert torch.allclose(project(once, basis), once)
    assert torch.allclose(norm_matched(once, GENERATOR).norm(dim=1), once.norm(dim=1))
    assert orthonormal(torch.zeros(WIDTH, 1, dtype=torch.float64)).abs().max() == 0


def test_das_finds_the_direction_that_the_loss_asks_for():
    difference = torch.randn(N, WIDTH, generator=GENERATOR, dtype=torch.float64)

    def loss_of(basis):
        return ((project(difference, basis) - difference) @ PLANTED).pow(2).mean()

    start = orthonormal(torch.randn(WIDTH, 1, generator=GENERATOR, dtype=torch.float64))
    assert alignment(das(loss_of, start)) > 0.98
    basis = das(loss_of, widen(start, 2, difference))
    assert basis.shape == (WIDTH, 2)
    assert torch.allclose(basis.T @ basis, torch.eye(2, dtype=torch.float64), atol=1e-9)
    assert alignment(basis) > 0.99


def test_a_widened_basis_swaps_no_more_where_the_difference_leaves_room():
    difference = torch.outer(NOISE[:, 0], PLANTED)
    wide = widen(PLANTED[:, None], 3, difference)
    assert torch.allclose(wide.T @ wide, torch.eye(3, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(project(difference, wide), difference)
    everything = widen(PLANTED[:, None], WIDTH, NOISE)
    assert torch.allclose(project(NOISE, everything), NOISE)


def test_column_space_has_the_rank_of_the_matrix():
    matrix = torch.randn(WIDTH, 2, generator=GENERATOR, dtype=torch.float64)
    wide = matrix @ torch.randn(2, 7, generator=GENERATOR, dtype=torch.float64)
    basis = column_space(wide)
    assert basis.shape == (WIDTH, 2)
    assert torch.allclose(project(matrix.T, basis), matrix.T)
