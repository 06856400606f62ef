"""Expected scores are nearer to the truth than single noisy ones."""

import numpy as np
import pytest

import hurricane as hn
from hurricane.search import Scored, expected_scores, worths

CHOICES = ("skip", "sep_k3", "sep_k5", "mb_k3_e3", "mb_k5_e3")


def space_of(layers):
    layer = hn.LayerSpec(8, 8, 1, 8, CHOICES)
    return hn.SearchSpace((layer,) * layers, 8, 2, stem_channels=8, stem_stride=1, head_channels=8)


def scored(space, archs, scores):
    return [
        Scored(tuple(map(int, arch)), space.names(arch), float(score), 1.0)
        for arch, score in zip(archs, scores, strict=True)
    ]


def test_the_best_expected_is_better_than_the_best_scored():
    regrets = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        space = space_of(8)
        worth = rng.normal(0, 0.01, (8, 5))
        archs = np.unique(space.random(100, rng), axis=0)
        truth = worth[np.arange(8), archs].sum(axis=1)
        noisy = truth + rng.normal(0, 0.02, len(archs))
        expected = expected_scores(space, scored(space, archs, noisy))
        regrets.append([truth.max() - truth[noisy.argmax()], truth.max() - truth[expected.argmax()]])
        assert np.corrcoef(expected, truth)[0, 1] > np.corrcoef(noisy, truth)[0, 1]
    plain, smoothed = np.mean(regrets, axis=0)
    assert smoothed < 0.7 * plain


def test_few_or_equal_scores_are_given_back():
    space = hn.preset("tiny", image_size=16, classes=2)
    archs = space.random(20, np.random.default_rng(0))
    assert (expected_scores(space, scored(space, archs, np.full(20, 0.5))) == 0.5).all()
    few = np.linspace(0, 1, 5)
    assert (expected_scores(space, scored(space, archs[:5], few)) == few).all()


def test_of_nearly_equal_scores_the_one_that_computes_most_is_chosen():
    space = space_of(6)
    archs = np.unique(space.random(40, np.random.default_rng(0)), axis=0)
    even = 0.5 + 0.001 * (np.arange(len(archs)) % 2)
    rows = scored(space, archs, even)
    macs = space.macs(archs)
    assert macs[worths(space, rows, macs=100.0).argmax()] == macs.max()
    assert (worths(space, rows, macs=0.0) == expected_scores(space, rows)).all()


def test_scores_and_macs_count_alike_and_worths_are_on_the_scale_of_scores():
    rng = np.random.default_rng(1)
    space = space_of(8)
    archs = np.unique(space.random(60, rng), axis=0)
    rows = scored(space, archs, rng.normal(0.6, 0.02, len(archs)))
    expected, by = expected_scores(space, rows), worths(space, rows)
    computed = np.log(space.macs(archs))
    assert by.mean() == pytest.approx(expected.mean())
    added = by - expected
    assert added.std() == pytest.approx(expected.std())
    assert np.corrcoef(added, computed)[0, 1] == pytest.approx(1.0)


def test_equal_macs_leave_the_expected_scores():
    space = space_of(2)
    rows = scored(space, np.zeros((10, 2), dtype=np.int64), np.linspace(0, 1, 10))
    assert (worths(space, rows) == expected_scores(space, rows)).all()
