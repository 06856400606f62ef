"""Parts of real data sets, where they are there."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hurricane.data import open_source

Find = Callable[[str], Path]
CUT = {"rank_fraction": 0.2, "test_fraction": 0.2}


def first_rows(source: Path, target: Path, groups: int) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetFile(source) as file:
        rows = file.read_row_groups(list(range(min(groups, file.num_row_groups))))
    pq.write_table(rows, target)


def test_cifar_pictures_have_the_known_classes_and_statistics(real_data: Find, tmp_path: Path) -> None:
    first_rows(real_data("cifar10/train.parquet"), tmp_path / "train.parquet", 2)
    first_rows(real_data("cifar10/test.parquet"), tmp_path / "test.parquet", 1)
    source = open_source(tmp_path)
    assert source.facts.classes[:3] == ("airplane", "automobile", "bird")
    assert source.facts.short_side == 32
    pictures = source.load(32, 0, **CUT)
    assert (len(pictures.test.labels), pictures.skipped, pictures.warnings) == (1000, 0, ())
    assert pictures.mean == pytest.approx((0.4913, 0.4821, 0.4465), abs=0.02)
    assert pictures.std == pytest.approx((0.2452, 0.2428, 0.2606), abs=0.02)


def test_grey_pictures_among_coloured_ones_are_read(real_data: Find) -> None:
    source = open_source(real_data("tiny_imagenet_20/val.parquet"))
    assert (len(source.facts.classes), source.facts.short_side) == (20, 64)
    pictures = source.load(16, 0, **CUT)
    assert pictures.skipped == 0
    images = pictures.train.images
    grey = (images[..., 0] == images[..., 1]).all(axis=(1, 2)) & (images[..., 1] == images[..., 2]).all(
        axis=(1, 2)
    )
    assert 0 < grey.sum() < 0.1 * len(images)


def test_a_folder_of_photographs_with_capital_suffixes_is_read(real_data: Find, tmp_path: Path) -> None:
    taken: dict[str, int] = {}
    with zipfile.ZipFile(real_data("sign_digits/sign_digits_100px.zip")) as archive:
        for name in sorted(archive.namelist()):
            folder = name.rpartition("/")[0]
            if name.lower().endswith(".jpg") and taken.get(folder, 0) < 10:
                taken[folder] = taken.get(folder, 0) + 1
                archive.extract(name, tmp_path)
    (split_folder,) = {path.parent.parent.parent for path in tmp_path.rglob("*.JPG")}
    source = open_source(split_folder)
    assert source.facts.classes == tuple("0123456789")
    assert source.facts.counts == {"train": (10,) * 10, "test": (10,) * 10}
    assert source.facts.short_side == 100
    pictures = source.load(48, 0, **CUT)
    assert np.bincount(pictures.rank.labels).tolist() == [2] * 10
    assert pictures.test.images.shape == (100, 48, 48, 3)
