"""Pictures: every kind of file comes in the same way, splits never overlap, what is broken is told."""

import io
import json
import zlib
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from hurricane.data import check_data_source, open_source, picture_array, read_picture
from hurricane.data.splitting import divide
from hurricane.errors import DataError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def encoded(seed=0, size=(20, 16), form="png", mode="RGB"):
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def folder_of(root, counts, suffix="png"):
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / name / f"{number}.{suffix}").write_bytes(
                encoded(zlib.crc32(f"{name}{number}".encode()) % 1000)
            )
    return root


def loaded(source, size=8, seed=0, cache=None):
    return source.load(size, seed, rank_fraction=0.2, test_fraction=0.2, cache=cache)


def parquet(path, rows=30, classes=("cat", "dog"), labels=None, names=True):
    labels = [i % len(classes) for i in range(rows)] if labels is None else labels
    images = [{"bytes": encoded(i), "path": f"{i}.png"} for i in range(rows)]
    table = pyarrow.table({"image": images, "label": labels})
    if names:
        features = {"label": {"names": list(classes), "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, path)
    return path


def test_digits_are_there_without_any_file():
    source = open_source(None)
    check_data_source(source, 8)
    assert source.facts.pictures == 1797
    assert not source.facts.flip


def test_a_folder_of_classes_is_split_by_class(tmp_path):
    source = open_source(folder_of(tmp_path, {"cat": 20, "dog": 30}))
    check_data_source(source)
    pictures = loaded(source)
    assert pictures.classes == ("cat", "dog")
    assert np.bincount(pictures.test.labels).tolist() == [4, 6]
    assert any("set aside for the test" in note for note in pictures.notes)


@pytest.mark.parametrize("name", ["test", "val", "validation"])
def test_a_given_test_split_is_used(tmp_path, name):
    folder_of(tmp_path / "train", {"cat": 10, "dog": 10})
    folder_of(tmp_path / name, {"cat": 3, "dog": 4})
    pictures = loaded(open_source(tmp_path))
    assert np.bincount(pictures.test.labels).tolist() == [3, 4]
    assert len(pictures.train.labels) + len(pictures.rank.labels) == 20


def test_other_files_and_hidden_ones_are_passed_by(tmp_path):
    folder_of(tmp_path, {"cat": 10, "dog": 10})
    (tmp_path / "cat" / "notes.txt").write_text("x")
    (tmp_path / "dog" / ".hidden.png").write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    assert open_source(tmp_path).facts.pictures == 20


def test_a_parquet_file_in_the_hugging_face_layout(tmp_path):
    source = open_source(parquet(tmp_path / "data.parquet"))
    check_data_source(source)
    assert source.facts.classes == ("cat", "dog")


def test_a_parquet_folder_with_splits(tmp_path):
    parquet(tmp_path / "train-00000.parquet", 40)
    parquet(tmp_path / "test-00000.parquet", 10)
    pictures = loaded(open_source(tmp_path))
    assert len(pictures.test.labels) == 10


def test_string_labels_and_labels_without_names(tmp_path):
    parquet(tmp_path / "a.parquet", 20, labels=["b", "a"] * 10, names=False)
    assert open_source(tmp_path / "a.parquet").facts.classes == ("a", "b")
    parquet(tmp_path / "b.parquet", 20, labels=[10, 2] * 10, names=False)
    assert open_source(tmp_path / "b.parquet").facts.classes == ("2", "10")


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1", "I;16", "RGB"])
def test_every_mode_becomes_rgb(mode):
    if mode == "I;16":
        image = Image.fromarray((np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8))
    else:
        image = Image.new("RGB", (10, 8), (200, 30, 60)).convert(mode)
    pixels = picture_array(image, 8)
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8
    if mode == "I;16":
        assert pixels.min() == 0
        assert 240 < pixels.max() <= 255
    if mode in ("RGB", "RGBA", "CMYK"):
        assert np.abs(pixels.reshape(-1, 3).mean(axis=0) - (200, 30, 60)).max() < 12


def test_transparency_is_left_out():
    assert picture_array(Image.new("RGBA", (8, 8), (9, 0, 0, 0)), 8)[0, 0].tolist() == [9, 0, 0]


def test_exif_rotation_is_undone(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    turned = read_picture(tmp_path / "a.png", 8)
    assert turned[0].mean() > turned[-1].mean() + 100


def test_the_short_side_covers_and_the_centre_is_kept():
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    assert picture_array(Image.fromarray(pixels), 10).min() == 255


def test_one_broken_picture_in_two_hundred_is_skipped_and_counted(tmp_path):
    folder_of(tmp_path, {"cat": 100, "dog": 100})
    (tmp_path / "cat" / "7.png").write_bytes(encoded()[:60])
    pictures = loaded(open_source(tmp_path))
    assert pictures.skipped == 1
    assert len(pictures.train.labels) + len(pictures.rank.labels) + len(pictures.test.labels) == 199


def test_more_broken_pictures_are_an_error_that_names_them(tmp_path):
    folder_of(tmp_path, {"cat": 20, "dog": 20})
    (tmp_path / "cat" / "7.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 40.*7\.png"):
        loaded(open_source(tmp_path))


def test_uneven_classes_are_a_warning(tmp_path):
    source = open_source(folder_of(tmp_path, {"cat": 66, "dog": 6}))
    assert not source.facts.balanced
    assert "balanced accuracy" in source.facts.warnings[0]


def test_a_cache_is_used_again_and_a_damaged_one_is_not(tmp_path):
    root = folder_of(tmp_path / "pictures", {"cat": 10, "dog": 10})
    first = loaded(open_source(root), cache=tmp_path / "cache")
    again = loaded(open_source(root), cache=tmp_path / "cache")
    assert np.array_equal(first.train.images, again.train.images)
    for kept in (tmp_path / "cache").glob("*.npy"):
        kept.unlink()  # `first` is still mapped from the old file
        kept.write_bytes(b"half")
    mended = loaded(open_source(root), cache=tmp_path / "cache")
    assert np.array_equal(first.train.images, mended.train.images)


def test_the_fingerprint_changes_with_the_pictures(tmp_path):
    root = folder_of(tmp_path, {"cat": 10, "dog": 10})
    before = open_source(root).facts.fingerprint
    assert open_source(root).facts.fingerprint == before
    (root / "cat" / "new.png").write_bytes(encoded(99))
    assert open_source(root).facts.fingerprint != before


def test_an_archive_is_to_be_unpacked(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="unpack"):
        open_source(tmp_path / "a.zip")


def test_a_class_that_only_the_test_split_has_is_an_error(tmp_path):
    folder_of(tmp_path / "train", {"cat": 10, "dog": 10})
    folder_of(tmp_path / "test", {"cat": 3, "emu": 4})
    with pytest.raises(DataError, match="'emu'"):
        open_source(tmp_path)


@pytest.mark.parametrize("seed", range(5))
def test_splits_never_overlap_and_hold_every_class(seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(4), (5, 9, 40, 17)))
    division = divide(labels, np.zeros(len(labels), bool), seed, 0.2, 0.2)
    together = np.concatenate([division.train, division.rank, division.test])
    assert sorted(together) == list(range(len(labels)))
    for part in (division.train, division.rank, division.test):
        assert set(labels[part]) == {0, 1, 2, 3}


@pytest.mark.skipif(not (SHARED / "tiny_imagenet_20").is_dir(), reason="shared data are not here")
def test_real_parquet_pictures_with_grey_ones_among_them():
    source = open_source(SHARED / "tiny_imagenet_20")
    assert len(source.facts.classes) == 20
    assert source.facts.short_side == 64
    pictures = loaded(source, 16)
    assert pictures.skipped == 0
    assert len(pictures.test.labels) == 1000
