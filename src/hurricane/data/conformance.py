"""The kit that a data source's author runs: `check_data_source(source)` raises AssertionError for what fails."""

import tempfile
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np

from hurricane.data.keeping import SPLITS
from hurricane.data.pictures import DataSource, Pictures, SourceFacts, Split

# A split of a seed is checked against that of another.
SEED, OTHER_SEED = 3, 4


def check_data_source(source: DataSource, image_size: int = 16) -> None:
    """Everything that Hurricane relies on in a data source; decodes all of its pictures four times.

    Raises AssertionError with a sentence that says what does not hold.
    """
    facts = source.facts
    _check_facts(facts)
    told: list[tuple[int, int]] = []

    def load(seed: int, cache: Path | None = None) -> Pictures:
        return source.load(
            image_size,
            seed,
            rank_fraction=0.2,
            test_fraction=0.2,
            cache=cache,
            progress=lambda *done: told.append(done),
        )

    first = load(SEED)
    assert all(0 <= done <= total for done, total in told), "progress is told (pictures done, in all)"
    _check_pictures(first, facts, image_size)
    _check_same(first, load(SEED), "the same call")
    assert _content(load(OTHER_SEED)) == _content(first), (
        "splits overlap or lose pictures: with another seed there are other pictures in all splits together"
    )
    with tempfile.TemporaryDirectory() as folder:
        _check_same(first, load(SEED, Path(folder)), "loading with a cache")
        _check_same(first, load(SEED, Path(folder)), "loading from the cache")


def _check_facts(facts: SourceFacts) -> None:
    assert facts.kind, "a kind is needed, such as 'folder'"
    assert len(facts.classes) >= 2, "two classes are needed"
    assert len(set(facts.classes)) == len(facts.classes), "class names must differ"
    assert all(isinstance(name, str) for name in facts.classes), "class names are texts"
    assert facts.fingerprint, "a fingerprint is needed"
    assert facts.short_side >= 1, "the short side is in pixels"


def _check_pictures(pictures: Pictures, facts: SourceFacts, size: int) -> None:
    assert pictures.classes == facts.classes, "classes of facts and pictures must agree"
    for name in SPLITS:
        _check_split(name, getattr(pictures, name), len(facts.classes), size)
    for name in ("train", "rank"):
        labels = set(getattr(pictures, name).labels.tolist())
        assert labels == set(range(len(facts.classes))), f"every class must be in {name}"
    total = sum(len(getattr(pictures, name).labels) for name in SPLITS) + pictures.skipped
    assert total == facts.pictures, (
        f"splits hold {total} pictures with those skipped, the source {facts.pictures}: each is in exactly one"
    )
    assert len(pictures.mean) == len(pictures.std) == 3, "mean and std are of three channels"
    assert all(0 <= mean <= 1 for mean in pictures.mean), "means are of pictures in [0, 1]"
    assert all(0 < std <= 1 for std in pictures.std), "deviations are of pictures in [0, 1], and not 0"


def _check_split(name: str, split: Split, classes: int, size: int) -> None:
    assert len(split.labels) > 0, f"{name} is empty"
    assert split.images.shape == (len(split.labels), size, size, 3), f"{name}: images are (n, H, W, 3)"
    assert split.images.dtype == np.uint8, f"{name}: images are uint8"
    assert split.labels.shape == (len(split.labels),), f"{name}: labels are (n,)"
    assert split.labels.dtype == np.int64, f"{name}: labels are int64"
    assert split.labels.min() >= 0, f"{name}: labels start at 0"
    assert split.labels.max() < classes, f"{name}: a label is beyond the classes"


def _check_same(one: Pictures, other: Pictures, what: str) -> None:
    for name in SPLITS:
        first, second = getattr(one, name), getattr(other, name)
        assert np.array_equal(first.labels, second.labels), f"{name}: {what} must give the same split"
        assert np.array_equal(first.images, second.images), f"{name}: {what} must give the same pictures"
    assert (one.mean, one.std) == (other.mean, other.std), f"{what} must give the same mean and std"


def _content(pictures: Pictures) -> Counter[tuple[str, int]]:
    """Pictures with their labels, however they are split."""
    return Counter(
        (sha256(image.tobytes()).hexdigest(), int(label))
        for split in (pictures.train, pictures.rank, pictures.test)
        for image, label in zip(split.images, split.labels, strict=True)
    )
