"""Folders of pictures: CLASS/*.jpg, or train/CLASS/*.jpg and test/CLASS/*.jpg."""

import os
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hurricane.data.listed import ListedSource, PictureList, hashed
from hurricane.data.pictures import DataSource
from hurricane.errors import DataError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing", "val", "valid", "validation")


@dataclass(frozen=True)
class Layout:
    """Which folders hold the class folders. test : of a test split of its own, or None."""

    train: Path
    test: Path | None
    notes: tuple[str, ...] = ()


def folder_source(folder: Path) -> DataSource:
    """The data source of a folder; DataError where its pictures cannot be learned from.

    Class folders in the order of their names; pictures in folders below one count to it. Hidden files and folders,
    and files that are no pictures, are passed by; symbolic links are followed.
    """
    layout = _layout(folder)
    roots = [(layout.train, False), *([(layout.test, True)] if layout.test else [])]
    entries = [
        (name, path, is_test)
        for root, is_test in roots
        for name, below in folders(root).items()
        for path in found(below, SUFFIXES)
    ]
    warnings = [_loose(root) for root, _ in roots]
    if not entries:
        if any(warnings):
            raise DataError(f"the pictures of {layout.train} lie in no class folders; put each into CLASS/")
        raise DataError(
            f"{folder} holds no pictures; it needs CLASS/*.jpg, or train/CLASS/*.jpg and test/CLASS/*.jpg"
        )
    if layout.test is not None and not any(is_test for _, _, is_test in entries):
        raise DataError(f"{layout.test} holds no test pictures; add some, or remove it to have some cut off")
    classes = tuple(sorted({name for name, _, _ in entries}))
    empty = [name for name in folders(layout.train) if name not in classes]
    if empty:
        warnings.append(f"folders without pictures are left out: {', '.join(empty[:5])}")
    numbers = {name: number for number, name in enumerate(classes)}
    paths = [path for _, path, _ in entries]
    return ListedSource(
        PictureList(
            where=str(folder),
            kind="folder",
            classes=classes,
            labels=np.array([numbers[name] for name, _, _ in entries], dtype=np.int64),
            given_test=np.array([is_test for _, _, is_test in entries]),
            read=lambda index: paths[index],
            name=lambda index: str(paths[index].relative_to(folder)),
            fingerprint=hashed([[str(path.relative_to(folder)), _size(path)] for path in paths]),
            notes=layout.notes,
            warnings=tuple(warning for warning in warnings if warning),
        )
    )


def _layout(folder: Path) -> Layout:
    """Whether folders are splits or classes: `train` is a split where it holds folders itself."""
    below = folders(folder)
    splits = {name.lower(): path for name, path in below.items() if name.lower() in TRAIN_NAMES + TEST_NAMES}
    holding = {name: path for name, path in splits.items() if folders(path)}
    train = next((holding[name] for name in TRAIN_NAMES if name in holding), None)
    tests = [splits[name] for name in TEST_NAMES if name in splits]
    if train is not None:
        unused = [*tests[1:], *(path for path in below.values() if path not in splits.values())]
        notes = [f"test pictures from {tests[0].name}/"] if tests else []
        if unused:
            notes.append(f"left unused: {', '.join(path.name + '/' for path in unused[:5])}")
        return Layout(train, tests[0] if tests else None, tuple(notes))
    if holding:
        name = next(iter(holding.values())).name
        raise DataError(f"{folder} has {name} but no train; add train/CLASS/ or give CLASS/ folders alone")
    if splits and len(splits) == len(below) and not any(found(path, SUFFIXES) for path in below.values()):
        return Layout(folder, None)
    if splits and len(splits) == len(below):
        raise DataError(
            f"the pictures of {next(iter(below.values()))} lie in no class folders; put each into CLASS/"
        )
    only = next(iter(below.values()), folder)
    if len(below) == 1 and len(folders(only)) > 1:
        raise DataError(
            f"{folder} holds one folder only; give {only}, if its folders are the classes or splits"
        )
    return Layout(folder, None)


def folders(folder: Path) -> dict[str, Path]:
    """Folders in a folder, by name in order; hidden ones are passed by. DataError where it may not be read."""
    try:
        return {p.name: p for p in sorted(folder.iterdir()) if not p.name.startswith(".") and p.is_dir()}
    except OSError as error:
        raise _unreadable(error) from error


def found(folder: Path, suffixes: Set[str]) -> Iterator[Path]:
    """Files of some suffixes below a folder in a stable order; DataError where a folder may not be read."""

    def refuse(error: OSError) -> None:
        raise _unreadable(error) from error

    seen = set()
    for root, names, files in os.walk(folder, followlinks=True, onerror=refuse):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in seen:  # a link back to a folder above never ends
            names.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes:
                yield Path(root, name)


def _unreadable(error: OSError) -> DataError:
    return DataError(f"{error.filename} cannot be read ({error.strerror}); give a folder that you may read")


def _loose(root: Path) -> str:
    """A warning about pictures beside the class folders, or nothing."""
    loose = [
        path.name
        for path in sorted(root.iterdir())
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not path.is_dir()
    ]
    if not loose:
        return ""
    return f"pictures of {root} outside of class folders are left out: {len(loose)} (as {loose[0]})"


def _size(path: Path) -> int:
    """Bytes of a file, or -1 for a link that leads nowhere; such a picture counts as broken."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
