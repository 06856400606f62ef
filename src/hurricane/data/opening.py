"""Opening what the user names: nothing (digits), a folder, parquet files, or a plug-in's source."""

from pathlib import Path

import numpy as np

from hurricane import plugins
from hurricane.data.folder import SUFFIXES, folder_source, found
from hurricane.data.listed import ListedSource, PictureList, hashed
from hurricane.data.pictures import DataSource
from hurricane.errors import DataError

PLUGINS = "hurricane.data_sources"


def open_source(path: str | Path | None) -> DataSource:
    """The data source that a path names; None is scikit-learn's embedded digits.

    A folder `split/class/*.jpg` or `class/*.jpg`; a parquet file, or a folder of them, in the Hugging Face image
    layout; or `NAME:REST` for a plug-in of the entry point `hurricane.data_sources`. Decodes no pictures.
    Raises DataError for what cannot be learned from.
    """
    if path is None:
        return digits()
    name, colon, rest = str(path).partition(":")
    added = plugins.load(PLUGINS) if colon else {}
    if name in added:
        source: DataSource | None = added[name](rest)
        if source is None:
            raise DataError(f"the data source {name!r} has nothing called {rest!r}; give it what it knows")
        return source
    place = Path(path)
    try:
        exists, is_file = place.exists(), place.is_file()
    except OSError as error:
        raise DataError(f"{place} cannot be read ({error.strerror}); give what you may read") from error
    if not exists:
        offered = plugins.closest(name, added) or (
            f" (plug-ins: {', '.join(sorted(added))})" if added else ""
        )
        raise DataError(f"there is no {place}{offered}; give a folder of pictures or a parquet file")
    if is_file:
        return _file(place)
    files = list(found(place, {".parquet"}))
    if not files:
        return folder_source(place)
    picture = next(found(place, SUFFIXES), None)
    if picture is not None:
        raise DataError(
            f"{place} holds both parquet files ({files[0].name}) and pictures ({picture.relative_to(place)}); "
            "give a folder that holds one kind"
        )
    return _parquet(files, place)


def _file(file: Path) -> DataSource:
    if file.suffix.lower() == ".parquet":
        return _parquet([file], file)
    if file.suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"):
        raise DataError(f"{file} is an archive; unpack it first and give the folder")
    raise DataError(f"{file} is no parquet file; give a folder of pictures or a parquet file")


def _parquet(files: list[Path], where: Path) -> DataSource:
    from hurricane.data.parquet import parquet_source

    return parquet_source(files, where)


def digits() -> DataSource:
    """scikit-learn's 1,797 digits of 8 x 8 pixels, embedded in that package; a mirrored digit is another sign."""
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
