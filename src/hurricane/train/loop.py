"""The training loop: single-path supernets and single networks are trained by the same few lines.

SPOS (Guo et al.) trains one uniformly drawn path a step; a fixed network is a supernet with one path.

Each batch is shared out to one-thread workers whose gradients are added up. OpenMP's own threads are not used: as soon
as anything else runs on a core, their barriers wait for each other (measured on two cores: 14 pictures a second with
two OpenMP threads and a busy neighbour, 800 with one).
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
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
from hurricane.train.weights import save_tensors

PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train: epochs over the pictures, and stochastic gradient descent with a cosine schedule.

    workers : threads that share each batch; batch normalisation sees a worker's share.
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
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch came to: mean loss, share of training pictures recognised, and its seconds."""

    number: int
    pictures: int
    loss: float
    accuracy: float
    seconds: float


PathDraw = Callable[[int, np.random.Generator], Archs]
"""Paths for one epoch: (steps, generator) -> (steps, layers)."""


def train(
    model: Supernet,
    pictures: Pictures,
    labels: Labels,
    recipe: Recipe,
    draw_paths: PathDraw,
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> None:
    """Train `model` in place, one path a step; picks up at the last whole epoch in `checkpoint`.

    Randomness comes from the seed and the number of the epoch alone, so a run that was killed and
    goes on sees the same pictures and paths as one that was not. Running statistics of batch normalisation are
    left alone: `scoring.recalibrate` computes them afterwards.
    on_epoch : told after each epoch that this call trains.
    on_step : told the number of pictures after each step.
    """
    model.to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0  # workers would race for the running statistics
    optimizer = _optimizer(model, recipe)
    first = _resume(checkpoint, model, optimizer) if checkpoint is not None else 0
    with ThreadPoolExecutor(recipe.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for number in range(first, recipe.epochs):
            epoch = _epoch(model, optimizer, pictures, labels, recipe, draw_paths, number, pool, on_step)
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
    pool: ThreadPoolExecutor,
    on_step: Callable[[int], None] | None,
) -> Epoch:
    rng = np.random.default_rng((recipe.seed, number))
    steps = steps_per_epoch(len(labels), recipe.batch_size)
    started, total_loss, correct, seen = time.perf_counter(), 0.0, 0, 0
    paths = draw_paths(steps, rng)
    model.train()
    batches = training_batches(pictures, labels, recipe.batch_size, flip=recipe.flip, rng=rng)
    for step, (images, targets) in enumerate(batches):
        _set_learning_rate(optimizer, recipe, number + step / steps)
        loss, right = _step(model, optimizer, images, targets, paths[step].tolist(), recipe, pool)
        total_loss += loss
        correct += right
        seen += len(targets)
        if on_step is not None:
            on_step(len(targets))
    return Epoch(number + 1, seen, total_loss / seen, correct / seen, time.perf_counter() - started)


def _step(
    model: Supernet,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    targets: Tensor,
    path: Sequence[int],
    recipe: Recipe,
    pool: ThreadPoolExecutor,
) -> tuple[float, int]:
    """One step; the summed loss, and how many pictures were recognised."""
    # Gradients of unused paths stay None, so neither momentum nor weight decay moves them.
    optimizer.zero_grad(set_to_none=True)
    used = [parameter for block in model.blocks(path) for parameter in block.parameters()]

    def share(images: Tensor, targets: Tensor) -> tuple[float, int, tuple[Tensor, ...]]:
        with autocast(recipe.precision):
            logits = model(images, path).float()
        loss = F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing, reduction="sum")
        gradients = torch.autograd.grad(loss, used)
        return float(loss.detach()), int((logits.detach().argmax(1) == targets).sum()), gradients

    # Batch normalisation needs at least two pictures in each share.
    shares = max(1, min(recipe.workers, len(targets) // 2))
    parts = list(pool.map(share, images.tensor_split(shares), targets.tensor_split(shares)))
    for parameter, *gradients in zip(used, *(part[2] for part in parts), strict=True):
        total = gradients[0]
        for gradient in gradients[1:]:
            total = total + gradient
        parameter.grad = total / len(targets)
    nn.utils.clip_grad_norm_(used, 5.0)
    optimizer.step()
    return sum(part[0] for part in parts), sum(part[1] for part in parts)


def autocast(precision: str) -> contextlib.AbstractContextManager[Any]:
    """bf16 autocast on the CPU for "bf16", nothing for "fp32"."""
    if precision == "bf16":
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return contextlib.nullcontext()


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


def _save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, epochs: int) -> None:
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    for index, parameter in enumerate(_parameters(optimizer)):
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{index}"] = momentum
    save_tensors(path, tensors, {"epochs": str(epochs)})


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load a checkpoint where there is one that fits; the number of epochs it has seen."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return 0
    try:
        with safe_open(path, framework="pt") as stream:
            epochs = int((stream.metadata() or {})["epochs"])
        tensors = load_file(path)
        model.load_state_dict(
            {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        )
    except (SafetensorError, KeyError, RuntimeError, ValueError):
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
