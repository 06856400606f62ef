"""Scoring: how well a path of the supernet, or a trained network, recognises pictures."""

import copy
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import takewhile
from threading import Event

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hurricane.latency import Floats
from hurricane.nn import Supernet
from hurricane.space import Archs, SearchSpace
from hurricane.train.batches import Labels, Pictures, evaluation_batches, tensor_of
from hurricane.train.place import CPU, autocast, moved, place_of, within_memory

# Accuracies of a few hundred pictures tie often; the loss decides among equals and moves nothing else.
LOSS_WEIGHT = 1e-4


def recalibrate(
    model: Supernet, path: Sequence[int], images: Sequence[Tensor], precision: str = "fp32"
) -> None:
    """Set the batch-norm statistics on a path to those of training pictures (SPOS; theirs uses others).

    images : batches (n, 3, h, w), moved to where the model is; only the normalisations on the path change.
    """
    place = place_of(model)
    with torch.no_grad(), autocast(precision, place):
        settle(list(model.blocks(path)), (model.normalisation(moved(batch, place)) for batch in images))


def settle(blocks: Sequence[nn.Module], batches: Iterable[Tensor]) -> list[Tensor]:
    """Set the batch-norm statistics of blocks to those of what they receive; gives what they make of each batch."""
    norms = [module for block in blocks for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    made = []
    for number, batch in enumerate(batches, 1):
        for norm in norms:
            norm.momentum = 1.0 / number  # a plain average over the batches
        made.append(through(blocks, batch))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return made


def through(blocks: Sequence[nn.Module], batch: Tensor) -> Tensor:
    """What blocks make of a batch, one after the other."""
    for block in blocks:
        batch = block(batch)
    return batch


@torch.no_grad()
def logits_of(
    model: Supernet, path: Sequence[int], images: Sequence[Tensor], precision: str = "fp32"
) -> Tensor:
    """Logits of all pictures of the batches, computed where the model is: (n, classes) float32 on the CPU."""
    model.eval()
    place = place_of(model)
    with autocast(precision, place):
        return torch.cat([model(moved(batch, place), path).float() for batch in images]).cpu()


class PathScorer:
    """`scorer(archs (k, layers)) -> (k,)`: accuracy on ranking pictures after recalibration, higher is better.

    Each worker has a copy of the supernet, so that candidates do not share batch-norm statistics; a score does not
    depend on what was scored before or beside it. On a GPU there is one worker, whose copy and batches stay there.
    What all candidates have in common at the beginning (the stem, and layers without a choice, as in stage 1) is
    computed once.

    Parameters
    ----------
    space : of the architectures given; paths are matched to the supernet's by name.
    calibration : batches of training pictures without augmentation.
    ranking, labels : batches of ranking pictures, and all their labels.
    place : where scores are computed, "cpu" or "cuda:N" (see `train.place`).
    """

    def __init__(
        self,
        model: Supernet,
        space: SearchSpace,
        calibration: Sequence[Tensor],
        ranking: Sequence[Tensor],
        labels: Tensor,
        precision: str = "fp32",
        workers: int = 1,
        place: str = CPU,
    ) -> None:
        model.to(memory_format=torch.channels_last)
        with within_memory(place):
            self._models = (
                [model, *(copy.deepcopy(model) for _ in range(workers - 1))]
                if place == CPU
                else [copy.deepcopy(model).to(place)]
            )
            first = self._models[0].eval()
            shared = list(first.blocks(_any_path(first, space)))[: 1 + _without_choice(space)]
            with torch.no_grad(), autocast(precision, place):
                self._calibration, self._ranking = (
                    [first.normalisation(moved(images, place)) for images in batches]
                    for batches in (calibration, ranking)
                )
                self._calibration = settle(shared, self._calibration)
                self._ranking = [through(shared, batch) for batch in self._ranking]
        self._space, self._shared = space, len(shared)
        self._labels, self._precision, self._place = labels, precision, place

    def __call__(self, archs: Archs) -> Floats:
        paths = self._models[0].space.translate(archs, self._space).tolist()
        workers = len(self._models)
        turns = [paths[turn::workers] for turn in range(workers)]
        stopped = Event()
        with (
            within_memory(self._place),
            ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ):
            try:
                # Waited for here: where the pool's own end is interrupted, Python forgets threads that still run,
                # and the process is aborted instead of ended.
                shares = list(pool.map(partial(self._scores, stopped), self._models, turns))
            finally:
                stopped.set()
        scores = np.empty(len(paths))
        for turn, share in enumerate(shares):
            scores[turn::workers] = share
        return scores

    def _scores(self, stopped: Event, model: Supernet, paths: list[list[int]]) -> list[float]:
        return [self._score(model, path) for path in paths if not stopped.is_set()]

    @torch.no_grad()
    def _score(self, model: Supernet, path: list[int]) -> float:
        blocks = list(model.blocks(path))[self._shared :]
        with autocast(self._precision, self._place):
            settle(blocks, self._calibration)
            logits = torch.cat([through(blocks, batch).float() for batch in self._ranking]).cpu()
        accuracy = float((logits.argmax(1) == self._labels).float().mean())
        return accuracy - LOSS_WEIGHT * min(float(F.cross_entropy(logits, self._labels)), 10.0)


def _without_choice(space: SearchSpace) -> int:
    """How many layers at the beginning have one choice."""
    return sum(1 for _ in takewhile(lambda layer: len(layer.choices) == 1, space.layers))


def _any_path(model: Supernet, space: SearchSpace) -> list[int]:
    path: list[int] = model.space.translate(np.zeros((1, len(space.layers)), dtype=np.int64), space)[
        0
    ].tolist()
    return path


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
    workers: int = 1,
    place: str = CPU,
) -> PathScorer:
    """A scorer on a fixed random draw of training pictures and ranking pictures, decoded once."""
    rng = np.random.default_rng((seed, 1))
    ranked = np.sort(rng.permutation(len(ranking[1]))[:rank_pictures])
    calibration = calibration_batches(training, recalibration_pictures, rng)
    pictures, labels = ranking[0][ranked], ranking[1][ranked]
    batches = [images for images, _ in evaluation_batches(pictures, labels, 256)]
    ranked_labels = torch.from_numpy(labels)
    return PathScorer(model, space, calibration, batches, ranked_labels, precision, workers, place)


def calibration_batches(training: Pictures, pictures: int, rng: np.random.Generator) -> list[Tensor]:
    """Batches of 128 training pictures without augmentation, drawn at random: what `recalibrate` takes."""
    chosen = np.sort(rng.permutation(len(training))[:pictures])
    return [tensor_of(training[chosen[start : start + 128]]) for start in range(0, len(chosen), 128)]
