"""Decoded pictures in three splits, and the seam to where they come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Channels = tuple[float, float, float]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Split:
    """Pictures (n, H, W, 3) uint8 and their labels (n,) int64.

    Pictures may be mapped from a file; what is written into them stays in memory and never reaches the file.
    """

    images: Images
    labels: Labels


@dataclass(frozen=True)
class Pictures:
    """What a run learns from (train), ranks architectures by (rank), and is judged by once (test).

    mean, std : per channel (RGB), of the training pictures scaled to [0, 1].
    skipped : broken pictures that were left out.
    notes : how the splits came about, in sentences. warnings : what decoding found, beside those of the facts.
    balanced : whether accuracy over all pictures is fair; else look at the mean over classes.
    """

    train: Split
    rank: Split
    test: Split
    classes: tuple[str, ...]
    mean: Channels
    std: Channels
    skipped: int = 0
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    balanced: bool = True


@dataclass(frozen=True)
class SourceFacts:
    """What is known of a source without decoding its pictures.

    pictures : how many, broken ones included. short_side : median short side of a sample of them, pixels.
    fingerprint : changes when the pictures do. flip : whether a mirrored picture keeps its label.
    balanced : whether accuracy over all pictures is fair (the largest class has at most 10 times the smallest).
    notes : what is used as which split. warnings : what makes figures less than fair.
    counts : of each split that the source has (train, and test where given), pictures of each class.
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
    counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


class DataSource(Protocol):
    """Where pictures come from; third parties add theirs by the entry point `hurricane.data_sources`."""

    @property
    def facts(self) -> SourceFacts:
        """What is known before decoding; cheap."""
        ...

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

        rank_fraction : share of the training pictures that ranks architectures.
        test_fraction : share of all pictures set aside where the source has no test split of its own.
        cache : folder for decoded pictures, reused when it fits. progress : told (pictures done, in all).
        """
        ...
