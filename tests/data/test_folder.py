import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hurricane.data import check_data_source, open_source
from hurricane.errors import DataError

Make = Callable[..., Path]
CUT = {"rank_fraction": 0.2, "test_fraction": 0.2}


def test_class_folders_are_a_source_and_the_test_split_is_cut_off(make_folder: Make) -> None:
    source = open_source(make_folder({"dog": 20, "cat": 30}))
    facts = source.facts
    assert (facts.kind, facts.classes, facts.pictures, facts.short_side) == ("folder", ("cat", "dog"), 50, 12)
    assert (facts.flip, facts.balanced, facts.warnings) == (True, True, ())
    assert facts.counts == {"train": (30, 20)}
    pictures = source.load(8, 0, **CUT)
    assert np.bincount(pictures.test.labels).tolist() == [6, 4]
    assert np.bincount(pictures.rank.labels).tolist() == [5, 3]
    assert np.bincount(pictures.train.labels).tolist() == [19, 13]
    assert pictures.notes == (
        "10 of 50 pictures are set aside for the test, by class, seed 0",
        "8 of 40 training pictures rank architectures, by class, seed 0",
    )


@pytest.mark.parametrize("name", ["test", "val", "valid", "validation", "Test"])
def test_a_test_split_of_the_folder_is_the_test_split(make_folder: Make, name: str) -> None:
    root = make_folder({"train/a": 10, "train/b": 10, f"{name}/a": 3, f"{name}/b": 2})
    source = open_source(root)
    assert source.facts.counts == {"train": (10, 10), "test": (3, 2)}
    pictures = source.load(8, 5, **CUT)
    assert pictures.test.labels.tolist() == [0, 0, 0, 1, 1]
    assert pictures.notes[0] == f"test pictures from {name}/"


def test_test_comes_before_validation_and_what_is_unused_is_said(make_folder: Make) -> None:
    counts = {f"{split}/{name}": 6 for split in ("train", "val", "test") for name in "ab"}
    source = open_source(make_folder({**counts, "unlabelled/x": 2}))
    assert source.facts.pictures == 24
    assert source.facts.notes == ("test pictures from test/", "left unused: val/, unlabelled/")


def test_train_and_test_may_be_names_of_classes(make_folder: Make) -> None:
    assert open_source(make_folder({"bus": 6, "train": 6, "test": 6})).facts.classes == (
        "bus",
        "test",
        "train",
    )


def test_nested_and_linked_pictures_count_and_hidden_and_other_files_do_not(
    make_folder: Make, tmp_path: Path
) -> None:
    root = make_folder({"a/deep/deeper": 5, "a/.hidden": 5, "b": 5, ".git/b": 5})
    before = open_source(root).facts
    assert before.counts == {"train": (5, 5)}
    picture = root / "b" / "000.png"
    (root / "b" / "notes.txt").write_text("no picture")
    (root / "b" / ".000.png").write_bytes(picture.read_bytes())
    assert open_source(root).facts == before
    elsewhere = tmp_path / "elsewhere"
    shutil.move(root / "b", elsewhere)
    (root / "b").symlink_to(elsewhere)
    (elsewhere / "more.JPEG").symlink_to(root / "a" / "deep" / "deeper" / "000.png")
    (elsewhere / "loop").symlink_to(elsewhere)
    facts = open_source(root).facts
    assert facts.counts == {"train": (5, 6)}
    assert facts.fingerprint != before.fingerprint


def test_splits_depend_on_names_and_not_on_place_or_order_of_writing(
    make_folder: Make, tmp_path: Path
) -> None:
    root = make_folder({"a": 12, "b": 12})
    copy = tmp_path / "copy"
    for path in sorted(root.rglob("*.png"), reverse=True):
        target = copy / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    ours, theirs = open_source(root), open_source(copy)
    assert ours.facts.fingerprint == theirs.facts.fingerprint
    one, other = ours.load(8, 3, **CUT), theirs.load(8, 3, **CUT)
    assert np.array_equal(one.rank.images, other.rank.images)
    assert np.array_equal(one.test.images, other.test.images)
    (copy / "a" / "000.png").write_bytes(b"other")
    assert open_source(copy).facts.fingerprint != ours.facts.fingerprint


def test_what_is_left_out_is_a_warning(make_folder: Make) -> None:
    root = make_folder({"a": 5, "b": 60, "thumbnails": 0, ".": 2})
    loose, empty, uneven = open_source(root).facts.warnings
    assert "outside of class folders are left out: 2 (as 000.png)" in loose
    assert "folders without pictures are left out: thumbnails" in empty
    assert "classes are uneven" in uneven
    assert not open_source(root).facts.balanced
    pictures = open_source(root).load(8, 0, **CUT)
    assert not pictures.balanced


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({}, "holds no pictures; it needs CLASS/"),
        ({"a": 0, "b": 0}, "holds no pictures"),
        ({"train/a": 0, "train/b": 0}, "holds no pictures"),
        ({".": 9}, "lie in no class folders; put each into CLASS/"),
        ({"train": 9}, "lie in no class folders"),
        ({"train": 9, "test": 9}, "lie in no class folders"),
        ({"a": 9}, r"one class only \(a\); at least two"),
        ({"a": 2, "b": 2}, "'a' of .* has 2 training pictures; at least 5 a class"),
        ({"train/a": 9, "train/b": 9, "test/a": 2, "test/c": 2}, "'c' of .* in the test split only"),
        ({"test/a": 9, "test/b": 9}, "has test but no train"),
        ({"val/a": 9, "cats": 9, "dogs": 9}, "has val but no train"),
        ({"train/a": 9, "train/b": 9, "test/a": 0}, "holds no test pictures"),
        ({"train/a": 9, "train/b": 9, "test": 0}, "holds no test pictures"),
        ({"inner/a": 9, "inner/b": 9}, "holds one folder only; give .*inner"),
    ],
)
def test_a_folder_that_nothing_can_be_learned_from_is_an_error(
    make_folder: Make, counts: dict[str, int], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        open_source(make_folder(counts))


def test_what_is_no_folder_and_no_parquet_is_an_error(tmp_path: Path, make_folder: Make) -> None:
    with pytest.raises(DataError, match=r"there is no .*nowhere; give a folder"):
        open_source(tmp_path / "nowhere")
    archive = tmp_path / "pictures.ZIP"
    archive.write_bytes(b"PK")
    with pytest.raises(DataError, match="is an archive; unpack it first"):
        open_source(archive)
    picture = make_folder({"a": 1}) / "a" / "000.png"
    with pytest.raises(DataError, match="is no parquet file; give a folder"):
        open_source(picture)


def test_a_link_that_leads_nowhere_is_a_broken_picture(make_folder: Make) -> None:
    root = make_folder({"a": 60, "b": 60})
    (root / "a" / "gone.jpg").symlink_to(root / "nowhere.jpg")
    pictures = open_source(root).load(8, 0, **CUT)
    assert pictures.skipped == 1
    assert "1 broken picture was skipped" in pictures.warnings


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_an_error_that_names_it(make_folder: Make) -> None:
    root = make_folder({"a": 6, "b": 6})
    locked = root / "b" / "000.png"
    locked.chmod(0)
    with pytest.raises(DataError, match=r"1 of .* cannot be read \(b/000.png: Permission denied\)"):
        open_source(root).load(8, 0, **CUT)
    for folder in (root / "b", root):
        folder.chmod(0)
        try:
            with pytest.raises(DataError, match="Permission denied"):
                open_source(root)
        finally:
            folder.chmod(0o755)


def test_opening_decodes_few_pictures_however_many_there_are(make_folder: Make) -> None:
    """Broken pictures past the sample go unseen until loading: opening did not look at them."""
    root = make_folder({"a": 300, "b": 300}, side=9)
    paths = sorted(root.rglob("*.png"))
    for path in paths:
        path.write_bytes(path.read_bytes()[:60])  # the size can be read, the pixels cannot
    source = open_source(root)
    assert source.facts.short_side == 9
    with pytest.raises(DataError, match="at least 16 of 600"):
        source.load(8, 0, **CUT)


def test_a_folder_keeps_what_a_data_source_promises(make_folder: Make) -> None:
    check_data_source(open_source(make_folder({"a": 12, "b": 15})))
    check_data_source(open_source(make_folder({"train/a": 8, "train/b": 8, "val/a": 3}, name="split")))
