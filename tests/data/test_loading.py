import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from hurricane import plugins
from hurricane.data import DataSource, Pictures, SourceFacts, Split, check_data_source, open_source
from hurricane.data.listed import ListedSource, PictureList
from hurricane.errors import DataError
from tests.data.conftest import encoded

Make = Callable[..., Path]
CUT = {"rank_fraction": 0.2, "test_fraction": 0.2}
SPLITS = ("train", "rank", "test")


def same(one: Pictures, other: Pictures) -> bool:
    return (
        all(
            np.array_equal(getattr(one, name).images, getattr(other, name).images)
            and np.array_equal(getattr(one, name).labels, getattr(other, name).labels)
            for name in SPLITS
        )
        and replace(one, train=other.train, rank=other.rank, test=other.test) == other
    )


def listed(count: int, broken: set[int] = frozenset(), repeated: int = 0) -> ListedSource:  # type: ignore[assignment]
    """Two classes in turn; the last `repeated` pictures are the first ones once more, as the test split."""
    numbers = [*range(count), *range(repeated)]
    return ListedSource(
        PictureList(
            where="a list",
            kind="list",
            classes=("a", "b"),
            labels=np.array(numbers) % 2,
            given_test=np.arange(len(numbers)) >= count,
            read=lambda i: b"broken" if i in broken else encoded(numbers[i]),
            name=lambda i: f"number {i}",
            fingerprint="f",
        )
    )


def test_digits_need_no_files_and_keep_their_sides() -> None:
    source = open_source(None)
    facts = source.facts
    assert (facts.kind, facts.pictures, facts.short_side, facts.flip) == ("digits", 1797, 8, False)
    assert facts.classes == tuple("0123456789")
    check_data_source(source, image_size=8)
    from sklearn.datasets import load_digits

    pictures = source.load(8, 0, **CUT)
    images = np.concatenate([getattr(pictures, name).images for name in SPLITS])
    assert images.mean() == pytest.approx(load_digits().images.mean() * 255 / 16, abs=0.1)
    assert (images[..., 0] == images[..., 2]).all()


def test_mean_and_deviation_are_those_of_the_training_pictures(make_folder: Make) -> None:
    pictures = open_source(make_folder({"a": 20, "b": 20})).load(16, 0, **CUT)
    scaled = pictures.train.images.reshape(-1, 3) / 255
    assert pictures.mean == pytest.approx(scaled.mean(axis=0))
    assert pictures.std == pytest.approx(scaled.std(axis=0))


def test_progress_ends_with_all_pictures() -> None:
    told: list[tuple[int, int]] = []
    listed(100).load(8, 0, **CUT, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (100, 100)
    assert sorted(told) == told


def test_up_to_one_percent_of_broken_pictures_are_skipped_and_counted() -> None:
    whole, pictures = listed(200).load(8, 0, **CUT), listed(200, {3, 150}).load(8, 0, **CUT)
    assert pictures.skipped == 2
    assert sum(len(getattr(pictures, name).labels) for name in SPLITS) == 198
    assert "2 broken pictures were skipped" in pictures.warnings
    for name in SPLITS:  # the others stay in the split where they were
        ours = {image.tobytes() for image in getattr(pictures, name).images}
        assert ours <= {image.tobytes() for image in getattr(whole, name).images}


def test_more_than_one_percent_of_broken_pictures_is_an_error_that_names_some() -> None:
    with pytest.raises(DataError, match=r"at least 3 of 200 .* \(number 3: unknown .*at most 1 %"):
        listed(200, {3, 4, 5}).load(8, 0, **CUT)
    with pytest.raises(DataError, match=r"^1 of 20 pictures"):
        listed(20, {19}).load(8, 0, **CUT)


def test_a_class_whose_pictures_are_all_broken_is_an_error() -> None:
    rare = set(range(0, 10, 2))
    source = ListedSource(
        PictureList(
            where="a list",
            kind="list",
            classes=("rare", "usual"),
            labels=np.array([i not in rare for i in range(600)], dtype=np.int64),
            given_test=np.zeros(600, bool),
            read=lambda i: b"broken" if i in rare else encoded(i, side=8),
            name=str,
            fingerprint="f",
        )
    )
    with pytest.raises(DataError, match="none of the pictures of class 'rare' of a list can be read"):
        source.load(8, 0, **CUT)


def test_test_pictures_that_were_trained_on_are_a_warning() -> None:
    assert listed(40, repeated=0).load(8, 0, **CUT).warnings == ()
    (warning,) = listed(40, repeated=6).load(8, 0, **CUT).warnings
    assert warning.startswith("6 of 6 test pictures also occur among the training pictures")


def test_sizes_and_shares_out_of_range_are_errors() -> None:
    with pytest.raises(DataError, match="an image size of 7 pixels is too small; give at least 8"):
        listed(20).load(7, 0, **CUT)
    with pytest.raises(DataError, match=r"a test fraction of 1\.0 cuts nothing off"):
        listed(20).load(8, 0, rank_fraction=0.2, test_fraction=1.0)


def test_labels_beyond_the_classes_are_an_error() -> None:
    pictures = PictureList(
        where="a list",
        kind="list",
        classes=("a", "b"),
        labels=np.array([0, 1, 2] * 9),
        given_test=np.zeros(27, bool),
        read=lambda i: encoded(i),
        name=str,
        fingerprint="f",
    )
    with pytest.raises(DataError, match="labels from 0 to classes - 1"):
        ListedSource(pictures)


def unreadable(source: ListedSource) -> ListedSource:
    """The same source, whose pictures are gone after it was opened."""
    gone = ListedSource(source._list)
    gone._list = replace(source._list, read=lambda i: b"gone")
    return gone


def test_decoded_pictures_are_kept_and_mapped_from_the_cache(tmp_path: Path) -> None:
    source = listed(200, {3}, repeated=8)
    fresh = source.load(8, 0, **CUT)
    first = source.load(8, 0, **CUT, cache=tmp_path / "cache")
    kept = unreadable(source).load(8, 0, **CUT, cache=tmp_path / "cache")
    assert same(fresh, first)
    assert same(fresh, kept)
    assert kept.skipped == 1
    assert isinstance(kept.train.images, np.memmap)
    before = kept.train.images[0].copy()
    kept.train.images[0] = 1  # stays in memory
    again = unreadable(source).load(8, 0, **CUT, cache=tmp_path / "cache")
    assert np.array_equal(again.train.images[0], before)


def test_a_cache_of_other_settings_is_replaced(tmp_path: Path) -> None:
    source = listed(60)
    source.load(8, 0, **CUT, cache=tmp_path)
    files = {path.name for path in tmp_path.iterdir()}
    others = [
        source.load(9, 0, **CUT, cache=tmp_path),
        source.load(8, 1, **CUT, cache=tmp_path),
        source.load(8, 0, rank_fraction=0.3, test_fraction=0.2, cache=tmp_path),
    ]
    assert same(others[1], source.load(8, 1, **CUT))
    assert len(list(tmp_path.iterdir())) == len(files) == 4
    assert not files & {path.name for path in tmp_path.iterdir()}


def test_a_damaged_cache_is_ignored_and_written_again(tmp_path: Path) -> None:
    source = listed(60)
    fresh = source.load(8, 0, **CUT)
    source.load(8, 0, **CUT, cache=tmp_path)
    files = sorted(tmp_path.iterdir())
    for path in files:
        whole = path.read_bytes()
        for damaged in (b"", whole[: len(whole) // 2], b"\x00" * len(whole), None):
            if damaged is None:
                path.unlink()
            else:
                path.write_bytes(damaged)
            assert same(source.load(8, 0, **CUT, cache=tmp_path), fresh)
            assert path.read_bytes() == whole
    note = next(path for path in files if path.suffix == ".json")
    values = json.loads(note.read_text())
    note.write_text(json.dumps({**values, "pictures": dict.fromkeys(SPLITS, 10**6)}))
    assert same(source.load(8, 0, **CUT, cache=tmp_path), fresh)


def test_an_interrupted_decoding_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        listed(400).load(8, 0, **CUT, cache=tmp_path, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What fails like a full disk: writing beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 60, 20_000, 100_000])
def test_a_full_disk_is_an_error_and_leaves_nothing_behind(tmp_path: Path, room: int) -> None:
    with (
        files_of_at_most(room),
        pytest.raises(DataError, match=r"cannot be kept in .*; free some room there"),
    ):
        listed(60).load(48, 0, **CUT, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_where_no_folder_can_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be kept in"):
        listed(60).load(8, 0, **CUT, cache=tmp_path / "file" / "cache")


def test_a_plug_in_opens_what_its_name_stands_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "album-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: album\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[hurricane.data_sources]\nalbum = album_of_tests:open_album\n")
    (tmp_path / "album_of_tests.py").write_text(
        "from hurricane.data import open_source\n"
        "def open_album(rest):\n"
        "    return open_source(None) if rest == '2024' else None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    plugins.load.cache_clear()
    try:
        assert open_source("album:2024").facts.kind == "digits"
        with pytest.raises(DataError, match="the data source 'album' has nothing called '1950'"):
            open_source("album:1950")
        with pytest.raises(DataError, match=r"there is no albun:2024, did you mean 'album'\?"):
            open_source("albun:2024")
    finally:
        plugins.load.cache_clear()


@dataclass(frozen=True)
class Twisted:
    """A good source, whose pictures are changed by `twist` after loading."""

    source: DataSource
    twist: Callable[[Pictures, int], Pictures]

    @property
    def facts(self) -> SourceFacts:
        return self.source.facts

    def load(self, image_size: int, seed: int, **options: object) -> Pictures:
        return self.twist(self.source.load(image_size, seed, **options), seed)  # type: ignore[arg-type]


def leaking(pictures: Pictures, seed: int) -> Pictures:
    """Test pictures that are training pictures, in place of others."""
    test = pictures.test
    return replace(pictures, test=Split(pictures.train.images[: len(test.labels)], test.labels))


def shuffled(pictures: Pictures, seed: int) -> Pictures:
    order = np.random.default_rng().permutation(len(pictures.train.labels))
    return replace(pictures, train=Split(pictures.train.images[order], pictures.train.labels[order]))


@pytest.mark.parametrize(
    ("twist", "said"),
    [
        (leaking, "splits overlap"),
        (lambda p, s: replace(p, rank=p.train), "each is in exactly one"),
        (shuffled, "the same call must give the same"),
        (lambda p, s: replace(p, classes=("x", "y")), "classes of facts and pictures must agree"),
        (lambda p, s: replace(p, test=Split(p.test.images[..., :1], p.test.labels)), "images are"),
        (lambda p, s: replace(p, test=Split(p.test.images, p.test.labels + 1)), "beyond the classes"),
        (lambda p, s: replace(p, rank=Split(p.rank.images, p.rank.labels.astype(np.int32))), "int64"),
        (
            lambda p, s: replace(p, rank=Split(p.rank.images, p.rank.labels * 0)),
            "every class must be in rank",
        ),
        (lambda p, s: replace(p, mean=(120.0, 120.0, 120.0)), "means are of pictures in"),
    ],
)
def test_the_conformance_kit_finds_what_a_source_gets_wrong(
    twist: Callable[[Pictures, int], Pictures], said: str
) -> None:
    source = listed(60)
    check_data_source(source)
    with pytest.raises(AssertionError, match=said):
        check_data_source(Twisted(source, twist))


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = "{'PIL', 'pyarrow', 'sklearn', 'torch', 'onnx', 'onnxruntime'}"
    code = f"import sys, hurricane.data; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
