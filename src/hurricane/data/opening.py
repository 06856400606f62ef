"""Opening what the user names: nothing (digits), a folder, parquet files, or a plug-in's source."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from hurricane import plugins
from hurricane.data.listed import ListedSource, PictureList, hashed
from hurricane.data.pictures import DataSource
from hurricane.errors import DataError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "val", "valid", "validation")


def open_source(path: str | Path | None) -> DataSource:
    """The data source that a path names; None is scikit-learn's embedded digits.

    A folder `split/class/*.jpg` or `class/*.jpg`; a parquet file, or a folder of them, in the Hugging Face image
    layout; or `NAME:REST` for a plug-in of the entry point `hurricane.data_sources`. Raises DataError for what
    cannot be learned from.
    """
    if path is None:
        return digits()
    name, colon, rest = str(path).partition(":")
    added = plugins.load("hurricane.data_sources") if colon else {}
    if name in added:
        source: DataSource = added[name](rest)
        return source
    folder = Path(path)
    if not folder.exists():
        raise DataError(f"there is no {folder}; give a folder of pictures or a parquet file")
    if folder.is_file():
        if folder.suffix != ".parquet":
            raise DataError(
                f"{folder} is no folder and no parquet file; unpack archives first and give the folder"
            )
        return _parquet([folder], folder)
    files = sorted(folder.rglob("*.parquet"))
    if files:
        return _parquet(files, folder)
    return _folder(folder)


def digits() -> DataSource:
    """scikit-learn's 1,797 digits of 8 x 8 pixels, embedded in that package."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)

    def read(index: int) -> bytes:
        # As a binary PGM file, so that digits take the same way as every other picture.
        return b"P5 8 8 255\n" + bytes(pixels[index].tobytes())

    return ListedSource(
        PictureList(
            where="scikit-learn's digits",
            kind="digits",
            classes=tuple(str(digit) for digit in range(10)),
            labels=bunch.target.astype(np.int64),
            given_test=np.zeros(len(pixels), bool),
            read=read,
            name=lambda index: f"digit {index}",
            fingerprint=hashed(["digits", len(pixels)]),
            flip=False,
        )
    )


def _folder(folder: Path) -> DataSource:
    below = _folders(folder)
    train = next((below[name] for name in TRAIN_NAMES if name in below), None)
    test = next((below[name] for name in TEST_NAMES if name in below), None)
    if train is None and test is not None:
        raise DataError(
            f"{folder} has {test.name} but no train; add train/CLASS/ or give CLASS/ folders alone"
        )
    roots = [(folder, False)] if train is None else [(train, False), *([(test, True)] if test else [])]
    entries = [
        (name, path, is_test)
        for root, is_test in roots
        for name, sub in _folders(root).items()
        for path in _files(sub)
    ]
    if not entries:
        if any(_files(folder)):
            raise DataError(f"the pictures of {folder} lie in no class folders; put each into CLASS/")
        raise DataError(
            f"{folder} holds no pictures; it needs CLASS/*.jpg or train/CLASS/*.jpg and test/CLASS/*.jpg"
        )
    classes = tuple(sorted({name for name, _, is_test in entries if not is_test}))
    foreign = sorted({name for name, _, is_test in entries if is_test} - set(classes))
    if foreign:
        raise DataError(
            f"class {foreign[0]!r} of {folder} occurs in the test split only; train pictures are needed"
        )
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
            name=lambda index: str(paths[index]),
            fingerprint=hashed([[str(path.relative_to(folder)), path.stat().st_size] for path in paths]),
            notes=(f"test pictures from {test.name}/",) if train is not None and test is not None else (),
        )
    )


def _folders(folder: Path) -> dict[str, Path]:
    try:
        return {p.name: p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")}
    except OSError as error:
        raise DataError(
            f"{folder} cannot be read ({error.strerror}); give a folder that you may read"
        ) from error


def _files(folder: Path) -> list[Path]:
    """Picture files below a folder in a stable order; hidden and other files are passed by."""
    found = []
    for root, names, files in os.walk(folder, followlinks=True):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                found.append(Path(root) / name)
    return found


def _parquet(files: Iterable[Path], where: Path) -> DataSource:
    from hurricane.data.parquet import read_rows

    files = list(files)
    train = [path for path in files if not _is_test(path, where)]
    test = [path for path in files if _is_test(path, where)]
    if not train:
        train, test = test, []
    tables = [(read_rows(path), path in test) for path in (*train, *test)]
    classes: tuple[str, ...] = next((rows.classes for rows, _ in tables if rows.classes), ())
    if not classes:
        classes = tuple(sorted({label for rows, _ in tables for label in rows.labels}, key=_natural))
    numbers = {name: number for number, name in enumerate(classes)}
    unknown = next((label for rows, _ in tables for label in rows.labels if label not in numbers), None)
    if unknown is not None:
        raise DataError(f"{where} has a label {unknown!r} that is none of its {len(classes)} classes")
    starts = np.cumsum([0, *(len(rows.labels) for rows, _ in tables)])

    def read(index: int) -> Any:
        table = int(np.searchsorted(starts, index, side="right")) - 1
        return tables[table][0].picture(index - int(starts[table]))

    return ListedSource(
        PictureList(
            where=str(where),
            kind="parquet",
            classes=classes,
            labels=np.array([numbers[label] for rows, _ in tables for label in rows.labels], dtype=np.int64),
            given_test=np.repeat(
                [is_test for _, is_test in tables], [len(rows.labels) for rows, _ in tables]
            ),
            read=read,
            name=lambda index: f"row {index}",
            fingerprint=hashed(
                [[rows.path.name, rows.path.stat().st_size, rows.digest] for rows, _ in tables]
            ),
            notes=(f"test pictures from {', '.join(path.name for path in test[:3])}",) if test else (),
        )
    )


def _is_test(path: Path, where: Path) -> bool:
    """Whether a parquet file is of a test split: by its name, or the folder it is in, as `test-00000.parquet`."""
    names = (
        [path.name.lower(), *(part.lower() for part in path.relative_to(where).parts[:-1])]
        if path != where
        else []
    )
    return any(name.startswith(TEST_NAMES) for name in names)


def _natural(label: str) -> tuple[int, int, str]:
    return (0, int(label), "") if label.lstrip("-").isdigit() else (1, 0, label)
