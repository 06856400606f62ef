"""Parquet files in the Hugging Face image layout: an image column of bytes, a label column, names in the metadata."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hurricane.data.listed import ListedSource, PictureList, hashed
from hurricane.data.pictures import DataSource
from hurricane.errors import DataError

# The first of these that a file has is its column.
IMAGE_COLUMNS = ("image", "img", "picture")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class")
TEST_WORDS, VALIDATION_WORDS = ("test", "testing"), ("val", "valid", "validation")


@dataclass(frozen=True)
class Rows:
    """Rows of one file. classes : names from the metadata, or none. labels : one name a row.

    picture : bytes of a row's picture, or the path of a file beside the parquet file.
    """

    path: Path
    classes: tuple[str, ...]
    labels: tuple[str, ...]
    picture: Callable[[int], Any]
    digest: str


def parquet_source(files: Sequence[Path], where: Path) -> DataSource:
    """The data source of parquet files; those of a test split by their names, as `test-00000.parquet`.

    Where there is no test split, validation is the test split; where there are both, validation is left unused.
    """
    split_of = {path: _split(path, where) for path in files}
    judged = "test" if "test" in split_of.values() else "validation"
    train, test = ([path for path in files if split_of[path] == split] for split in ("train", judged))
    unused = [path for path in files if path not in train and path not in test]
    if not train:
        raise DataError(f"{where} has {test[0].name} but no training pictures; add a train*.parquet")
    tables = [read_rows(path) for path in (*train, *test)]
    sizes = [len(rows.labels) for rows in tables]
    tested = sum(sizes[len(train) :])
    if test and not tested:
        raise DataError(
            f"{test[0]} has no test pictures; add some, or leave the file out to have some cut off"
        )
    labels = [label for rows in tables for label in rows.labels]
    classes, warnings = _classes(tables, where)
    numbers = {name: number for number, name in enumerate(classes)}
    starts = np.cumsum([0, *sizes])

    def place(index: int) -> tuple[Rows, int]:
        table = int(np.searchsorted(starts, index, side="right")) - 1
        return tables[table], index - int(starts[table])

    def read(index: int) -> Any:
        rows, row = place(index)
        return rows.picture(row)

    def name(index: int) -> str:
        rows, row = place(index)
        return f"row {row} of {rows.path.name}"

    notes = [f"test pictures from {', '.join(path.name for path in test[:3])}"] if test else []
    if unused:
        notes.append(
            f"{', '.join(path.name for path in unused[:3])} left unused, since there is a test split"
        )
    return ListedSource(
        PictureList(
            where=str(where),
            kind="parquet",
            classes=classes,
            labels=np.array([numbers[label] for label in labels], dtype=np.int64),
            given_test=np.arange(len(labels)) >= len(labels) - tested,
            read=read,
            name=name,
            fingerprint=hashed([[rows.path.name, rows.path.stat().st_size, rows.digest] for rows in tables]),
            notes=tuple(notes),
            warnings=warnings,
        )
    )


def _split(path: Path, where: Path) -> str:
    """train, test or validation, by the words in a file's name and in its folders below `where`."""
    parts = () if path == where else path.relative_to(where).parts
    words = {word for part in parts for word in re.split("[^a-z]+", part.lower())}
    if words & {"train", "training"}:
        return "train"
    if words & set(TEST_WORDS):
        return "test"
    return "validation" if words & set(VALIDATION_WORDS) else "train"


def _classes(tables: Sequence[Rows], where: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names in order, and warnings: of the metadata as far as pictures have them, else by number or name."""
    present = {label for rows in tables for label in rows.labels}
    named = next((rows.classes for rows in tables if rows.classes), ())
    if not named:
        return tuple(sorted(present, key=_natural)), ()
    unknown = sorted(present - set(named))
    if unknown:
        raise DataError(
            f"{where} has a label {unknown[0]!r} that is none of its {len(named)} class names; "
            "give all of its files the same names"
        )
    absent = [name for name in named if name not in present]
    warning = (
        f"{len(absent)} of {len(named)} classes have no picture and are left out ({', '.join(absent[:3])})"
    )
    return tuple(name for name in named if name in present), (warning,) if absent else ()


def _natural(label: str) -> tuple[bool, int, str]:
    return (False, int(label), label) if label.isdecimal() else (True, 0, label)


def read_rows(path: Path) -> Rows:
    """The rows of a parquet file, pictures not yet read; DataError where it is damaged or lacks a column."""
    import pyarrow.lib
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            image = _column(path, schema, IMAGE_COLUMNS, "pictures")
            label = _column(path, schema, LABEL_COLUMNS, "labels")
            values = file.read(columns=[label]).column(label).to_pylist()
    except (OSError, pyarrow.lib.ArrowException) as error:
        raise _damaged(path, error) from error
    _check_image(path, schema.field(image))
    labels, names = _label_names(path, schema, label, values)
    digest = hashlib.sha256("\n".join(labels).encode()).hexdigest()[:16]
    return Rows(path, names, labels, _pictures(path, image, np.cumsum([0, *groups])), digest)


def _pictures(path: Path, column: str, starts: Any) -> Callable[[int], Any]:
    """What gives the picture of a row; it keeps the row group that it read last, and no file open."""
    import pyarrow.lib
    import pyarrow.parquet

    @lru_cache(maxsize=1)
    def group(number: int) -> Any:
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                return file.read_row_group(number, columns=[column]).column(column)
        except (OSError, pyarrow.lib.ArrowException) as error:
            raise _damaged(path, error) from error

    def picture(row: int) -> Any:
        number = int(np.searchsorted(starts, row, side="right")) - 1
        value = group(number)[row - int(starts[number])].as_py()
        if isinstance(value, dict):
            if value.get("bytes") is None and value.get("path"):
                return path.parent / value["path"]
            value = value.get("bytes")
        return value if value is not None else b""

    return picture


def _damaged(path: Path, error: Exception) -> DataError:
    if isinstance(error, PermissionError):
        return DataError(f"{path} may not be read; give yourself the right to, or another file")
    why = (str(error).splitlines() or [type(error).__name__])[0][:120]
    return DataError(f"{path} is no whole parquet file ({why}); download or write it again")


def _column(path: Path, schema: Any, known: tuple[str, ...], what: str) -> str:
    found = next((name for name in known if name in schema.names), None)
    if found is None:
        raise DataError(
            f"{path} has no column of {what} (it has {', '.join(schema.names[:8])}); name it {known[0]!r}"
        )
    return found


def _check_image(path: Path, field: Any) -> None:
    import pyarrow.types as types

    kinds = [field.type] if not types.is_struct(field.type) else [child.type for child in field.type]
    binary = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    if not any(test(kind) for kind in kinds for test in binary):
        raise DataError(
            f"column {field.name!r} of {path} is of type {str(field.type)[:60]}; "
            "pictures are encoded bytes (JPEG, PNG), or a struct of bytes and path"
        )


def _label_names(
    path: Path, schema: Any, label: str, values: Sequence[Any]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The label of each row as a name, and all names that the metadata gives."""
    names = _class_names(schema, label)
    if not all(value is None or isinstance(value, str | int) for value in values):
        raise DataError(
            f"column {label!r} of {path} is of type {schema.field(label).type}; a label is a whole number or a text"
        )
    without = sum(value is None or (not isinstance(value, str) and value < 0) for value in values)
    if without:
        raise DataError(f"{path} has {without} of {len(values)} rows without a label; label or remove them")
    if names and any(not isinstance(value, str) and value >= len(names) for value in values):
        raise DataError(
            f"{path} has labels beyond its {len(names)} class names; repair its metadata or its labels"
        )
    return tuple(
        value if isinstance(value, str) else names[value] if names else str(value) for value in values
    ), names


def _class_names(schema: Any, label: str) -> tuple[str, ...]:
    """Names of a ClassLabel feature in the metadata key `huggingface`; none where there are none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, ValueError, TypeError):
        return ()
