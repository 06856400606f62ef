"""The plan: lengths are cut to a time limit in the order that hurts least."""

import pytest

from hurricane.steps.plan import MINIMUM, STRETCH, Lengths, fitted, stretched

WANTED = Lengths(stage1=90, stage2=60, retrain=100, evaluations=200, random_evaluations=100)


def seconds(lengths):
    return (
        2.0 * (lengths.stage1 + lengths.stage2 + lengths.retrain)
        + lengths.evaluations
        + lengths.random_evaluations
    )


def test_what_fits_is_not_cut():
    assert fitted(WANTED, seconds(WANTED), seconds) == WANTED


def test_room_lengthens_trainings_but_not_without_end():
    least = seconds(WANTED)
    assert stretched(WANTED, least, seconds) == WANTED
    assert least < seconds(stretched(WANTED, 1.5 * least, seconds)) <= 1.5 * least
    assert stretched(WANTED, 100 * least, seconds).retrain == STRETCH * WANTED.retrain
    assert stretched(WANTED, 700, seconds) == fitted(WANTED, 700, seconds)


@pytest.mark.parametrize("limit", [790, 700, 600, 400, 200, 150])
def test_what_is_cut_fits(limit):
    assert seconds(fitted(WANTED, limit, seconds)) <= limit


def test_random_evaluations_go_first_then_evaluations_then_trainings():
    assert fitted(WANTED, 790, seconds).evaluations == 200
    assert fitted(WANTED, 700, seconds).stage1 == 90
    cut = fitted(WANTED, 400, seconds)
    assert cut.evaluations == 100
    assert cut.stage1 / 90 == pytest.approx(cut.retrain / 100, abs=0.05)


def test_nothing_goes_below_its_least_and_short_wishes_are_kept():
    least = fitted(WANTED, 0, seconds)
    assert {name: getattr(least, name) for name in MINIMUM} == MINIMUM
    short = Lengths(stage1=2, stage2=0, retrain=1, evaluations=8, random_evaluations=0)
    assert fitted(short, 0, seconds) == short
