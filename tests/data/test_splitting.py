import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hurricane.data.splitting import FEWEST, MOST_RANKED, Flags, check_counts, divide
from hurricane.errors import DataError

NOTHING_GIVEN = {"rank_fraction": 0.2, "test_fraction": 0.2}


@st.composite
def sources(draw: st.DrawFn) -> tuple[np.ndarray, Flags]:
    """Labels of two to six classes in any order, with a test split or without."""
    counts = draw(st.lists(st.integers(FEWEST, 40), min_size=2, max_size=6))
    tested = draw(st.booleans())
    labels = np.repeat(np.arange(len(counts)), counts)
    given_test = np.zeros(len(labels), bool)
    if tested:
        extra = np.arange(len(counts)).repeat(2)
        labels, given_test = np.concatenate([labels, extra]), np.concatenate([given_test, extra >= 0])
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(len(labels))
    return labels[order], given_test[order]


@settings(max_examples=60)
@given(source=sources(), seed=st.integers(0, 9), rank=st.floats(0.01, 0.89), test=st.floats(0.01, 0.89))
def test_every_picture_is_in_exactly_one_split_and_every_class_in_all(
    source: tuple[np.ndarray, Flags], seed: int, rank: float, test: float
) -> None:
    labels, given_test = source
    division = divide(labels, given_test, seed, rank, test)
    parts = (division.train, division.rank, division.test)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for part in parts:
        assert set(labels[part].tolist()) == set(labels.tolist())
    if given_test.any():
        assert division.test.tolist() == np.flatnonzero(given_test).tolist()


@given(source=sources(), seed=st.integers(0, 9))
def test_the_shares_are_those_asked_for_in_every_class(source: tuple[np.ndarray, Flags], seed: int) -> None:
    labels, given_test = source
    division = divide(labels, given_test, seed, **NOTHING_GIVEN)
    for label in np.unique(labels):
        train, rank, test = (
            int((labels[part] == label).sum()) for part in (division.train, division.rank, division.test)
        )
        assert rank == max(1, round(0.2 * (train + rank)))
        if not given_test.any():
            assert test == max(1, round(0.2 * (train + rank + test)))


def test_a_seed_decides_the_splits() -> None:
    labels, none = np.arange(200) % 4, np.zeros(200, bool)
    first, again, other = (divide(labels, none, seed, **NOTHING_GIVEN) for seed in (1, 1, 2))
    assert first.test.tolist() == again.test.tolist()
    assert first.rank.tolist() == again.rank.tolist()
    assert first.test.tolist() != other.test.tolist()


@pytest.mark.parametrize(("classes", "each"), [(10, 5000), (1000, 30), (3, 40_001), (7000, 5)])
def test_at_most_five_thousand_pictures_rank_unless_there_are_more_classes(classes: int, each: int) -> None:
    labels = np.repeat(np.arange(classes), each)
    ranked = divide(labels, np.zeros(len(labels), bool), 0, 0.2, 0.2).rank
    assert 0.8 * min(MOST_RANKED, 0.16 * len(labels)) <= len(ranked) <= max(MOST_RANKED, classes)


def test_exactly_a_tenth_of_fifty_thousand_given_pictures_ranks() -> None:
    labels = np.arange(60_000) % 10
    division = divide(labels, np.arange(60_000) >= 50_000, 0, 0.2, 0.2)
    assert (len(division.train), len(division.rank), len(division.test)) == (45_000, 5_000, 10_000)


@pytest.mark.parametrize(
    ("labels", "given", "said"),
    [
        ([0] * 9, [0] * 9, "one class only"),
        ([0] * 9 + [1] * 2, [0] * 11, "'b' of here has 2 training pictures; at least 5"),
        ([0] * 9 + [1] * 9, [0] * 9 + [1] * 9, "'b' of here occurs in the test split only"),
        ([0] * 9 + [1] * 9, [1] * 18, "no training pictures"),
        ([], [], "no training pictures"),
    ],
)
def test_counts_that_nothing_can_be_learned_from_are_errors(
    labels: list[int], given: list[int], said: str
) -> None:
    numbers = np.array(labels, dtype=np.int64)
    classes = "ab"[: len(set(labels))]
    with pytest.raises(DataError, match=said):
        check_counts(classes, numbers, np.array(given, bool), "here")


def test_uneven_classes_and_classes_without_test_pictures_are_warnings() -> None:
    labels = np.array([0] * 100 + [1] * 10 + [0] * 5)
    test = np.arange(115) >= 110
    (absent,) = check_counts("ab", labels, test, "here")
    assert "test split has no pictures of 1 of 2 classes (b)" in absent
    uneven = check_counts("ab", np.array([0] * 101 + [1] * 10), np.zeros(111, bool), "here")
    assert len(uneven) == 1
    assert "'a' has 101 training pictures, 'b' 10; look at the balanced accuracy" in uneven[0]
