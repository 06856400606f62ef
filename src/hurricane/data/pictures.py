"""Decoded pictures in three splits, and the seam to where they come from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Split:
    """Pictures (n, H, W, 3) uint8, possibly mapped from a file, and their labels (n,)."""

    images: Images
    labels: Labels


@dataclass(frozen=True)
class Pictures:
    """What a run learns from (train), ranks architectures by (rank), and is judged by once (test).

    mean, std : per channel, of the training pictures scaled to [0, 1].
    skipped : broken pictures that were left out.
    """

    train: Split
    rank: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    skipped: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceFacts:
    """What is known of a source without decoding its pictures.

    short_side : median short side of a sample of pictures, pixels. fingerprint : changes when the pictures do.
    flip : whether a mirrored picture keeps its label. balanced : whether accuracy over all pictures is fair.
    """

    kind: str
    path: str
    classes: tuple[str, ...]
    pictures: int
    short_side: int
    fingerprint: str
    flip: bool = True
    balanced: bool = True
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class DataSource(Protocol):
    """Where pictures come from; third parties add theirs by the entry point `hurricane.data_sources`."""

    @property
    def facts(self) -> SourceFacts: ...

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
        """The pictures decoded at image_size x image_size and split; the same call gives the same splits.

        cache : folder for decoded pictures, reused when it fits. progress : told (pictures done, in all).
        """
        ...
