"""Batches of pictures: shuffled, augmented, as channels-last tensors in [0, 1]."""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from hurricane.train.place import CPU, moved

Pictures = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

# Up to this size pictures are shifted by whole pixels; larger ones are also zoomed.
SHIFT_ONLY_SIZE = 40
ERASED_SIDE = (0.25, 0.5)


def tensor_of(pictures: Pictures, place: str = CPU) -> Tensor:
    """(n, h, w, 3) uint8 pictures as an (n, 3, h, w) float tensor in [0, 1], channels last in memory.

    They go to the place as bytes, a quarter of what floats are.
    """
    return (
        moved(torch.from_numpy(np.ascontiguousarray(pictures)), place).permute(0, 3, 1, 2).float().div_(255)
    )


def training_batches(
    pictures: Pictures,
    labels: Labels,
    batch_size: int,
    *,
    flip: bool,
    rng: np.random.Generator,
    erased: float = 0.0,
    mixed: float = 0.0,
    classes: int = 0,
    place: str = CPU,
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch: every picture once in random order, augmented; a last batch of one picture is left out.

    The second tensor of a batch is labels, (n,) int64, or where anything is mixed shares of classes, (n, classes).

    flip : whether a mirrored picture keeps its label. erased : share of the pictures of which a square is hidden.
    mixed : share of the batches in which each picture shows a part of another. place : where the batches are to be.
    """
    order = rng.permutation(len(labels))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        if len(chosen) < 2:  # batch normalisation needs two
            return
        images = augmented(pictures[chosen], flip=flip, rng=rng, erased=erased, place=place)
        targets = moved(torch.from_numpy(labels[chosen]), place)
        yield (
            with_parts(images, F.one_hot(targets, classes).float(), mixed, rng)
            if mixed
            else (images, targets)
        )


def steps_per_epoch(pictures: int, batch_size: int) -> int:
    """Batches that `training_batches` gives."""
    full, rest = divmod(pictures, batch_size)
    return full + (1 if rest >= 2 else 0)


def evaluation_batches(
    pictures: Pictures, labels: Labels, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The pictures in order as they are."""
    for start in range(0, len(labels), batch_size):
        stop = start + batch_size
        yield tensor_of(pictures[start:stop]), torch.from_numpy(np.ascontiguousarray(labels[start:stop]))


def augmented(
    pictures: Pictures, *, flip: bool, rng: np.random.Generator, erased: float = 0.0, place: str = CPU
) -> Tensor:
    """Pictures shifted by up to an eighth (larger ones zoomed, too) and mirrored at random, some with a square hidden.

    Zooming is done on the place: a CPU thread zooms some 500 pictures of 224 pixels a second, too few for a GPU.
    """
    pictures = np.ascontiguousarray(pictures)
    if flip:
        mirrored = rng.random(len(pictures)) < 0.5
        pictures = np.where(mirrored[:, None, None, None], pictures[:, :, ::-1], pictures)
    if erased:
        pictures = _with_squares(pictures, erased, rng)
    if pictures.shape[1] <= SHIFT_ONLY_SIZE:
        return tensor_of(_shifted(pictures, rng), place)
    return _zoomed(tensor_of(pictures, place), rng, place)


def _with_squares(pictures: Pictures, share: float, rng: np.random.Generator) -> Pictures:
    """A square of a quarter to half of the side, anywhere, in the picture's mean colour (arXiv 1708.04552)."""
    n, size = pictures.shape[:2]
    pictures = pictures.copy()
    for i in np.flatnonzero(rng.random(n) < share):
        side = round(size * rng.uniform(*ERASED_SIDE))
        top, left = rng.integers(0, size - side + 1, size=2)
        pictures[i, top : top + side, left : left + side] = pictures[i].mean(axis=(0, 1))
    return pictures


def with_parts(
    images: Tensor, targets: Tensor, share: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A batch (n, c, h, w) and its (n, classes), with a chance of `share` a rectangle of each from another (CutMix).

    One place for all of the batch; its area is uniform in 0 to 1 before it is cut at the border, and targets are mixed
    as areas then are (Yun et al., arXiv 1905.04899). The images given are overwritten.
    """
    if rng.random() >= share:
        return images, targets
    n, _, height, width = images.shape
    side = math.sqrt(rng.random())
    y, x = rng.integers(0, height), rng.integers(0, width)
    top, bottom = (int(np.clip(y + sign * side * height / 2, 0, height)) for sign in (-1, 1))
    left, right = (int(np.clip(x + sign * side * width / 2, 0, width)) for sign in (-1, 1))
    others = moved(torch.from_numpy(rng.permutation(n)), str(images.device))
    images[:, :, top:bottom, left:right] = images[others, :, top:bottom, left:right]
    part = (bottom - top) * (right - left) / (height * width)
    return images, torch.lerp(targets, targets[others], part)


def _shifted(pictures: Pictures, rng: np.random.Generator) -> Pictures:
    n, size = pictures.shape[:2]
    reach = max(1, size // 8)
    padded = np.pad(pictures, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    top, left = rng.integers(0, 2 * reach + 1, size=(2, n))
    shifted = np.empty_like(pictures)
    for i in range(n):
        shifted[i] = padded[i, top[i] : top[i] + size, left[i] : left[i] + size]
    return shifted


def _zoomed(images: Tensor, rng: np.random.Generator, place: str) -> Tensor:
    """A random part of 50 to 100 % of the picture's area, its aspect changed by up to a quarter."""
    n = len(images)
    side = np.sqrt(rng.uniform(0.5, 1.0, n))
    aspect = np.exp(rng.uniform(-0.11, 0.11, n))
    scale_x, scale_y = np.minimum(side * aspect, 1.0), np.minimum(side / aspect, 1.0)
    theta = np.zeros((n, 2, 3), dtype=np.float32)
    theta[:, 0, 0], theta[:, 1, 1] = scale_x, scale_y
    theta[:, 0, 2] = (1 - scale_x) * rng.uniform(-1, 1, n)
    theta[:, 1, 2] = (1 - scale_y) * rng.uniform(-1, 1, n)
    grid = F.affine_grid(moved(torch.from_numpy(theta), place), list(images.shape), align_corners=False)
    zoomed = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return zoomed.contiguous(memory_format=torch.channels_last)
