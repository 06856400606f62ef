"""Decoded pictures while they are gathered and afterwards: in memory, or as .npy files in a cache folder.

A cache is `pictures-KEY.json` beside `pictures-KEY-train.npy`, `-rank.npy` and `-test.npy`. The JSON file is
written last, and the key is a hash of all that decides the pixels: what is half-written or of other pictures is
never read.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.lib.format as npy

from hurricane.data.pictures import Images
from hurricane.errors import DataError

SPLITS = ("train", "rank", "test")


class InMemory:
    """Room for n pictures of size x size; those that stay away (broken ones) leave it shorter."""

    def __init__(self, n: int, size: int) -> None:
        self._images, self._filled = np.empty((n, size, size, 3), np.uint8), 0

    def append(self, images: Images) -> None:
        """Add pictures (k, size, size, 3)."""
        self._images[self._filled : self._filled + len(images)] = images
        self._filled += len(images)

    def finish(self) -> Images:
        """All that was added."""
        return self._images[: self._filled]

    def discard(self) -> None:
        """Nothing is left behind anyway."""


class OnDisk:
    """The same in an .npy file, which gets its name when it is finished; DataError where the disk is full.

    Written as a stream: a disk that runs full under a memory map would kill the process instead.
    """

    def __init__(self, path: Path, n: int, size: int) -> None:
        self._path, self._part = path, path.with_suffix(".part")
        self._shape, self._filled = (n, size, size, 3), 0
        with _on_disk(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("wb")
        npy.write_array_header_1_0(self._file, {"descr": "|u1", "fortran_order": False, "shape": self._shape})
        self._header = self._file.tell()

    def append(self, images: Images) -> None:
        """Add pictures (k, size, size, 3)."""
        with _on_disk(self._path.parent):
            self._file.write(np.ascontiguousarray(images).data)
        self._filled += len(images)

    def finish(self) -> Images:
        """All that was added, mapped from the file."""
        with _on_disk(self._path.parent):
            # Room of broken pictures stays as a hole at the end, since the header tells the whole length.
            self._file.truncate(self._header + int(np.prod(self._shape)))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._part, self._path)
        return _mapped(self._path)[: self._filled]

    def discard(self) -> None:
        """Remove what was written."""
        with suppress(OSError):
            self._file.close()
        for path in (self._part, self._path):
            path.unlink(missing_ok=True)


@contextmanager
def _on_disk(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"decoded pictures cannot be kept in {cache} ({error.strerror}); "
            "free some room there, or give a smaller image size"
        ) from error


def _mapped(path: Path) -> Images:
    # Copy on write: writable for torch, which warns of read-only arrays, while the file stays as it is.
    images: Images = np.load(path, mmap_mode="c", allow_pickle=False)
    return images


def file_of(cache: Path, key: str, split: str) -> Path:
    """Where the pictures of a split are kept."""
    return cache / f"pictures-{key}-{split}.npy"


def find(cache: Path, key: str, size: int) -> tuple[dict[str, Images], dict[str, Any]] | None:
    """The pictures kept under a key and the note beside them; None where they are missing or damaged."""
    try:
        note = json.loads((cache / f"pictures-{key}.json").read_text(encoding="utf-8"))
        images = {}
        for split in SPLITS:
            whole = _mapped(file_of(cache, key, split))
            images[split] = whole[: note["pictures"][split]]
            if whole.dtype != np.uint8 or images[split].shape != (note["pictures"][split], size, size, 3):
                return None
        return images, note["facts"]
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def keep(cache: Path, key: str, images: Mapping[str, Images], facts: Mapping[str, Any]) -> None:
    """Write the note that makes the pictures of a key valid, and remove those of other keys.

    Raises DataError where the disk is full.
    """
    note = {"pictures": {split: len(images[split]) for split in SPLITS}, "facts": dict(facts)}
    part = cache / f"pictures-{key}.part"
    try:
        with _on_disk(cache):
            part.write_text(json.dumps(note), encoding="utf-8")
            os.replace(part, cache / f"pictures-{key}.json")
    except DataError:
        part.unlink(missing_ok=True)
        raise
    for other in cache.glob("pictures-*"):
        if not other.name.startswith(f"pictures-{key}"):
            other.unlink(missing_ok=True)
