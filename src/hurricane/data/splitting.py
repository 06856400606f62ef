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


@dataclass(frozen=True)
class Division:
    """Numbers of the pictures of each split."""

    train: Numbers
    rank: Numbers
    test: Numbers


def divide(
    labels: Labels, given_test: npt.NDArray[np.bool_], seed: int, rank_fraction: float, test_fraction: float
) -> Division:
    """Numbers of training, ranking and test pictures.

    given_test : which pictures belong to a test split that the source has; where none do, one is cut off.
    Ranking pictures are always cut from the training pictures, at most 5,000.
    """
    everything = np.arange(len(labels))
    rng = np.random.default_rng((seed, 7))
    if given_test.any():
        test, rest = everything[given_test], everything[~given_test]
    else:
        test, rest = _cut(everything, labels, test_fraction, rng)
    fraction = min(rank_fraction, MOST_RANKED / max(1, len(rest)))
    rank, train = _cut(rest, labels, fraction, rng)
    return Division(np.sort(train), np.sort(rank), np.sort(test))


def _cut(
    numbers: Numbers, labels: Labels, fraction: float, rng: np.random.Generator
) -> tuple[Numbers, Numbers]:
    """A share of each class, at least one picture, and the rest."""
    taken, left = [], []
    for label in np.unique(labels[numbers]):
        mine = rng.permutation(numbers[labels[numbers] == label])
        count = max(1, round(len(mine) * fraction))
        taken.append(mine[:count])
        left.append(mine[count:])
    return np.concatenate(taken), np.concatenate(left)


def check_counts(
    classes: Sequence[str], labels: Labels, given_test: npt.NDArray[np.bool_], where: str
) -> list[str]:
    """Warnings about how the pictures lie over the classes; DataError where nothing can be learned from them."""
    if len(classes) < 2:
        raise DataError(
            f"{where} holds one class only ({', '.join(classes)}); at least two are needed to tell apart"
        )
    train = np.bincount(labels[~given_test], minlength=len(classes))
    for name, count in zip(classes, train, strict=True):
        if count < FEWEST:
            raise DataError(
                f"class {name!r} of {where} has {count} training pictures; at least {FEWEST} a class are needed, "
                "and some sixty for a useful model"
            )
    warnings = []
    if given_test.any():
        test = np.bincount(labels[given_test], minlength=len(classes))
        absent = [name for name, count in zip(classes, test, strict=True) if count == 0]
        if absent:
            warnings.append(f"the test split has no pictures of {', '.join(absent[:5])}")
    if train.max() > IMBALANCE * train.min():
        warnings.append(
            f"classes are uneven: {classes[int(train.argmax())]!r} has {train.max()} pictures, "
            f"{classes[int(train.argmin())]!r} {train.min()}; look at the balanced accuracy"
        )
    return warnings
