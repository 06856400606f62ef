"""Where training and scoring run, the place: this machine's CPU, or a CUDA GPU.

A place is a word of torch's, "cpu" or "cuda:N". It has nothing to do with the target device, on which latency is
measured. Models are moved to the place for a training and back to the CPU after it, so that nobody else has to know.
"""

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hurricane.errors import ConfigError, RunError

CPU = "cpu"


def chosen(trainer: str) -> str:
    """The place that the setting `run.trainer` asks for: "auto", "cpu", "cuda" or "cuda:N".

    "auto" is the first CUDA GPU where torch sees one and can use it, else the CPU. ConfigError where a GPU is asked for
    that is not here or cannot be used.
    """
    gpus = _gpus()
    if trainer == "cpu" or (trainer == "auto" and (not gpus or unusable("cuda:0"))):
        return CPU
    number = int(trainer.partition(":")[2] or 0)
    if number >= gpus:
        seen = f"cuda:0 to cuda:{gpus - 1}" if gpus > 1 else "cuda:0 only" if gpus else "no CUDA GPU"
        raise ConfigError(
            f"run.trainer is {trainer}, but torch sees {seen} here; give --set run.trainer=auto or cpu"
        )
    place = f"cuda:{number}"
    if reason := unusable(place):
        raise ConfigError(
            f"run.trainer is {trainer}, but torch cannot use {place} ({reason}); give --set run.trainer=cpu"
        )
    return place


def passed_over(trainer: str) -> str:
    """Why "auto" is the CPU although torch sees a GPU; nothing where that is not so."""
    return unusable("cuda:0") if trainer == "auto" and _gpus() else ""


@cache
def unusable(place: str) -> str:
    """Why a GPU that torch sees cannot train, or nothing: a small convolution there and back, tried once.

    torch also sees GPUs that it was not built for, and tells so only when it computes something.
    """
    try:
        # Without random numbers: initial weights follow from the seed, whenever this is tried.
        weights = torch.ones(4, 3, 3, 3, device=place, requires_grad=True)
        loss = F.conv2d(torch.ones(2, 3, 8, 8, device=place), weights).sum()
        torch.autograd.grad(loss, weights)[0].sum().item()
    except Exception as error:
        return next(iter(str(error).splitlines()), "") or type(error).__name__
    return ""


def _gpus() -> int:
    """How many CUDA GPUs torch sees."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def named(place: str) -> str:
    """The place in words: with the name of the GPU where it is one."""
    return f"{place} ({torch.cuda.get_device_name(place)})" if _on_cuda(place) else place


def workers_at(place: str, workers: int) -> int:
    """Workers that share the work: as many as asked for on the CPU, one on a GPU, which is parallel itself."""
    return workers if place == CPU else 1


@contextlib.contextmanager
def placed(model: nn.Module, place: str) -> Iterator[None]:
    """The model on the place, channels last in memory; on the CPU again at the end, also where that is an exception.

    The exception wins: a GPU that fails does not give the model back, and what it says then is of no use.
    """
    if _on_cuda(place):
        torch.backends.cudnn.deterministic = True  # equal seeds, equal weights
    try:
        with within_memory(place):
            model.to(place, memory_format=torch.channels_last)
            yield
    except BaseException:
        with contextlib.suppress(Exception):
            model.to(CPU)
        raise
    model.to(CPU)


@contextlib.contextmanager
def within_memory(place: str) -> Iterator[None]:
    """RunError that says what to do where a GPU's memory is too small for what is done meanwhile."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RunError(
            f"the memory of {place} is too small for this; lower supernet.batch_size, retrain.batch_size or "
            f"search.rank_pictures, or give --set run.trainer=cpu"
        ) from error


def place_of(model: nn.Module) -> str:
    """Where a model is now."""
    return str(next(model.parameters()).device)


def moved(tensor: Tensor, place: str) -> Tensor:
    """A tensor on the place: itself where it is there, else copied, to CUDA from pinned memory and without waiting."""
    if _on_cuda(place) and tensor.device.type == CPU:
        tensor = tensor.pin_memory()
    return tensor.to(place, non_blocking=True)


def autocast(precision: str, place: str) -> contextlib.AbstractContextManager[Any]:
    """bf16 autocast for "bf16" where the place can, nothing for "fp32" and on GPUs without bf16."""
    if precision == "bf16" and (place == CPU or (_on_cuda(place) and _has_bf16(place))):
        return torch.autocast(torch.device(place).type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def _has_bf16(place: str) -> bool:
    with torch.cuda.device(place):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _on_cuda(place: str) -> bool:
    return torch.device(place).type == "cuda"
