"""The training loop: single-path supernets and single networks are trained by the same few lines.

SPOS (Guo et al.) trains one uniformly drawn path a step; a fixed network is a supernet with one path.

Each batch is shared out to one-thread workers whose gradients are added up. OpenMP's own threads are not used: as soon
as anything else runs on a core, their barriers wait for each other (measured on two cores: 14 pictures a second with
two OpenMP threads and a busy neighbour, 800 with one). A GPU takes each batch whole, and is not waited for before the
end of an epoch.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from hurricane.errors import RunError
from hurricane.nn import Supernet
from hurricane.space import Archs
from hurricane.train.batches import Labels, Pictures, steps_per_epoch, training_batches
from hurricane.train.place import CPU, autocast, placed, workers_at
from hurricane.train.weights import save_tensors

PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train: epochs over the pictures, and stochastic gradient descent with a cosine schedule.

    erased : share of the pictures of which a square is hidden.
    mixed : share of the batches in which each picture shows a part of another (CutMix).
    workers : threads that share each batch on the CPU; batch normalisation sees a worker's share.
    place : where the training runs, "cpu" or "cuda:N" (see `train.place`).
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    label_smoothing: float
    precision: str = "fp32"
    flip: bool = True
    seed: int = 0
    warmup_epochs: float = 1.0
    erased: float = 0.0
    mixed: float = 0.0
    workers: int = 1
    place: str = CPU


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch came to: mean loss, share of training pictures recognised, its seconds, and where it was."""

    number: int
    pictures: int
    loss: float
    accuracy: float
    seconds: float
    place: str = CPU


# One share of a step: (images, targets) -> (summed loss, pictures recognised, gradients).
Share = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, tuple[Tensor, ...]]]
# How shares are worked through: as `map` does, or the `map` of a pool.
Spread = Callable[[Share, Iterable[Tensor], Iterable[Tensor]], Iterable[Any]]

PathDraw = Callable[[int, np.random.Generator], Archs]
"""Paths for one epoch: (steps, generator) -> (steps, layers)."""


def train(
    model: Supernet,
    pictures: Pictures,
    labels: Labels,
    recipe: Recipe,
    draw_paths: PathDraw,
    *,
    until: int | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> None:
    """Train `model` in place, one path a step; picks up at the last whole epoch in `checkpoint`.

    Randomness comes from the seed and the number of the epoch alone, so a run that was killed and
    goes on sees the same pictures and paths as one that was not. Running statistics of batch normalisation are
    left alone: `scoring.recalibrate` computes them afterwards. The model is on the recipe's place meanwhile and on
    the CPU afterwards; a checkpoint is resumed on any place.

    until : stop after that many epochs of the recipe's schedule; from the checkpoint another call goes on.
    on_epoch : told after each epoch that this call trains.
    on_step : told the number of pictures after each step.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0  # workers would race for the running statistics
    workers = workers_at(recipe.place, recipe.workers)
    with (
        placed(model, recipe.place),
        ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        spread: Spread = pool.map if recipe.place == CPU else map
        optimizer = _optimizer(model, recipe)
        first = _resume(checkpoint, model, optimizer) if checkpoint is not None else 0
        last = recipe.epochs if until is None else min(until, recipe.epochs)
        for number in range(first, last):
            epoch = _epoch(model, optimizer, pictures, labels, recipe, draw_paths, number, spread, on_step)
            if not math.isfinite(epoch.loss):
                raise RunError(
                    f"training diverged in epoch {epoch.number} (the loss is {epoch.loss}); "
                    f"lower the learning rate, now {recipe.learning_rate}"
                )
            if checkpoint is not None:
                _save(checkpoint, model, optimizer, epoch.number)
            if on_epoch is not None:
                on_epoch(epoch)


def _epoch(
    model: Supernet,
    optimizer: torch.optim.Optimizer,
    pictures: Pictures,
    labels: Labels,
    recipe: Recipe,
    draw_paths: PathDraw,
    number: int,
    spread: Spread,
    on_step: Callable[[int], None] | None,
) -> Epoch:
    rng = np.random.default_rng((recipe.seed, number))
    steps = steps_per_epoch(len(labels), recipe.batch_size)
    started, seen = time.perf_counter(), 0
    # Loss and pictures recognised stay where they are computed until the epoch ends: to read is to wait for a GPU.
    totals = torch.zeros(2, dtype=torch.float64, device=recipe.place)
    paths = draw_paths(steps, rng)
    model.train()
    batches = training_batches(
        pictures,
        labels,
        recipe.batch_size,
        flip=recipe.flip,
        rng=rng,
        erased=recipe.erased,
        mixed=recipe.mixed,
        classes=model.space.classes,
        place=recipe.place,
    )
    for step, (images, targets) in enumerate(batches):
        _set_learning_rate(optimizer, recipe, number + step / steps)
        totals += _step(model, optimizer, images, targets, paths[step].tolist(), recipe, spread)
        seen += len(targets)
        if on_step is not None:
            on_step(len(targets))
    loss, right = totals.tolist()
    seconds = time.perf_counter() - started
    return Epoch(number + 1, seen, loss / seen, right / seen, seconds, recipe.place)


def _step(
    model: Supernet,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    targets: Tensor,
    path: Sequence[int],
    recipe: Recipe,
    spread: Spread,
) -> Tensor:
    """One step; (2,) float64 of the summed loss and how many pictures were recognised."""
    # Gradients of unused paths stay None, so neither momentum nor weight decay moves them. Of shared weights, what is
    # outside the path's part has gradients of 0 and moves on, as the rest of what it belongs to does.
    optimizer.zero_grad(set_to_none=True)
    used = [parameter for block in model.blocks(path) for parameter in block.parameters()]

    def share(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        with autocast(recipe.precision, recipe.place):
            logits = model(images, path).float()
        loss = F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing, reduction="sum")
        gradients = torch.autograd.grad(loss, used)
        truth = targets if targets.ndim == 1 else targets.argmax(1)
        return loss.detach(), (logits.detach().argmax(1) == truth).sum(), gradients

    # Batch normalisation needs at least two pictures in each share.
    shares = max(1, min(workers_at(recipe.place, recipe.workers), len(targets) // 2))
    parts = list(spread(share, images.tensor_split(shares), targets.tensor_split(shares)))
    for parameter, *gradients in zip(used, *(part[2] for part in parts), strict=True):
        total = gradients[0]
        for gradient in gradients[1:]:
            total = total + gradient
        parameter.grad = total / len(targets)
    nn.utils.clip_grad_norm_(used, 5.0)
    optimizer.step()
    return sum(torch.stack([loss.double(), right.double()]) for loss, right, _ in parts)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    # Weight decay on weights only: biases and normalisation scale are one-dimensional.
    decayed = [p for p in model.parameters() if p.ndim > 1]
    free = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.SGD(
        groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0
    )


def _set_learning_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, epoch: float) -> None:
    """Linear warm-up, then half a cosine down to zero."""
    warmup = min(recipe.warmup_epochs, recipe.epochs / 5)
    if epoch < warmup:
        factor = (epoch + 0.1) / (warmup + 0.1)
    else:
        factor = 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / max(recipe.epochs - warmup, 1e-9)))
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate * factor


def epochs_in(checkpoint: Path) -> int:
    """How many epochs the training in a checkpoint has seen; 0 where there is none that can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(checkpoint, framework="numpy") as stream:
            return int((stream.metadata() or {})["epochs"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return 0


def _save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, epochs: int) -> None:
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    for index, parameter in enumerate(_parameters(optimizer)):
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{index}"] = momentum
    save_tensors(path, tensors, {"epochs": str(epochs)})


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load a checkpoint where there is one that fits; the number of epochs it has seen."""
    from safetensors import SafetensorError

    epochs = epochs_in(path)
    if not epochs:
        return 0
    try:
        tensors = load_file(path)
        model.load_state_dict(
            {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        )
    except (SafetensorError, RuntimeError):
        return 0
    for index, parameter in enumerate(_parameters(optimizer)):
        momentum = tensors.get(f"momentum.{index}")
        if momentum is not None:
            restored = torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(momentum)
            optimizer.state[parameter]["momentum_buffer"] = restored
    return epochs


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    for group in optimizer.param_groups:
        yield from group["params"]
