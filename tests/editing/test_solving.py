"""Closed forms against the papers' equations, written with direct inverses in float64."""

import pytest
import torch
from torch.linalg import inv

from amends import BadInput
from amends_editing import ultraedit
from amends_editing.solving import factor, null_space, priced, projected, rank_one, recursive, ridge

INNER, WIDTH = 24, 10


@pytest.fixture
def draw():
    """Return `draw(*shape)`, float64 normal numbers."""
    generator = torch.Generator().manual_seed(11)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def covariance(draw):
    """Return a well-conditioned C."""
    some = draw(INNER, 4 * INNER)
    return some @ some.T / (4 * INNER)


def same(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


def test_the_factor_is_choleskys(covariance):
    lower = factor(covariance)
    same(lower @ lower.T, covariance)
    assert not lower.triu(1).any()


def test_statistics_without_a_factor_are_refused_with_the_way_out(covariance):
    covariance[0, 0] = -1.0
    with pytest.raises(BadInput, match="give more text, or take a larger shrinkage"):
        factor(covariance)


def test_rome_is_equation_2(draw, covariance):
    """Ŵ = W + Λ (C⁻¹k*)ᵀ with Λ = (v* − W k*) / ((C⁻¹k*)ᵀ k*)."""
    weight, key, value = draw(WIDTH, INNER), draw(INNER, 1), draw(WIDTH, 1)
    direction = inv(covariance) @ key
    expected = weight + (value - weight @ key) / (direction.T @ key) @ direction.T
    found = weight + (value - weight @ key) @ rank_one(factor(covariance), key).T
    same(found, expected)
    same(found @ key, value)


def test_memit_is_equation_14_and_woodbury_equals_the_direct_solve(draw, covariance):
    """Δ = R Kᵀ (λC + K Kᵀ)⁻¹, with fewer facts than features and with more."""
    for facts in (1, 5, 40):
        keys, residuals = draw(INNER, facts), draw(WIDTH, facts)
        expected = residuals @ keys.T @ inv(15.0 * covariance + keys @ keys.T)
        same(residuals @ ridge(factor(covariance), keys, 15.0).T, expected)


def test_one_memit_edit_tends_to_romes_as_its_weight_vanishes(draw, covariance):
    key, lower = draw(INNER, 1), factor(covariance)
    rome = rank_one(lower, key)
    gaps = [float((ridge(lower, key, weight) - rome).norm() / rome.norm()) for weight in (1e-1, 1e-3, 1e-5)]
    assert gaps[0] > 50 * gaps[1] > 2500 * gaps[2] and gaps[2] < 1e-5
    reach = float(key.T @ inv(covariance) @ key)
    same(ridge(lower, key, 2.0), rome * reach / (2.0 + reach))  # in the same direction, only shorter


def test_alphaedit_is_equation_14_with_the_square_projector(draw, covariance):
    """Δ = R Kᵀ P (K₀ K₀ᵀ P + K Kᵀ P + λI)⁻¹, P the projector onto the null space."""
    basis = null_space(covariance, threshold=0.6)
    projector, eye = basis @ basis.T, torch.eye(INNER, dtype=torch.float64)
    assert 2 <= basis.shape[1] <= INNER - 2
    keys, residuals = draw(INNER, 6), draw(WIDTH, 6)
    for earlier in (draw(INNER, 9), draw(INNER, 0), draw(INNER, 2 * INNER)):  # fewer than directions, and more
        system = earlier @ earlier.T @ projector + keys @ keys.T @ projector + 10.0 * eye
        expected = residuals @ keys.T @ projector @ inv(system)
        same(residuals @ projected(basis, keys, earlier, 10.0).T, expected)


def test_the_null_space_holds_the_small_eigenvalues_and_no_others(draw):
    vectors = torch.linalg.qr(draw(INNER, INNER))[0]
    values = torch.linspace(0, 2, INNER, dtype=torch.float64)  # their mean is 1
    basis = null_space(vectors @ values.diag() @ vectors.T, threshold=0.5)
    small = vectors[:, values < 0.5]
    same(basis.T @ basis, torch.eye(small.shape[1], dtype=torch.float64))
    same(basis @ basis.T, small @ small.T)


def test_alphaedits_update_annihilates_preserved_keys(draw, covariance):
    basis = null_space(covariance, threshold=0.6)
    update = draw(WIDTH, 6) @ projected(basis, draw(INNER, 6), draw(INNER, 3), 1.0).T
    preserved = (torch.eye(INNER, dtype=torch.float64) - basis @ basis.T) @ draw(INNER, 50)
    assert float((update @ preserved).abs().max()) < 1e-10 * float(update.abs().max())
    assert float((update @ draw(INNER, 1)).abs().max()) > 0.01 * float(update.abs().max())


def test_a_price_on_each_direction_is_the_least_of_the_whole_problem(draw, covariance):
    """Δ = R Kᵀ (K Kᵀ + K₀ K₀ᵀ + μC + λI)⁻¹, where |ΔK − R|² + |ΔK₀|² + tr Δ(μC + λI)Δᵀ has no slope."""
    keys, values, eye = draw(INNER, 6), draw(WIDTH, 6), torch.eye(INNER, dtype=torch.float64)
    for earlier in (draw(INNER, 9), draw(INNER, 0), draw(INNER, 2 * INNER)):
        right = priced(covariance, keys, earlier, 2.0, 7.0)
        same(right.T, keys.T @ inv(keys @ keys.T + earlier @ earlier.T + 7.0 * covariance + 2.0 * eye))
        update = (values @ right.T).requires_grad_(True)
        held = (update @ keys - values).pow(2).sum() + (update @ earlier).pow(2).sum()
        paid = torch.trace(update @ (7.0 * covariance + 2.0 * eye) @ update.T)
        (slope,) = torch.autograd.grad(held + paid, update)
        assert float(slope.abs().max()) < 1e-9


def test_a_full_null_space_costs_text_more_than_prices_do(draw):
    """As many facts as free directions: at the same fit, the cut moves text several times as far."""
    vectors = torch.linalg.qr(draw(INNER, INNER))[0]
    covariance = vectors @ torch.linspace(0.05, 2, INNER, dtype=torch.float64).diag() @ vectors.T
    basis = null_space(covariance, 0.6)
    keys, values, earlier = draw(INNER, basis.shape[1]), draw(WIDTH, basis.shape[1]), draw(INNER, 0)

    def missed_and_moved(right):
        update = values @ right.T
        missed = float((update @ keys - values).pow(2).sum() / values.pow(2).sum())
        return missed, float(torch.trace(update @ covariance @ update.T))

    cut = missed_and_moved(projected(basis, keys, earlier, 0.1))
    dear = missed_and_moved(priced(covariance, keys, earlier, 0.1, 0.1))
    assert dear[0] < cut[0] and dear[1] < 0.5 * cut[1]


def test_recursive_batches_solve_the_whole_problem(draw, covariance):
    """Three batches in turn reach argmin λ tr(Δ C Δᵀ) + Σ |Δ kᵢ − rᵢ|² over all of them, and MEMIT that remembers."""
    weight, batches = 3.0, [(draw(INNER, n), draw(WIDTH, n)) for n in (4, 7, 2)]
    inverse = inv(weight * covariance)
    update, remembered = torch.zeros(WIDTH, INNER, dtype=torch.float64), torch.zeros(WIDTH, INNER, dtype=torch.float64)
    earlier = torch.empty(INNER, 0, dtype=torch.float64)
    for keys, values in batches:
        gain, inverse = recursive(inverse, keys)
        update = update + (values - update @ keys) @ gain.T
        known = factor(covariance + earlier @ earlier.T / weight)
        remembered = remembered + (values - remembered @ keys) @ ridge(known, keys, weight).T
        earlier = torch.cat([earlier, keys], dim=1)
    keys, values = (torch.cat([pair[part] for pair in batches], dim=1) for part in (0, 1))
    system = weight * covariance + keys @ keys.T
    same(inverse, inv(system))
    same(update, values @ keys.T @ inv(system))
    same(remembered, update)


def test_running_statistics_are_those_of_all_rows_at_once(draw):
    rows, running = 3 * draw(30, 5) + 2, ultraedit.Running()
    for part in (rows[:1], rows[1:12], rows[12:]):
        running.take(part)
    same(running.mean, rows.mean(0))
    same(running.normalise(rows), (rows - rows.mean(0)) / (rows.std(0) + ultraedit.FLOOR))
