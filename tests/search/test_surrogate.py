import numpy as np
import pytest

import hurricane as hn
from benchmarks.search_problems import space_of
from hurricane.search import surrogate
from hurricane.search.surrogate import Features, Scales


def features_of(space: hn.SearchSpace, seed: int) -> Features:
    rng = np.random.default_rng(seed)
    table = hn.LatencyTable.from_costs(space, rng.random((len(space.layers), space.counts[0])).tolist())
    return Features(space, table.costs(space))


def test_the_gradient_is_that_of_the_likelihood() -> None:
    space = space_of([5] * 4)
    features, rng = features_of(space, 0), np.random.default_rng(1)
    archs = space.random(30, rng)
    target = rng.standard_normal(30)
    hot = features.one_hot(archs)
    cost = hot @ features.cost
    cost = (cost - cost.mean()) / cost.std()
    differ = np.stack([t[np.ix_(c, c)] for t, c in zip(features.differ, archs.T, strict=True)])
    apart = np.stack([t[np.ix_(c, c)] for t, c in zip(features.apart, archs.T, strict=True)])
    named = hot @ features.names
    logs = Scales.prior(4).logs + rng.normal(0, 0.3, 10)

    def likelihood(logs: np.ndarray) -> float:
        scales = Scales(logs)
        distance = hot @ features.distances(archs, scales.layers, scales.mixture).T
        parts = surrogate._parts(distance, scales.layers.sum(), named @ named.T, cost, cost)
        covariance = surrogate._weighted(scales.weights, parts)
        covariance = covariance + (scales.noise + surrogate.JITTER) * np.eye(30)
        return float(
            -0.5 * target @ np.linalg.solve(covariance, target) - 0.5 * np.linalg.slogdet(covariance)[1]
        )

    found = surrogate._gradient(Scales(logs), target, differ, apart, named @ named.T, cost)
    steps = 1e-5 * np.eye(10)
    slopes = [(likelihood(logs + step) - likelihood(logs - step)) / 2e-5 for step in steps]
    assert found == pytest.approx(slopes, rel=1e-3, abs=1e-4)


def test_it_learns_effects_and_interactions_and_knows_what_it_does_not_know() -> None:
    space = space_of([4] * 6)
    features, rng = features_of(space, 2), np.random.default_rng(3)
    effect, pair = rng.standard_normal((6, 4)), rng.standard_normal((4, 4))

    def score(archs: np.ndarray) -> np.ndarray:
        return effect[np.arange(6), archs].sum(axis=1) + pair[archs[:, 1], archs[:, 4]]

    known, unknown = space.random(150, rng), space.random(400, rng)
    model = surrogate.fit(features, known, score(known), Scales.prior(6), tuned=True)
    mean, deviation = model.predict(unknown)
    truth = np.array([model.scaled(value) for value in score(unknown)])
    upper = truth > np.median(truth)
    assert np.corrcoef(mean[upper], truth[upper])[0, 1] > 0.9
    within = np.abs(mean - truth)[upper] < 2 * np.sqrt(deviation[upper] ** 2 + model.scales.noise)
    assert within.mean() > 0.85
    assert deviation.mean() > 1.3 * model.predict(known)[1].mean()


def test_joint_and_single_predictions_agree() -> None:
    space = space_of([3] * 5)
    features, rng = features_of(space, 4), np.random.default_rng(5)
    known, unknown = space.random(40, rng), space.random(20, rng)
    model = surrogate.fit(features, known, rng.standard_normal(40), Scales.prior(5), tuned=False)
    mean, deviation = model.predict(unknown)
    joint, covariance = model.joint(unknown)
    assert joint == pytest.approx(mean)
    assert np.sqrt(np.diag(covariance)) == pytest.approx(deviation)


def test_equal_scores_and_a_space_without_costs_are_no_trouble() -> None:
    space = space_of([3] * 3)
    features = Features(space, None)
    archs = space.random(10, np.random.default_rng(0))
    model = surrogate.fit(features, archs, np.ones(10), Scales.prior(3), tuned=True)
    mean, deviation = model.predict(archs)
    assert np.isfinite(mean).all()
    assert np.isfinite(deviation).all()
