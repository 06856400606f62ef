"""Sampling and searching: always within the budget, uniform over what fits, never twice the same."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hurricane as hn
from hurricane.search import (
    Evolution,
    PlainEvolution,
    RandomSearch,
    RegularizedEvolution,
    Sampler,
    check_searcher,
    random_search,
    share_within,
)

CHOICES = ("sep_k3", "mb_k3_e3", "choice_k3", "skip")


def space_of(layers=5, choices=CHOICES):
    return hn.SearchSpace(
        layers=tuple(hn.LayerSpec(8, 8, 1, 8, choices) for _ in range(layers)),
        image_size=8,
        classes=2,
        stem_channels=8,
        stem_stride=1,
        head_channels=8,
    )


def everything(space):
    return np.array(list(itertools.product(*(range(n) for n in space.counts))))


def chi_square(space, table, max_ms, min_ms, n):
    archs = everything(space)
    costs = table.predict(space, archs)
    fitting = {tuple(a) for a, c in zip(archs, costs, strict=True) if min_ms <= c <= max_ms}
    drawn = hn.sample(space, n, seed=3, cost=table, max_ms=max_ms, min_ms=min_ms)
    found, counts = np.unique(drawn, axis=0, return_counts=True)
    assert {tuple(row) for row in found.tolist()} <= fitting
    expected = n / len(fitting)
    missing = len(fitting) - len(found)
    return float(((counts - expected) ** 2 / expected).sum() + missing * expected), len(fitting) - 1


@pytest.mark.parametrize("low", [0.0, 2.2])
def test_the_draw_is_uniform_over_exactly_what_fits(low):
    space = space_of()
    table = hn.LatencyTable.from_costs(space, np.random.default_rng(0).uniform(0.1, 1, (5, 4)), fixed_ms=0.3)
    statistic, freedom = chi_square(space, table, 2.8, low, 40_000)
    assert freedom > 50
    # Mean and standard deviation of chi-square are known; five of them are beyond chance.
    assert abs(statistic - freedom) < 5 * (2 * freedom) ** 0.5


@given(st.integers(0, 10_000), st.floats(0.0, 1.0), st.floats(0.0, 0.99))
@settings(max_examples=40, deadline=None)
def test_whatever_the_costs_only_what_fits_is_drawn(seed, share, low):
    rng = np.random.default_rng(seed)
    space = space_of(int(rng.integers(1, 5)))
    costs = rng.choice([0.0, 0.5, 1.0, 1.0 + 1e-9, rng.random()], (len(space.layers), 4))
    table = hn.LatencyTable.from_costs(space, costs)
    all_costs = table.predict(space, everything(space))
    max_ms = float(np.quantile(all_costs, share))
    min_ms = low * max_ms
    if not ((all_costs >= min_ms) & (all_costs <= max_ms)).any():
        with pytest.raises(hn.InfeasibleBudget):
            hn.sample(space, 10, cost=table, max_ms=max_ms, min_ms=min_ms)
        return
    drawn = table.predict(space, hn.sample(space, 200, seed=seed, cost=table, max_ms=max_ms, min_ms=min_ms))
    assert ((drawn >= min_ms) & (drawn <= max_ms)).all()


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_costs_just_above_a_part_of_the_budget_do_not_hang_it(parts):
    space = hn.preset("mobile", image_size=32, classes=2)
    costs = [[0.0] + [(1 + 1e-9) / parts] * 31 for _ in space.layers]
    table = hn.LatencyTable.from_costs(space, costs, fixed_ms=1.0)
    drawn = hn.sample(space, 300, cost=table, max_ms=2.0)
    assert ((drawn > 0).sum(axis=1) <= parts - 1).all()


def test_a_budget_of_exactly_the_cheapest_is_met_and_one_below_it_is_not():
    space = space_of()
    costs = np.random.default_rng(1).uniform(0.1, 1, (5, 4))
    table = hn.LatencyTable.from_costs(space, costs, fixed_ms=0.1)
    cheapest = table.predict(space, [costs.argmin(axis=1)])[0]
    assert (hn.sample(space, 5, cost=table, max_ms=cheapest) == costs.argmin(axis=1)).all()
    with pytest.raises(hn.InfeasibleBudget) as caught:
        hn.sample(space, 5, cost=table, max_ms=np.nextafter(cheapest, 0))
    assert caught.value.cheapest_ms == pytest.approx(cheapest)
    assert "raise the budget" in str(caught.value)


def test_without_a_budget_the_whole_space_is_drawn():
    space = space_of()
    drawn = hn.sample(space, 4000, seed=1)
    assert np.abs(np.bincount(drawn.ravel(), minlength=4) / drawn.size - 0.25).max() < 0.02
    assert (hn.sample(space, 10, seed=5) == hn.sample(space, 10, seed=5)).all()


def test_the_share_is_right_also_where_it_is_tiny():
    space = space_of()
    table = hn.LatencyTable.from_costs(space, np.random.default_rng(0).uniform(0.1, 1, (5, 4)))
    costs = table.predict(space, everything(space))
    assert share_within(space, table, 2.5) == pytest.approx(np.mean(costs <= 2.5), rel=1e-9)
    large = hn.preset("mobile", image_size=32, classes=2)
    ones = hn.LatencyTable.from_costs(large, [[0.0] + [1.0] * 31] * 20)
    assert share_within(large, ones, 0.5) == pytest.approx(32.0**-20, rel=1e-6)
    assert share_within(large, hn.LatencyTable.from_costs(large, [[1.0] * 32] * 20), 1.0) == 0.0


@pytest.mark.parametrize("make", [Evolution, PlainEvolution, RegularizedEvolution, RandomSearch])
def test_every_search_keeps_the_rules(make):
    check_searcher(make)


def problem(seed, layers=12):
    rng = np.random.default_rng(seed)
    space = space_of(layers)
    cost = rng.uniform(0.1, 1, (layers, 4))
    gain = cost + rng.normal(0, 0.4, cost.shape)
    pairs = rng.normal(0, 0.2, (layers - 1, 4, 4))

    def score(archs):
        total = gain[np.arange(layers), archs].sum(axis=1)
        for layer in range(layers - 1):
            total = total + pairs[layer, archs[:, layer], archs[:, layer + 1]]
        return total

    return space, hn.LatencyTable.from_costs(space, cost), score


def test_evolution_needs_far_fewer_scores_than_random_search():
    needed = []
    for seed in range(3):
        space, table, score = problem(seed)
        budget = float(np.median(table.predict(space, space.random(2000, np.random.default_rng(0)))))
        by_chance = random_search(
            space, score, cost=table, max_ms=budget, evaluations=600, seed=seed
        ).best.score
        result = hn.evolve(space, score, cost=table, max_ms=budget, evaluations=150, seed=seed)
        scores = np.maximum.accumulate([scored.score for scored in result.history])
        needed.append(int(np.argmax(scores >= by_chance)) if scores[-1] >= by_chance else 150)
    assert np.median(needed) < 100


def test_a_small_space_is_scored_whole_and_its_best_found():
    space, table, score = problem(0, layers=4)
    result = hn.evolve(space, score, cost=table, max_ms=2.0, evaluations=10_000)
    archs = everything(space)
    fitting = archs[table.predict(space, archs) <= 2.0]
    assert len(result.history) == len(fitting)
    assert result.best.score == pytest.approx(score(fitting).max())
    assert result.best.choices == space.names(result.best.indices)
    assert result.best.cost_ms == pytest.approx(table.predict(space, [result.best.indices])[0])


def test_evolution_is_repeatable_and_keeps_the_window():
    space, table, score = problem(1)
    runs = [
        hn.evolve(space, score, cost=table, max_ms=6.0, min_ms=5.4, evaluations=60, seed=4) for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert all(5.4 <= scored.cost_ms <= 6.0 for scored in runs[0].history)
    assert len(runs[0].history) == 60


def test_scores_that_are_no_numbers_are_told():
    space, table, _ = problem(1)
    with pytest.raises(hn.HurricaneError, match="score"):
        hn.evolve(space, lambda archs: np.full(len(archs), np.nan), cost=table, max_ms=6.0, evaluations=20)


def test_a_sampler_is_prepared_once_and_drawn_from_often():
    space, table, _ = problem(2)
    sampler = Sampler(space, table.costs(space), 5.0)
    rng = np.random.default_rng(0)
    first, second = sampler.draw(50, rng), sampler.draw(50, rng)
    assert not np.array_equal(first, second)
    assert sampler.within(np.concatenate([first, second])).all()
