"""Small folders and parquet files of real pictures, made by Pillow and pyarrow."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

REAL = Path(__file__).parents[2].parent / "shared" / "data"


def encoded(seed: int, side: int = 12, suffix: str = "png") -> bytes:
    """A picture file of noise; the same seed gives the same bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side + 3, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg" if suffix in ("jpg", "jpeg") else suffix)
    return buffer.getvalue()


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes `count` different pictures into each folder that is named; gives the folder above them."""

    def make(counts: Mapping[str, int], name: str = "pictures", suffix: str = "png", side: int = 12) -> Path:
        root, seed = tmp_path / name, 0
        root.mkdir(exist_ok=True)
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                (root / folder / f"{i:03d}.{suffix}").write_bytes(encoded(seed, side, suffix))
                seed += 1
        return root

    return make


@pytest.fixture
def make_parquet(tmp_path: Path) -> Callable[..., Path]:
    """Writes a parquet file: 10 pictures of each of two classes unless told otherwise."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def make(
        name: str = "data.parquet",
        labels: Sequence[Any] = (0, 1) * 10,
        names: Sequence[str] | None = ("cat", "dog"),
        columns: tuple[str, str] = ("image", "label"),
        images: Sequence[Any] | None = None,
        seed: int = 0,
    ) -> Path:
        if images is None:
            images = [{"bytes": encoded(seed + i), "path": None} for i in range(len(labels))]
        table = pa.table(dict(zip(columns, (pa.array(images), pa.array(labels)), strict=True)))
        if names is not None:
            features = {columns[0]: {"_type": "Image"}, columns[1]: {"names": names, "_type": "ClassLabel"}}
            table = table.replace_schema_metadata(
                {"huggingface": json.dumps({"info": {"features": features}})}
            )
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=7)
        return path

    return make


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """The path of real pictures; skips the test where they are missing."""

    def find(name: str) -> Path:
        if not (REAL / name).exists():
            pytest.skip(f"{name} is not in ../shared/data")
        return REAL / name

    return find
