"""Scoring: how well a path of the supernet, or a trained network, recognises pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hurricane.latency import Floats
from hurricane.nn import Supernet
from hurricane.space import Archs, SearchSpace
from hurricane.train.batches import Labels, Pictures, evaluation_batches, tensor_of
from hurricane.train.loop import autocast

# Accuracies of a few hundred pictures tie often; the loss decides among equals and moves nothing else.
LOSS_WEIGHT = 1e-4


def recalibrate(
    model: Supernet, path: Sequence[int], images: Sequence[Tensor], precision: str = "fp32"
) -> None:
    """Set the batch-norm statistics on a path to those of training pictures (SPOS; theirs uses others).

    images : batches (n, 3, h, w); only the normalisations on the path change.
    """
    norms = [
        module
        for block in model.blocks(path)
        for module in block.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    with torch.no_grad(), autocast(precision):
        for batch in images:
            model(batch, path)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


@torch.no_grad()
def logits_of(
    model: Supernet, path: Sequence[int], images: Sequence[Tensor], precision: str = "fp32"
) -> Tensor:
    """Logits of all pictures of the batches: (n, classes) float32."""
    model.eval()
    with autocast(precision):
        return torch.cat([model(batch, path).float() for batch in images])


@dataclass(frozen=True)
class PathScorer:
    """`scorer(archs (k, layers)) -> (k,)`: accuracy on ranking pictures after recalibration, higher is better.

    space : of the architectures given; paths are matched to the supernet's by name.
    calibration : batches of training pictures without augmentation.
    ranking, labels : batches of ranking pictures, and all their labels.
    """

    model: Supernet
    space: SearchSpace
    calibration: tuple[Tensor, ...]
    ranking: tuple[Tensor, ...]
    labels: Tensor
    precision: str = "fp32"

    def __call__(self, archs: Archs) -> Floats:
        paths = self.model.space.translate(archs, self.space)
        return np.array([self._score(path.tolist()) for path in paths], dtype=np.float64)

    def _score(self, path: Sequence[int]) -> float:
        recalibrate(self.model, path, self.calibration, self.precision)
        logits = logits_of(self.model, path, self.ranking, self.precision)
        accuracy = float((logits.argmax(1) == self.labels).float().mean())
        return accuracy - LOSS_WEIGHT * min(float(F.cross_entropy(logits, self.labels)), 10.0)


def path_scorer(
    model: Supernet,
    space: SearchSpace,
    training: Pictures,
    ranking: tuple[Pictures, Labels],
    *,
    recalibration_pictures: int,
    rank_pictures: int,
    seed: int,
    precision: str = "fp32",
) -> PathScorer:
    """A scorer on a fixed random draw of training pictures and ranking pictures, decoded once."""
    rng = np.random.default_rng((seed, 1))
    chosen = np.sort(rng.permutation(len(training))[:recalibration_pictures])
    ranked = np.sort(rng.permutation(len(ranking[1]))[:rank_pictures])
    batch_size = 128
    calibration = tuple(
        tensor_of(training[chosen[start : start + batch_size]]) for start in range(0, len(chosen), batch_size)
    )
    pictures, labels = ranking[0][ranked], ranking[1][ranked]
    batches = tuple(images for images, _ in evaluation_batches(pictures, labels, 256))
    return PathScorer(model, space, calibration, batches, torch.from_numpy(labels), precision)
