import torch

from interp.probe_directions import (
    column_space,
    das,
    mean_difference,
    norm_matched,
    orthonormal,
    probe_direction,
    project,
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
    assert alignment(probe_direction(without, with_carry, TOTAL)) > 0.99


def test_a_site_without_variance_gives_no_probe_direction():
    same = torch.ones(N, WIDTH, dtype=torch.float64)
    assert probe_direction(same, same, TOTAL).abs().max() == 0


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
    assert alignment(das(loss_of, start, 1, GENERATOR)) > 0.98
    basis = das(loss_of, start, 2, GENERATOR)
    assert basis.shape == (WIDTH, 2)
    assert torch.allclose(basis.T @ basis, torch.eye(2, dtype=torch.float64), atol=1e-9)
    assert alignment(basis) > 0.99


def test_column_space_has_the_rank_of_the_matrix():
    matrix = torch.randn(WIDTH, 2, generator=GENERATOR, dtype=torch.float64)
    wide = matrix @ torch.randn(2, 7, generator=GENERATOR, dtype=torch.float64)
    basis = column_space(wide)
    assert basis.shape == (WIDTH, 2)
    assert torch.allclose(project(matrix.T, basis), matrix.T)
