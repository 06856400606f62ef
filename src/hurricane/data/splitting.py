"""Splits: stratified, seeded, and never overlapping."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hurricane.data.pictures import Labels
from hurricane.errors import DataError

# Fewer than this many pictures a class cannot be split into training, ranking and test pictures.
FEWEST = 5
IMBALANCE = 10
MOST_RANKED = 5000

Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Division:
    """Numbers of the pictures of each split, ascending; each picture is in exactly one."""

    train: Numbers
    rank: Numbers
    test: Numbers


def divide(
    labels: Labels, given_test: Flags, seed: int, rank_fraction: float, test_fraction: float
) -> Division:
    """Numbers of training, ranking and test pictures: a function of its arguments alone.

    given_test : which pictures belong to a test split that the source has; where none do, one is cut off.
    Ranking pictures are always cut from the training pictures: at least one a class, else at most 5,000.
    A class of at least 3 training pictures keeps one for training, whatever the fractions.
    """
    everything = np.arange(len(labels))
    rng = np.random.default_rng((seed, 7))
    if given_test.any():
        test, rest = everything[given_test], everything[~given_test]
    else:
        test, rest = _cut(everything, labels, test_fraction, rng, keep=2)
    rank, train = _cut(rest, labels, rank_fraction, rng, keep=1, most=MOST_RANKED)
    return Division(np.sort(train), np.sort(rank), np.sort(test))


def _cut(
    numbers: Numbers,
    labels: Labels,
    fraction: float,
    rng: np.random.Generator,
    *,
    keep: int,
    most: int | None = None,
) -> tuple[Numbers, Numbers]:
    """A share of each class, at least one picture, and the rest, at least `keep` a class."""
    capped = 1.0 if most is None else most / max(1, len(numbers))
    taken, left = [], []
    for label in np.unique(labels[numbers]):
        mine = rng.permutation(numbers[labels[numbers] == label])
        # The cap is rounded down (a hair above, lest 0.1 x 5,000 be 499), so that all classes together keep it.
        count = min(round(len(mine) * fraction), int(len(mine) * capped + 1e-9))
        count = max(1, min(count, len(mine) - keep))
        taken.append(mine[:count])
        left.append(mine[count:])
    return np.concatenate(taken), np.concatenate(left)


def even(counts: npt.NDArray[np.int64]) -> bool:
    """Whether accuracy over all pictures is fair: the largest class has at most 10 times the smallest."""
    return bool(counts.max() <= IMBALANCE * counts.min())


def check_counts(classes: Sequence[str], labels: Labels, given_test: Flags, where: str) -> list[str]:
    """Warnings about how the pictures lie over the classes; DataError where nothing can be learned from them."""
    if len(labels) == 0 or given_test.all():
        raise DataError(f"{where} holds no training pictures; add some of each class")
    if len(classes) < 2:
        raise DataError(
            f"{where} holds one class only ({', '.join(classes)}); at least two are needed to tell apart"
        )
    train = np.bincount(labels[~given_test], minlength=len(classes))
    test = np.bincount(labels[given_test], minlength=len(classes))
    for name, learned, judged in zip(classes, train, test, strict=True):
        if learned == 0 and judged:
            raise DataError(
                f"class {name!r} of {where} occurs in the test split only; add training pictures of it"
            )
        if learned < FEWEST:
            raise DataError(
                f"class {name!r} of {where} has {learned} training pictures; at least {FEWEST} a class are "
                "needed, and some sixty for a useful model"
            )
    warnings = []
    if given_test.any():
        absent = [name for name, count in zip(classes, test, strict=True) if count == 0]
        if absent:
            warnings.append(
                f"the test split has no pictures of {len(absent)} of {len(classes)} classes "
                f"({', '.join(absent[:5])})"
            )
    if not even(train):
        warnings.append(
            f"classes are uneven: {classes[int(train.argmax())]!r} has {train.max()} training pictures, "
            f"{classes[int(train.argmin())]!r} {train.min()}; look at the balanced accuracy"
        )
    return warnings
