"""The most that fits a budget is what trying everything finds."""

import itertools

import numpy as np
import pytest

from hurricane.errors import InfeasibleBudget
from hurricane.latency import AdditiveCosts
from hurricane.search import most_within


def problem(seed):
    """Values and costs of five layers with four choices, one of which the device cannot run; costs are whole."""
    rng = np.random.default_rng(seed)
    values = [rng.integers(0, 100, 4).astype(float) for _ in range(5)]
    costs = [rng.integers(-50, 500, 4).astype(float) for _ in range(5)]
    costs[2][1] = np.nan
    return values, AdditiveCosts(tuple(costs), 7.0)


def value_and_cost(values, costs, arch):
    return (
        sum(value[i] for value, i in zip(values, arch, strict=True)),
        costs.fixed_ms + sum(layer[i] for layer, i in zip(costs.layers, arch, strict=True)),
    )


@pytest.mark.parametrize("seed", range(20))
def test_what_is_found_is_the_best_where_costs_are_whole_steps(seed):
    values, costs = problem(seed)
    cheapest = costs.fixed_ms + sum(np.nanmin(layer) for layer in costs.layers)
    max_ms = cheapest + 1000.0
    everything = [value_and_cost(values, costs, arch) for arch in itertools.product(range(4), repeat=5)]
    value, cost = value_and_cost(values, costs, most_within(values, costs, max_ms))
    assert cost <= max_ms
    assert value == max(value for value, cost in everything if cost <= max_ms)


@pytest.mark.parametrize("seed", range(20))
def test_what_fills_the_room_exactly_is_not_lost_by_the_last_digit_of_a_float(seed):
    rng = np.random.default_rng(seed)
    steps = np.diff(np.concatenate([[0], np.sort(rng.integers(1, 1000, 4)), [1000]]))
    costs = AdditiveCosts(tuple(np.array([0.0, 0.1 * step]) for step in steps), 0.3)
    assert most_within([np.array([0.0, 1.0])] * 5, costs, 0.3 + 100.0) == [1] * 5


@pytest.mark.parametrize("seed", range(20))
def test_rounding_costs_little_and_never_breaks_the_budget(seed):
    values, costs = problem(seed)
    costs = AdditiveCosts(tuple(layer * np.pi / 17 for layer in costs.layers), costs.fixed_ms)
    cheapest = costs.fixed_ms + sum(np.nanmin(layer) for layer in costs.layers)
    max_ms = cheapest + 60.0
    everything = [value_and_cost(values, costs, arch) for arch in itertools.product(range(4), repeat=5)]
    value, cost = value_and_cost(values, costs, most_within(values, costs, max_ms))
    assert cost <= max_ms
    # Each of five layers is rounded up by a thousandth of the room at most.
    assert value >= max(value for value, cost in everything if cost <= max_ms - 5 * 0.06)


def test_where_only_the_cheapest_fits_it_is_taken_and_below_nothing_is():
    values, costs = problem(0)
    arch = [int(np.nanargmin(layer)) for layer in costs.layers]
    cheapest = costs.fixed_ms + float(sum(layer[i] for layer, i in zip(costs.layers, arch, strict=True)))
    assert value_and_cost(values, costs, most_within(values, costs, cheapest))[1] == cheapest
    with pytest.raises(InfeasibleBudget):
        most_within(values, costs, cheapest - 0.1)
