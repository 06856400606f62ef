"""Expected scores are nearer to the truth than single noisy ones."""

import numpy as np
import pytest

import hurricane as hn
from hurricane.search import Scored, expected_scores, merits, worths

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


def test_of_nearly_equal_scores_the_one_that_mixes_most_is_chosen():
    space = space_of(6)
    archs = np.unique(space.random(40, np.random.default_rng(0)), axis=0)
    even = 0.5 + 0.001 * (np.arange(len(archs)) % 2)
    rows = scored(space, archs, even)
    mixing = space.mixing_macs(archs)
    assert mixing[worths(space, rows, macs=100.0).argmax()] == mixing.max()
    assert (worths(space, rows, macs=0.0) == expected_scores(space, rows)).all()


def test_merits_count_what_mixes_channels_and_nothing_else():
    space = space_of(4)
    small, large, skips = (
        np.array([space.indices((name,) * 4)]) for name in ("mb_k3_e3", "mb_k5_e3", "skip")
    )
    assert space.macs(large) > space.macs(small)
    assert merits(space, large) == merits(space, small) == pytest.approx(0.0)
    share = np.log(space.mixing_macs(skips) / space.mixing_macs(small))
    assert merits(space, skips) == pytest.approx(0.1 * share)
    assert merits(space, skips, macs=2.0) == pytest.approx(0.2 * share)


def test_equal_merits_leave_the_expected_scores():
    space = space_of(2)
    rows = scored(space, np.full((10, 2), 3), np.linspace(0, 1, 10))
    assert (worths(space, rows) == expected_scores(space, rows)).all()
