"""The kit that a data source's author runs: `check_data_source(source)` raises AssertionError for what fails."""

import numpy as np

from hurricane.data.pictures import DataSource


def check_data_source(source: DataSource, image_size: int = 16) -> None:
    """Everything that Hurricane relies on in a data source; decodes all of its pictures twice."""
    facts = source.facts
    assert len(facts.classes) >= 2, "two classes are needed"
    assert facts.fingerprint, "a fingerprint is needed"
    assert facts.short_side >= 1, "the short side is in pixels"
    first, second = (source.load(image_size, 3, rank_fraction=0.2, test_fraction=0.2) for _ in range(2))
    assert first.classes == facts.classes, "classes of facts and pictures must agree"
    for name in ("train", "rank", "test"):
        one, other = getattr(first, name), getattr(second, name)
        assert len(one.labels) > 0, f"{name} is empty"
        assert one.images.shape == (len(one.labels), image_size, image_size, 3), f"{name}: shape of images"
        assert one.images.dtype == np.uint8, f"{name}: images are uint8"
        assert one.labels.dtype == np.int64, f"{name}: labels are int64"
        assert one.labels.min() >= 0, f"{name}: labels start at 0"
        assert one.labels.max() < len(facts.classes), f"{name}: a label is beyond the classes"
        assert np.array_equal(one.labels, other.labels), f"{name}: the same call must give the same split"
        assert np.array_equal(one.images, other.images), f"{name}: the same call must give the same pictures"
    assert set(first.train.labels.tolist()) == set(range(len(facts.classes))), "every class must be in train"
