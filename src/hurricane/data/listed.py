"""A source that is a list of pictures: digits, a folder, or the rows of parquet files."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hurricane.data import keeping
from hurricane.data.decoding import Batch, decode, short_side
from hurricane.data.keeping import SPLITS, InMemory, OnDisk
from hurricane.data.pictures import Channels, Images, Labels, Pictures, Progress, SourceFacts, Split
from hurricane.data.splitting import Division, check_counts, divide, even
from hurricane.errors import DataError

# The short side is looked up at 16 places, 4 pictures each: neighbours share a row group of a parquet file.
PLACES, EACH = 16, 4
BROKEN_SHARE = 0.01
# Statistics of so many pixels are exact enough: 2,000 pictures of 224 pixels, or all of CIFAR-10.
MOST_PIXELS = 100_000_000
# Raise it when decoding changes, so that no cache of the old way is read.
DECODING = 2


@dataclass(frozen=True)
class PictureList:
    """Pictures by number. read : the path or the bytes of picture i, as a file would hold them.

    labels : (n,) class numbers. given_test : (n,) which belong to a test split of the source.
    name : what to call a picture in a message. where : what to call the source.
    fingerprint : changes when the pictures do (see `hashed`). flip : whether a mirrored picture keeps its label.
    """

    where: str
    kind: str
    classes: tuple[str, ...]
    labels: Labels
    given_test: npt.NDArray[np.bool_]
    read: Callable[[int], Any]
    name: Callable[[int], str]
    fingerprint: str
    flip: bool = True
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kept:
    """What decoding found, beside the pixels. broken : numbers. shared : test pictures among the others."""

    mean: Channels
    std: Channels
    broken: tuple[int, ...]
    shared: int


class ListedSource:
    """The data source of a picture list. Making it checks the counts and looks at a few pictures."""

    def __init__(self, pictures: PictureList) -> None:
        self._list = pictures
        classes, labels, test = pictures.classes, pictures.labels, pictures.given_test
        if labels.shape != test.shape or (
            len(labels) and not 0 <= labels.min() <= labels.max() < len(classes)
        ):
            raise DataError(
                f"{pictures.where} lists {labels.shape} labels for {len(classes)} classes and {test.shape} "
                "flags of the test split; one of each a picture is needed, labels from 0 to classes - 1"
            )
        warnings = check_counts(classes, labels, test, pictures.where)
        counts = {"train": np.bincount(labels[~test], minlength=len(classes))}
        if test.any():
            counts["test"] = np.bincount(labels[test], minlength=len(classes))
        self.facts = SourceFacts(
            kind=pictures.kind,
            path=pictures.where,
            classes=classes,
            pictures=len(labels),
            short_side=_short_side(pictures),
            fingerprint=pictures.fingerprint,
            flip=pictures.flip,
            balanced=even(counts["train"]),
            notes=pictures.notes,
            warnings=(*pictures.warnings, *warnings),
            counts={split: tuple(int(n) for n in each) for split, each in counts.items()},
        )

    def load(
        self,
        image_size: int,
        seed: int,
        *,
        rank_fraction: float,
        test_fraction: float,
        cache: Path | None = None,
        progress: Progress | None = None,
    ) -> Pictures:
        """The pictures decoded and split; DataError where more than 1 % are broken, or the cache's disk is full."""
        if image_size < 8:
            raise DataError(f"an image size of {image_size} pixels is too small; give at least 8")
        for name, share in (("rank", rank_fraction), ("test", test_fraction)):
            if not 0 < share < 1:
                raise DataError(f"a {name} fraction of {share} cuts nothing off; give one between 0 and 1")
        division = divide(self._list.labels, self._list.given_test, seed, rank_fraction, test_fraction)
        images, kept = self._kept(division, image_size, cache, progress)
        splits = {}
        for name in SPLITS:
            numbers = getattr(division, name)
            labels = self._list.labels[numbers[~np.isin(numbers, kept.broken)]]
            splits[name] = Split(images[name], labels)
        self._check_whole(splits)
        return Pictures(
            train=splits["train"],
            rank=splits["rank"],
            test=splits["test"],
            classes=self._list.classes,
            mean=kept.mean,
            std=kept.std,
            skipped=len(kept.broken),
            notes=self._notes(splits, seed),
            warnings=_warnings(kept, len(splits["test"].labels)),
            balanced=self.facts.balanced,
        )

    def _kept(
        self, division: Division, size: int, cache: Path | None, progress: Progress | None
    ) -> tuple[dict[str, Images], Kept]:
        """Pixels of each split and what decoding found: from the cache where it fits."""
        rooms: dict[str, InMemory | OnDisk] = {}
        if cache is None:
            rooms |= {name: InMemory(len(getattr(division, name)), size) for name in SPLITS}
            return self._decoded(division, size, progress, rooms)
        # Seed and fractions are in the numbers: what gives the same splits may share a cache.
        numbers = [hashlib.sha256(getattr(division, name).tobytes()).hexdigest() for name in SPLITS]
        key = hashed([DECODING, self._list.fingerprint, size, numbers])
        found = keeping.find(cache, key, size)
        if found is not None:
            images, facts = found
            return images, Kept(
                tuple(facts["mean"]), tuple(facts["std"]), tuple(facts["broken"]), facts["shared"]
            )
        try:
            for name in SPLITS:
                path = keeping.file_of(cache, key, name)
                rooms[name] = OnDisk(path, len(getattr(division, name)), size)
            images, kept = self._decoded(division, size, progress, rooms)
            keeping.keep(cache, key, images, asdict(kept))
        except BaseException:  # Ctrl-C, too, leaves nothing half-written
            for room in rooms.values():
                room.discard()
            raise
        return images, kept

    def _decoded(
        self,
        division: Division,
        size: int,
        progress: Progress | None,
        rooms: Mapping[str, InMemory | OnDisk],
    ) -> tuple[dict[str, Images], Kept]:
        """All pictures, each put into the room of its split."""
        n = len(self._list.labels)
        split_of, digests = np.empty(n, np.int8), np.zeros(n, np.uint64)
        for index, name in enumerate(SPLITS):
            split_of[getattr(division, name)] = index
        broken: list[tuple[int, str]] = []
        done = 0

        def take(batch: Batch) -> None:
            nonlocal done
            for index, name in enumerate(SPLITS):
                rooms[name].append(batch.images[split_of[batch.numbers] == index])
            digests[batch.numbers] = batch.digests
            broken.extend(batch.broken)
            done += len(batch.numbers) + len(batch.broken)
            self._check_broken(broken, done)
            if progress is not None:
                progress(done, n)

        decode(self._list.read, range(n), size, take)
        images = {name: room.finish() for name, room in rooms.items()}
        numbers = tuple(number for number, _ in broken)
        test = np.setdiff1d(division.test, numbers)
        others = np.setdiff1d(np.concatenate([division.train, division.rank]), numbers)
        shared = int(np.isin(digests[test], digests[others]).sum())
        return images, Kept(*_statistics(images["train"]), numbers, shared)

    def _check_broken(self, broken: list[tuple[int, str]], done: int) -> None:
        n = len(self._list.labels)
        if len(broken) > BROKEN_SHARE * n:
            some = "; ".join(f"{self._list.name(number)}: {why}" for number, why in broken[:3])
            count = f"{len(broken)}" if done == n else f"at least {len(broken)}"
            raise DataError(
                f"{count} of {n} pictures of {self._list.where} cannot be read ({some}); "
                "at most 1 % may be broken: repair or remove them"
            )

    def _check_whole(self, splits: Mapping[str, Split]) -> None:
        """Broken pictures may have been the last of a class."""
        left = np.bincount(splits["train"].labels, minlength=len(self._list.classes))
        lost = f"the pictures of class {self._list.classes[int(left.argmin())]!r}" if left.min() == 0 else ""
        if len(splits["test"].labels) == 0:
            lost = "the test pictures"
        if lost:
            raise DataError(f"none of {lost} of {self._list.where} can be read; repair or replace them")

    def _notes(self, splits: Mapping[str, Split], seed: int) -> tuple[str, ...]:
        sizes = {name: len(split.labels) for name, split in splits.items()}
        notes = list(self._list.notes)
        if not self._list.given_test.any():
            notes.append(
                f"{sizes['test']:,} of {sum(sizes.values()):,} pictures are set aside for the test, "
                f"by class, seed {seed}"
            )
        notes.append(
            f"{sizes['rank']:,} of {sizes['rank'] + sizes['train']:,} training pictures rank architectures, "
            f"by class, seed {seed}"
        )
        return tuple(notes)


def _warnings(kept: Kept, tested: int) -> tuple[str, ...]:
    warnings = []
    if kept.broken:
        count = len(kept.broken)
        warnings.append(f"{count} broken picture{' was' if count == 1 else 's were'} skipped")
    if kept.shared:
        warnings.append(
            f"{kept.shared:,} of {tested:,} test pictures also occur among the training pictures: "
            "accuracy will look better than it is"
        )
    return tuple(warnings)


def _short_side(pictures: PictureList) -> int:
    n = len(pictures.labels)
    starts = np.linspace(0, max(0, n - EACH), PLACES).astype(int)
    chosen = sorted({int(start) + i for start in starts for i in range(min(EACH, n))})

    def sources() -> Any:
        for number in chosen:
            try:
                yield pictures.read(number)
            except (OSError, ValueError):
                continue

    found = short_side(sources())
    if found is None:
        raise DataError(
            f"none of the {len(chosen)} pictures of {pictures.where} that were tried can be read "
            f"(as {pictures.name(chosen[0])}); are they pictures, and may you read them?"
        )
    return found


def _statistics(images: Images) -> tuple[Channels, Channels]:
    """Mean and standard deviation of each channel in [0, 1], of pictures spread over all of them."""
    step = max(1, -(-images.size // 3 // MOST_PIXELS))
    counts = np.zeros((3, 256), np.int64)
    for start in range(0, len(images), 256 * step):
        part = images[start : start + 256 * step : step]
        for channel in range(3):
            counts[channel] += np.bincount(part[..., channel].ravel(), minlength=256)
    values, share = np.arange(256) / 255, counts / counts.sum(axis=1, keepdims=True)
    mean = share @ values
    std = np.sqrt(np.maximum(share @ values**2 - mean**2, 0.0)).clip(min=0.01)
    return (float(mean[0]), float(mean[1]), float(mean[2])), (float(std[0]), float(std[1]), float(std[2]))


def hashed(parts: Any) -> str:
    """A short stable hash of plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
