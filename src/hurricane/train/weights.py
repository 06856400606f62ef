"""Weights in files: safetensors, written whole or not at all, as tensors of the CPU."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hurricane.errors import RunError
from hurricane.runs import writing


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors to a safetensors file; RunError where the disk is full or cannot be written."""
    with writing(path) as scratch:
        try:
            save_file(
                {name: tensor.cpu().contiguous() for name, tensor in tensors.items()},
                scratch,
                metadata=None if metadata is None else dict(metadata),
            )
        except SafetensorError as error:  # carries the system's error as text only
            number = errno.ENOSPC if "os error 28" in str(error) else errno.EIO
            raise OSError(number, os.strerror(number)) from error


def load_weights(path: Path, model: nn.Module) -> None:
    """Give a model the weights of a file that `save_tensors` wrote; RunError where it is missing or damaged."""
    try:
        given = load_file(path)
        model.load_state_dict(given)
        # Operators that share weights must agree about them, or what is loaded last counts.
        if any(not value.equal(given[name]) for name, value in model.state_dict().items()):
            raise RuntimeError("its operators do not share their weights as those of this run do")
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise RunError(
            f"{path} is missing or damaged ({reason}); remove it and run again, which makes it anew"
        ) from error
