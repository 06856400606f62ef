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
from hurricane.nn.network import through
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
        calibration: Iterable[Tensor],
        ranking: Iterable[Tensor],
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
            first, count = self._models[0].eval(), _in_common(space)
            (any_path,) = first.space.translate(
                np.zeros((1, len(space.layers)), dtype=np.int64), space
            ).tolist()
            shared = list(first.blocks(any_path))[:count]
            # Batch by batch, so that pictures and what is made of them are not there twice.
            with torch.no_grad(), autocast(precision, place):
                self._calibration = settle(
                    shared, (first.normalisation(moved(b, place)) for b in calibration)
                )
                self._ranking = [through(shared, first.normalisation(moved(b, place))) for b in ranking]
        self._space, self._shared = space, count
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


def _in_common(space: SearchSpace) -> int:
    """How many blocks at the beginning all architectures share, as far as their output is no larger than a picture."""
    shared = takewhile(lambda layer: len(layer.choices) == 1, space.layers)
    specs = [space.stem, *(layer.spec(layer.choices[0]) for layer in shared)]
    picture = 3 * space.image_size**2
    small = [number for number, spec in enumerate(specs, 1) if spec.cout * spec.out_size**2 <= picture]
    return max(small, default=0)


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
    batches = (images for images, _ in evaluation_batches(pictures, labels, 256))
    ranked_labels = torch.from_numpy(labels)
    return PathScorer(model, space, calibration, batches, ranked_labels, precision, workers, place)


def calibration_batches(training: Pictures, pictures: int, rng: np.random.Generator) -> list[Tensor]:
    """Batches of 128 training pictures without augmentation, drawn at random: what `recalibrate` takes."""
    chosen = np.sort(rng.permutation(len(training))[:pictures])
    return [tensor_of(training[chosen[start : start + 128]]) for start in range(0, len(chosen), 128)]
