"""A source that is a list of pictures: digits, a folder, or the rows of parquet files."""

import errno
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hurricane.data.decoding import decoded, open_picture
from hurricane.data.pictures import Labels, Pictures, Progress, SourceFacts, Split
from hurricane.data.splitting import IMBALANCE, Division, check_counts, divide
from hurricane.errors import DataError

SAMPLED = 64
BROKEN_SHARE = 0.01


@dataclass(frozen=True)
class PictureList:
    """Pictures by number. read : the path or bytes of picture i (or a PIL image's array source).

    labels : (n,) class numbers. given_test : (n,) which belong to a test split of the source.
    names : what to call a picture in a message.
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


class ListedSource:
    """The data source of a picture list. Making it checks the counts and looks at a few pictures."""

    def __init__(self, pictures: PictureList) -> None:
        self._list = pictures
        warnings = check_counts(pictures.classes, pictures.labels, pictures.given_test, pictures.where)
        counts = np.bincount(pictures.labels[~pictures.given_test])
        self.facts = SourceFacts(
            kind=pictures.kind,
            path=pictures.where,
            classes=pictures.classes,
            pictures=len(pictures.labels),
            short_side=_short_side(pictures),
            fingerprint=pictures.fingerprint,
            flip=pictures.flip,
            balanced=bool(counts.max() <= IMBALANCE * counts.min()),
            notes=pictures.notes,
            warnings=tuple(warnings),
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
        """The pictures decoded and split; DataError where more than 1 % are broken."""
        if image_size < 8:
            raise DataError(f"an image size of {image_size} pixels is too small; at least 8 are needed")
        images, whole = self._decoded(image_size, cache, progress)
        labels, given = self._list.labels[whole], self._list.given_test[whole]
        division = divide(labels, given, seed, rank_fraction, test_fraction)
        mean, std = _statistics(images, division)
        skipped = int((~whole).sum())
        notes = list(self._list.notes)
        if not given.any():
            notes.append(
                f"{test_fraction:.0%} of the pictures were set aside for the test, by class, seed {seed}"
            )
        notes.append(
            f"{rank_fraction:.0%} of the training pictures rank architectures, by class, seed {seed}"
        )
        if skipped:
            notes.append(f"{skipped} broken pictures were skipped")
        train, rank, test = (
            Split(images[numbers], labels[numbers])
            for numbers in (division.train, division.rank, division.test)
        )
        return Pictures(train, rank, test, self._list.classes, mean, std, skipped, tuple(notes))

    def _decoded(
        self, size: int, cache: Path | None, progress: Progress | None
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """All whole pictures (m, size, size, 3), and which of the list they are (n,); from the cache where it fits."""
        key = f"{self._list.fingerprint}-{size}"
        if cache is not None:
            kept = _from_cache(cache, key)
            if kept is not None:
                return kept
        n = len(self._list.labels)
        images, whole, filled = np.empty((n, size, size, 3), np.uint8), np.ones(n, bool), 0
        for index, picture in enumerate(decoded(self._list.read, range(n), size)):
            if picture is None:
                whole[index] = False
            else:
                images[filled] = picture
                filled += 1
            if progress is not None and (index % 64 == 63 or index + 1 == n):
                progress(index + 1, n)
        broken = np.flatnonzero(~whole)
        if len(broken) > BROKEN_SHARE * n:
            some = ", ".join(self._list.name(int(i)) for i in broken[:3])
            raise DataError(
                f"{len(broken)} of {n} pictures of {self._list.where} cannot be read (as {some}); "
                "at most 1 % may be broken: repair or remove them"
            )
        images = images[:filled]
        if cache is not None:
            _to_cache(cache, key, images, whole)
        return images, whole


def _short_side(pictures: PictureList) -> int:
    n = len(pictures.labels)
    sides = []
    for index in np.unique(np.linspace(0, n - 1, min(n, SAMPLED)).astype(int)):
        try:
            sides.append(min(open_picture(pictures.read(int(index))).size))
        except (OSError, ValueError):
            continue
    if not sides:
        raise DataError(
            f"none of the pictures of {pictures.where} that were tried can be read; are they pictures?"
        )
    return int(np.median(sides))


def _statistics(
    images: npt.NDArray[np.uint8], division: Division
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of each channel over (at most 5,000) training pictures, in [0, 1]."""
    chosen = images[division.train[:: max(1, len(division.train) // 5000)]]
    flat = chosen.reshape(-1, 3)
    mean = flat.mean(axis=0, dtype=np.float64) / 255
    std = np.maximum(flat.std(axis=0, dtype=np.float64) / 255, 0.01)
    return (float(mean[0]), float(mean[1]), float(mean[2])), (float(std[0]), float(std[1]), float(std[2]))


def _from_cache(cache: Path, key: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]] | None:
    try:
        note = json.loads((cache / "decoded.json").read_text(encoding="utf-8"))
        if note["key"] != key:
            return None
        images = np.load(cache / "decoded.npy", mmap_mode="r", allow_pickle=False)
        whole = np.ones(note["pictures"], bool)
        whole[note["broken"]] = False
        return (images, whole) if len(images) == whole.sum() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _to_cache(cache: Path, key: str, images: npt.NDArray[np.uint8], whole: npt.NDArray[np.bool_]) -> None:
    """Keep decoded pictures; the note is written last, so that half a cache is none."""
    note = {"key": key, "pictures": len(whole), "broken": np.flatnonzero(~whole).tolist()}
    try:
        cache.mkdir(parents=True, exist_ok=True)
        (cache / "decoded.json").unlink(missing_ok=True)
        np.save(cache / "decoded.npy", images, allow_pickle=False)
        (cache / "decoded.json").write_text(json.dumps(note), encoding="utf-8")
    except OSError as error:
        (cache / "decoded.npy").unlink(missing_ok=True)
        full = "the disk is full" if error.errno == errno.ENOSPC else str(error.strerror)
        raise DataError(
            f"decoded pictures ({images.nbytes / 1e6:.0f} MB) cannot be kept in {cache}: {full}; free some room"
        ) from error


def hashed(parts: Any) -> str:
    """A short stable hash of plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
