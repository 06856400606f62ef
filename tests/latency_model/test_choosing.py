"""Networks chosen to be measured tell more than others."""

import numpy as np
import pytest

import hurricane as hn
from hurricane.latency_model import informative
from tests.latency_model.test_fit import table_of


@pytest.fixture(scope="module")
def space():
    return hn.preset(
        "tiny", image_size=32, classes=10, choices=("sep_k3", "mb_k3_e3", "choice_k3", "mb_k5_e6")
    )


def left(model, space, archs):
    """What is still not known of fresh networks."""
    return float(np.trace(model.covariance(space, archs)))


def test_chosen_networks_leave_less_unknown_than_random_ones(space):
    table, rng = table_of(space), np.random.default_rng(0)
    archs = space.random(4, rng)
    first = hn.fit_latency(space, archs, table.predict(space, archs), prior=table)
    candidates, fresh = space.random(300, rng), space.random(100, rng)
    chosen = informative(first, space, candidates, 8)

    def unknown(batch):
        """By the first fit's shrinkage, which the choice was made by."""
        prior, every = first.covariance(space, np.concatenate([batch, fresh])), len(batch)
        noise = (0.02 * first.predict(space, batch).mean()) ** 2 * np.eye(every)
        gain = prior[every:, :every] @ np.linalg.inv(prior[:every, :every] + noise)
        return float(np.trace(prior[every:, every:] - gain @ prior[:every, every:]))

    at_random = [unknown(candidates[start : start + 8]) for start in range(0, 160, 8)]
    assert unknown(chosen) < min(at_random)
    assert unknown(chosen) < left(first, space, fresh)


def test_no_network_is_chosen_twice_and_no_more_than_there_are(space):
    table, rng = table_of(space), np.random.default_rng(0)
    archs = space.random(4, rng)
    model = hn.fit_latency(space, archs, table.predict(space, archs))
    candidates = np.unique(space.random(6, rng), axis=0)
    chosen = informative(model, space, candidates, 10)
    assert sorted(map(tuple, chosen)) == sorted(map(tuple, candidates))
