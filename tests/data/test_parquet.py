import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hurricane.data import check_data_source, open_source
from hurricane.errors import DataError
from tests.data.conftest import encoded

Make = Callable[..., Path]
CUT = {"rank_fraction": 0.2, "test_fraction": 0.2}


def test_a_parquet_file_gives_its_class_names_and_pictures(make_parquet: Make) -> None:
    source = open_source(make_parquet())
    facts = source.facts
    assert (facts.kind, facts.classes, facts.pictures, facts.short_side) == (
        "parquet",
        ("cat", "dog"),
        20,
        12,
    )
    assert facts.counts == {"train": (10, 10)}
    check_data_source(source)


def test_rows_and_labels_stay_together(make_parquet: Make) -> None:
    """A picture of class k is a plain one of brightness 20 k, whatever the row groups."""
    labels = [i * 7 % 5 for i in range(60)]
    images = [b"P5 8 8 255\n" + bytes([20 * label] * 64) for label in labels]
    names = ("e", "d", "c", "b", "a")
    pictures = open_source(make_parquet(labels=labels, names=names, images=images)).load(8, 0, **CUT)
    assert pictures.classes == names
    for split in (pictures.train, pictures.rank, pictures.test):
        assert (split.images == 20 * split.labels[:, None, None, None]).all()


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train.parquet", "test.parquet"),
        ("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"),
        ("train/0000.parquet", "val/0000.parquet"),
        ("pets-train.parquet", "pets_test.parquet"),
        ("valley.parquet", "valid.parquet"),
    ],
)
def test_splits_go_by_the_words_in_file_and_folder_names(
    make_parquet: Make, tmp_path: Path, train: str, test: str
) -> None:
    make_parquet(train, seed=0)
    make_parquet(test, labels=(1, 1, 0), seed=100)
    source = open_source(tmp_path)
    assert source.facts.counts == {"train": (10, 10), "test": (1, 2)}
    assert source.load(8, 0, **CUT).test.labels.tolist() == [1, 1, 0]


def test_validation_is_left_unused_beside_a_test_split(make_parquet: Make, tmp_path: Path) -> None:
    for seed, name in enumerate(("train", "validation", "test")):
        make_parquet(f"{name}.parquet", seed=100 * seed)
    facts = open_source(tmp_path).facts
    assert facts.pictures == 40
    assert facts.notes == (
        "test pictures from test.parquet",
        "validation.parquet left unused, since there is a test split",
    )


@pytest.mark.parametrize(
    ("labels", "names", "classes"),
    [
        (["dog", "cat"] * 6, None, ("cat", "dog")),
        ([10, 9] * 6, None, ("9", "10")),
        ([True, False] * 6, None, ("False", "True")),
        (["dog", "cat"] * 6, ["dog", "cat"], ("dog", "cat")),
        ([2, 0] * 6, ["x", "absent", "y"], ("x", "y")),
    ],
)
def test_labels_may_be_numbers_or_texts(
    make_parquet: Make, labels: list[Any], names: list[str] | None, classes: tuple[str, ...]
) -> None:
    facts = open_source(make_parquet(labels=labels, names=names)).facts
    assert facts.classes == classes
    assert facts.counts == {"train": (6, 6)}
    assert len(facts.warnings) == (1 if names and "absent" in names else 0)


@pytest.mark.parametrize("columns", [("img", "fine_label"), ("image", "labels"), ("picture", "class")])
def test_usual_names_of_columns_are_known(make_parquet: Make, columns: tuple[str, str]) -> None:
    assert open_source(make_parquet(columns=columns)).facts.classes == ("cat", "dog")


def test_pictures_may_lie_beside_the_file(make_parquet: Make, tmp_path: Path) -> None:
    images = []
    for i in range(20):
        (tmp_path / f"{i}.png").write_bytes(encoded(i))
        images.append({"bytes": None, "path": f"{i}.png"})
    linked = open_source(make_parquet(images=[*images[:-1], {"bytes": encoded(19), "path": "x"}]))
    inside = open_source(make_parquet("inside.parquet"))
    one, other = linked.load(8, 0, **CUT), inside.load(8, 0, **CUT)
    assert np.array_equal(one.train.images, other.train.images)


def test_a_parquet_without_rows_to_learn_from_is_an_error(make_parquet: Make, tmp_path: Path) -> None:
    cases: Sequence[tuple[dict[str, Any], str]] = [
        (
            {"columns": ("image", "caption")},
            r"no column of labels \(it has image, caption\); name it 'label'",
        ),
        ({"columns": ("file", "label")}, r"no column of pictures \(it has file, label\); name it 'image'"),
        ({"labels": [0, None] * 10}, "10 of 20 rows without a label"),
        ({"labels": [0, -1] * 10}, "10 of 20 rows without a label"),
        ({"labels": [0, 2] * 10}, "labels beyond its 2 class names"),
        ({"labels": [0.5, 1.5] * 10}, "'label' .* of type double; a label is a whole number or a text"),
        ({"labels": [[0], [1]] * 10}, "'label' .* of type list"),
        ({"labels": ["cat", "bird"] * 10}, "a label 'bird' that is none of its 2 class names"),
        ({"labels": [0, 0, 0, 1] * 2}, "'dog' of .* has 2 training pictures"),
        ({"labels": [0] * 20, "names": ["cat"]}, "one class only"),
        ({"labels": [1] * 20}, "one class only"),
        ({"images": [[1, 2]] * 20}, "'image' .* of type list.*; pictures are encoded bytes"),
        (
            {"images": [b"no picture"] * 20},
            "none of the 20 pictures .* can be read .as row 0 of data.parquet",
        ),
        ({"images": [None] * 19 + [b""]}, "none of the 20 pictures"),
    ]
    for options, said in cases:
        with pytest.raises(DataError, match=said):
            open_source(make_parquet(**options))


def test_splits_that_do_not_fit_together_are_errors(make_parquet: Make, tmp_path: Path) -> None:
    make_parquet("only/test.parquet")
    with pytest.raises(DataError, match=r"has test.parquet but no training pictures; add a train\*.parquet"):
        open_source(tmp_path / "only")
    assert open_source(tmp_path / "only" / "test.parquet").facts.counts == {"train": (10, 10)}
    make_parquet("foreign/train.parquet", names=None)
    make_parquet("foreign/test.parquet", labels=(0, 5), names=None)
    with pytest.raises(DataError, match=r"class '5' of .* occurs in the test split only"):
        open_source(tmp_path / "foreign")
    (tmp_path / "foreign" / "a").mkdir()
    (tmp_path / "foreign" / "a" / "a.jpg").write_bytes(encoded(1))
    with pytest.raises(DataError, match=r"both parquet files \(test.parquet\) and pictures \(a/a.jpg\)"):
        open_source(tmp_path / "foreign")


def test_a_test_split_without_rows_is_an_error(make_parquet: Make, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    make_parquet("d/train.parquet")
    pq.write_table(pq.read_table(make_parquet("d/test.parquet")).slice(0, 0), tmp_path / "d" / "test.parquet")
    with pytest.raises(DataError, match=r"test.parquet has no test pictures"):
        open_source(tmp_path / "d")


def test_a_truncated_parquet_is_an_error_wherever_it_ends(make_parquet: Make) -> None:
    path = make_parquet()
    whole = path.read_bytes()
    for length in (0, 3, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"no whole parquet file .*; download or write it again"):
            open_source(path)


def test_a_parquet_damaged_in_the_middle_is_an_error(make_parquet: Make) -> None:
    import pyarrow.parquet as pq

    path = make_parquet()
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)
    with pytest.raises(DataError, match="no whole parquet file"):
        open_source(path).load(8, 0, **CUT)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_parquet_that_may_not_be_read_is_an_error(make_parquet: Make) -> None:
    path = make_parquet()
    path.chmod(0)
    with pytest.raises(DataError, match="may not be read"):
        open_source(path)


def test_the_fingerprint_follows_the_labels_and_the_bytes(make_parquet: Make) -> None:
    first = open_source(make_parquet()).facts.fingerprint
    assert open_source(make_parquet()).facts.fingerprint == first
    assert open_source(make_parquet(labels=(1, 0) * 10)).facts.fingerprint != first
    images = [encoded(i, side=14) for i in range(20)]
    assert open_source(make_parquet(images=images)).facts.fingerprint != first
