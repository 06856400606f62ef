"""Export: networks as files that runtimes load, written from the graphs that torch modules are built from too."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hurricane.export.network import Network, random_network
from hurricane.export.onnx_file import onnx_bytes
from hurricane.export.quantised_onnx import quantised_onnx_bytes
from hurricane.export.tflite_file import tflite_bytes
from hurricane.export.tflite_quantised import tflite_int8_bytes
from hurricane.export.weights import BlockWeights, NodeWeights, random_weights
from hurricane.space import Archs, SearchSpace

__all__ = [
    "BlockWeights",
    "Network",
    "NodeWeights",
    "export_architecture",
    "onnx_bytes",
    "quantised_onnx_bytes",
    "random_architecture",
    "random_network",
    "random_weights",
    "tflite_bytes",
    "tflite_int8_bytes",
]

# Any mean and std cost the same; these bring [0, 1] to the range of a trained network's input.
_MEAN, _STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def random_architecture(space: SearchSpace, indices: Sequence[int] | Archs) -> Network:
    """One whole network with random weights, always the same ones, and the normalisation inside.

    indices : one choice a layer. Raises SpaceError where they do not fit the space.
    """
    return random_network(space.specs(indices), np.random.default_rng(0), _MEAN, _STD)


def export_architecture(space: SearchSpace, indices: Sequence[int] | Archs, path: str | Path) -> None:
    """Write one whole network with random weights to an ONNX file, as it would be shipped.

    indices : one choice a layer. Raises SpaceError where they do not fit the space.
    """
    Path(path).write_bytes(onnx_bytes(random_architecture(space, indices)))
