"""What benchmarks do with single networks: open a run, read pictures, train, recalibrate and judge one."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from PIL import Image

from hurricane import config as config_file
from hurricane.nn import FixedNetwork
from hurricane.runs import Run
from hurricane.space import Archs
from hurricane.steps.job import Job
from hurricane.train.batches import Labels, Pictures, evaluation_batches
from hurricane.train.loop import Recipe, train
from hurricane.train.scoring import calibration_batches, logits_of, recalibrate

# Training pictures for the statistics of batch normalisation.
STATISTICS = 4096


def opened(folder: Path) -> Job:
    """The job of a finished run."""
    run = Run.open(folder)
    return Job(run, config_file.load(run.path("config.toml")))


def rows(parquet: Path, start: int, stop: int) -> tuple[Pictures, Labels]:
    """Pictures (n, h, w, 3) uint8 and labels (n,) of rows of a parquet file in the Hugging Face image layout."""
    table = pyarrow.parquet.read_table(parquet).slice(start, stop - start)
    pictures = [
        np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in table["image"].to_pylist()
    ]
    return np.stack(pictures), np.asarray(table["label"].to_pylist(), dtype=np.int64)


def channels(images: Pictures) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of pictures in [0, 1]."""
    shares = images / 255.0
    return tuple(shares.mean((0, 1, 2)).tolist()), tuple(shares.std((0, 1, 2)).tolist())


def learn(network: FixedNetwork, images: Pictures, labels: Labels, recipe: Recipe, **more: Any) -> None:
    """Train a network; more: what else `train` takes."""
    train(network, images, labels, recipe, only_path, **more)


def only_path(steps: int, rng: np.random.Generator) -> Archs:
    """A fixed network knows its path: an empty one stands for it."""
    return np.zeros((steps, 0), dtype=np.int64)


def settle(network: FixedNetwork, images: Pictures, seed: int) -> None:
    """Statistics of batch normalisation, after a training, from its pictures."""
    recalibrate(network, (), calibration_batches(images, STATISTICS, np.random.default_rng(seed)))


def recognised(network: FixedNetwork, images: Pictures, labels: Labels) -> float:
    """Share of pictures recognised."""
    batches = [batch for batch, _ in evaluation_batches(images, labels, 256)]
    return float((logits_of(network, (), batches).argmax(1).numpy() == labels).mean())
