"""The network of `benchmarks/most_mixing.py` is the best there is where costs are whole steps."""

import itertools

import numpy as np
import pytest

from benchmarks.most_mixing import most


@pytest.mark.parametrize("seed", range(20))
def test_a_knapsack_over_layers_finds_what_trying_all_finds(seed):
    rng = np.random.default_rng(seed)
    values = [rng.integers(0, 100, 4).astype(float) for _ in range(5)]
    # Powers of two divide exactly: a budget of 1000 steps.
    costs = [rng.integers(1, 500, 4) / 1024 for _ in range(5)]
    costs[2][1] = np.nan  # the device cannot run it
    found = most(values, costs, 1000 / 1024)
    sums = {
        arch: sum(value[i] for value, i in zip(values, arch, strict=True))
        for arch in itertools.product(range(4), repeat=5)
        if sum(cost[i] for cost, i in zip(costs, arch, strict=True)) <= 1000 / 1024
    }
    assert tuple(found) in sums
    assert sums[tuple(found)] == max(sums.values())
