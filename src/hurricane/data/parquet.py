"""Parquet files in the Hugging Face image layout: an image column of bytes, a label column, names in the metadata."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hurricane.errors import DataError

IMAGE_COLUMNS = ("image", "img", "picture")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class")


@dataclass(frozen=True)
class Rows:
    """Rows of one file. classes : names from the metadata, or none. labels : one name a row."""

    path: Path
    classes: tuple[str, ...]
    labels: tuple[str, ...]
    images: Any
    digest: str

    def picture(self, row: int) -> Any:
        """Bytes of a row's picture, or the path of a file beside the parquet file."""
        value = self.images[row].as_py()
        if isinstance(value, dict):
            if value.get("bytes") is not None:
                return value["bytes"]
            value = value.get("path")
            return self.path.parent / value if value else b""
        return value if value is not None else b""


def read_rows(path: Path) -> Rows:
    """The rows of a parquet file; DataError where it is damaged or lacks pictures or labels."""
    import pyarrow.lib
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.lib.ArrowException) as error:
        reason = str(error).splitlines()[0][:120]
        raise DataError(f"{path} is no whole parquet file ({reason}); download or write it again") from error
    image = _column(path, table.schema, IMAGE_COLUMNS, "pictures")
    label = _column(path, table.schema, LABEL_COLUMNS, "labels")
    names = _class_names(table.schema, label)
    values = table.column(label).to_pylist()
    if any(value is None for value in values):
        raise DataError(f"{path} has rows without a label; remove or label them")
    if names and not all(isinstance(value, str) or 0 <= value < len(names) for value in values):
        raise DataError(
            f"{path} has labels beyond its {len(names)} class names; repair its metadata or its labels"
        )
    texts = tuple(
        value if isinstance(value, str) else names[value] if names else str(value) for value in values
    )
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
    return Rows(path, names, texts, table.column(image), digest)


def _column(path: Path, schema: Any, known: tuple[str, ...], what: str) -> str:
    found = [name for name in known if name in schema.names]
    if not found:
        raise DataError(
            f"{path} has no column of {what} (it has {', '.join(schema.names[:8])}); name it {known[0]!r}"
        )
    return found[0]


def _class_names(schema: Any, label: str) -> tuple[str, ...]:
    """Names of a ClassLabel feature in the metadata key `huggingface`; none where there are none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, ValueError, TypeError):
        return ()
