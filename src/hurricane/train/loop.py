"""The training loop: single-path supernets and single networks are trained by the same few lines.

SPOS (Guo et al.) trains one uniformly drawn path a step; a fixed network is a supernet with one path.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from hurricane.errors import RunError
from hurricane.nn import Supernet
from hurricane.space import Archs
from hurricane.train.batches import Labels, Pictures, steps_per_epoch, training_batches

PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train: epochs over the pictures, and stochastic gradient descent with a cosine schedule."""

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
    goes on sees the same pictures and paths as one that was not.
    on_epoch : told after each epoch that this call trains.
    on_step : told the number of pictures after each step.
    """
    model.to(memory_format=torch.channels_last)
    optimizer = _optimizer(model, recipe)
    first = _resume(checkpoint, model, optimizer) if checkpoint is not None else 0
    steps = steps_per_epoch(len(labels), recipe.batch_size)
    for number in range(first, recipe.epochs):
        rng = np.random.default_rng((recipe.seed, number))
        started, total_loss, correct, seen = time.perf_counter(), 0.0, 0, 0
        paths = draw_paths(steps, rng)
        model.train()
        batches = training_batches(pictures, labels, recipe.batch_size, flip=recipe.flip, rng=rng)
        for step, (images, targets) in enumerate(batches):
            _set_learning_rate(optimizer, recipe, number + step / steps)
            loss, logits = _step(model, optimizer, images, targets, paths[step].tolist(), recipe)
            total_loss += loss * len(targets)
            correct += int((logits.argmax(1) == targets).sum())
            seen += len(targets)
            if on_step is not None:
                on_step(len(targets))
        if not math.isfinite(total_loss):
            raise RunError(
                f"training diverged in epoch {number + 1} (the loss is {total_loss}); "
                f"lower the learning rate, now {recipe.learning_rate}"
            )
        if checkpoint is not None:
            _save(checkpoint, model, optimizer, number + 1)
        if on_epoch is not None:
            seconds = time.perf_counter() - started
            on_epoch(Epoch(number + 1, seen, total_loss / seen, correct / seen, seconds))


def _step(
    model: Supernet,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    targets: Tensor,
    path: Sequence[int],
    recipe: Recipe,
) -> tuple[float, Tensor]:
    # Gradients of unused paths stay None, so neither momentum nor weight decay moves them.
    optimizer.zero_grad(set_to_none=True)
    with autocast(recipe.precision):
        logits = model(images, path)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
    loss.backward()
    nn.utils.clip_grad_norm_((p for p in model.parameters() if p.grad is not None), 5.0)
    optimizer.step()
    return float(loss.detach()), logits.detach()


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
    tensors = {f"model.{key}": value.contiguous() for key, value in model.state_dict().items()}
    for index, parameter in enumerate(_parameters(optimizer)):
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{index}"] = momentum.contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".part")
    save_file(tensors, scratch, metadata={"epochs": str(epochs)})
    scratch.replace(path)


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
