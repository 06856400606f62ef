"""A network in TensorFlow Lite's terms: operations on named values. `tflite_lowering` makes it from a network.

`tflite_quantised` rewrites its values in int8, `tflite_file` writes it as the bytes of a file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

IMAGES, LOGITS = "images", "logits"
# Parts of a network, as they are profiled, hand over what the next part takes: no transposition at their edges.
CHANNELS_LAST = "_nhwc"
FEATURES_IN, FEATURES_OUT = f"images{CHANNELS_LAST}", f"features{CHANNELS_LAST}"

Shape = tuple[int, ...]
Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Quantisation:
    """How integers stand for numbers: (integer - zero_point) * scales.

    scales : one, or one for each index along `axis`.
    """

    scales: npt.NDArray[np.float32]
    zero_point: int = 0
    axis: int = 0


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor. shape: with a batch of 1 in front where it is computed; constant: its content, else None."""

    shape: Shape
    constant: Array | None = None
    dtype: str = "float32"
    quantisation: Quantisation | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the schema, as in "CONV_2D", on values by name; options: fields of its table."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Mapping[str, int | bool | list[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TfliteGraph:
    """Operations in order of execution, from the value `input` to the value `output`."""

    values: Mapping[str, Value]
    operations: tuple[Operation, ...]
    input: str
    output: str
