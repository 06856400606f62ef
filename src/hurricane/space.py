"""Search spaces: which operators each layer may choose from, and the presets.

An architecture is a row of integers: for each searched layer the index into that layer's choices.
Architectures travel in bulk as integer arrays (n, layers). `SearchSpace.specs` lowers one of them to the
tuple of operator specs that is built, timed, exported and counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hurricane import ops
from hurricane.errors import SpaceError
from hurricane.ops import OPERATORS, OpSpec

Archs = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One searched layer: `cin` to `cout` channels, `size` pixels (height and width) in, and its choices."""

    cin: int
    cout: int
    stride: int
    size: int
    choices: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(self.choices))

    def spec(self, choice: str) -> OpSpec:
        """The operator spec of one of its choices."""
        return OpSpec(choice, self.cin, self.cout, self.stride, self.size)


@dataclass(frozen=True)
class SearchSpace:
    """Everything that can be chosen: a stem, searched layers with their choices, and a head.

    Parameters
    ----------
    layers : the searched layers; each takes the channels and pixels that the one before it gives.
    image_size : height and width of the pictures, pixels.
    classes : outputs of the classifier.
    stem_channels, stem_stride : of the 3x3 convolution that receives the picture.
    head_channels : of the 1x1 convolution before pooling and classifier.

    Raises SpaceError where layers do not fit together and OperatorError where a choice does not exist
    or cannot stand at its layer.
    """

    layers: tuple[LayerSpec, ...]
    image_size: int
    classes: int
    stem_channels: int
    stem_stride: int
    head_channels: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        for name in ("image_size", "classes", "stem_channels", "stem_stride", "head_channels"):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < 1:
                raise SpaceError(f"{name} is {value!r}; it must be a whole number of at least 1")
        if not self.layers:
            raise SpaceError("a search space needs at least one searched layer")
        channels, size = self.stem_channels, self.stem.out_size
        for number, layer in enumerate(self.layers):
            if (layer.cin, layer.size) != (channels, size):
                raise SpaceError(
                    f"layer {number} takes {layer.cin} channels at {layer.size} px, "
                    f"but what comes before it gives {channels} channels at {size} px"
                )
            if layer.stride < 1 or layer.cout < 1:
                raise SpaceError(f"layer {number} needs a stride and a width of at least 1")
            if not layer.choices or len(set(layer.choices)) != len(layer.choices):
                raise SpaceError(f"layer {number} needs at least one choice and none of them twice")
            for choice in layer.choices:
                ops.graph(layer.spec(choice))
            channels, size = layer.cout, -(-size // layer.stride)

    @property
    def stem(self) -> OpSpec:
        """Spec of the stem."""
        return OpSpec("stem", 3, self.stem_channels, self.stem_stride, self.image_size)

    @property
    def tail(self) -> tuple[OpSpec, OpSpec]:
        """Specs of the head and the classifier."""
        last = self.layers[-1]
        size = -(-last.size // last.stride)
        head = OpSpec("head", last.cout, self.head_channels, 1, size)
        return head, OpSpec("classifier", self.head_channels, self.classes, 1, size)

    @property
    def fixed_specs(self) -> tuple[OpSpec, ...]:
        """Specs of what every architecture has: stem, head and classifier."""
        return (self.stem, *self.tail)

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of choices at each layer."""
        return tuple(len(layer.choices) for layer in self.layers)

    @property
    def size(self) -> int:
        """Number of architectures."""
        total = 1
        for count in self.counts:
            total *= count
        return total

    def specs(self, indices: Sequence[int] | Archs) -> tuple[OpSpec, ...]:
        """The operators of one architecture in order: stem, one a layer, head, classifier."""
        chosen = zip(self.layers, self.names(indices), strict=True)
        return (self.stem, *(layer.spec(name) for layer, name in chosen), *self.tail)

    def distinct_specs(self) -> tuple[OpSpec, ...]:
        """Every operator spec that occurs in the space, once, in order of appearance."""
        searched = (layer.spec(choice) for layer in self.layers for choice in layer.choices)
        return tuple(dict.fromkeys((*self.fixed_specs, *searched)))

    def names(self, indices: Sequence[int] | Archs) -> tuple[str, ...]:
        """Choice names of one architecture; SpaceError where an index is out of range."""
        row = self.checked(np.asarray(indices)[None])[0]
        return tuple(layer.choices[index] for layer, index in zip(self.layers, row, strict=True))

    def indices(self, names: Sequence[str]) -> tuple[int, ...]:
        """Indices of one architecture given by choice names; SpaceError where a layer lacks its choice."""
        if len(names) != len(self.layers):
            raise SpaceError(f"{len(names)} choices given for {len(self.layers)} layers")
        for number, (layer, name) in enumerate(zip(self.layers, names, strict=True)):
            if name not in layer.choices:
                raise SpaceError(f"layer {number} has no choice {name!r}; it has {', '.join(layer.choices)}")
        return tuple(layer.choices.index(name) for layer, name in zip(self.layers, names, strict=True))

    def checked(self, archs: Any) -> Archs:
        """`archs` as an int64 array (n, layers); SpaceError where shape or range do not fit the space."""
        array = np.asarray(archs)
        if array.ndim != 2 or array.shape[1] != len(self.layers) or array.dtype.kind not in "iu":
            raise SpaceError(
                f"architectures must be an integer array (n, {len(self.layers)}), "
                f"not {array.dtype} of shape {array.shape}"
            )
        array = array.astype(np.int64, copy=False)
        if array.size and (array.min() < 0 or (array >= np.asarray(self.counts)).any()):
            raise SpaceError("an architecture holds an index outside its layer's choices")
        return array

    def random(self, n: int, rng: np.random.Generator) -> Archs:
        """`n` architectures (n, layers), independent, uniform over the whole space."""
        return rng.integers(0, np.asarray(self.counts), size=(n, len(self.layers)))

    def narrow(self, choices: Sequence[Sequence[str]]) -> "SearchSpace":
        """The same skeleton with fewer choices: one sequence of names a layer."""
        if len(choices) != len(self.layers):
            raise SpaceError(f"{len(choices)} lists of choices given for {len(self.layers)} layers")
        for number, (layer, kept) in enumerate(zip(self.layers, choices, strict=True)):
            for name in kept:
                if name not in layer.choices:
                    raise SpaceError(f"layer {number} has no choice {name!r} to keep")
        layers = [
            replace(layer, choices=tuple(kept)) for layer, kept in zip(self.layers, choices, strict=True)
        ]
        return replace(self, layers=tuple(layers))

    def translate(self, archs: Any, source: "SearchSpace") -> Archs:
        """Architectures of `source` as architectures of this space, matched by layer and choice name."""
        archs = source.checked(archs)
        if len(source.layers) != len(self.layers):
            raise SpaceError(f"{len(source.layers)} layers cannot be matched with {len(self.layers)}")
        columns = []
        for number, (theirs, ours) in enumerate(zip(source.layers, self.layers, strict=True)):
            used = np.unique(archs[:, number])
            lookup = np.zeros(len(theirs.choices), dtype=np.int64)
            for index in used:
                name = theirs.choices[index]
                if name not in ours.choices:
                    raise SpaceError(f"layer {number} has no choice {name!r}")
                lookup[index] = ours.choices.index(name)
            columns.append(lookup[archs[:, number]])
        return np.stack(columns, axis=1)

    @cached_property
    def _graphs(self) -> tuple[list[list[ops.Graph]], list[ops.Graph]]:
        """Graphs of each layer's choices, and of what is fixed."""
        searched = [[ops.graph(layer.spec(choice)) for choice in layer.choices] for layer in self.layers]
        return searched, [ops.graph(spec) for spec in self.fixed_specs]

    def macs(self, archs: Any) -> npt.NDArray[np.int64]:
        """Multiply-accumulates of each architecture for one picture: (n, layers) -> (n,)."""
        return self._counted(lambda graph: graph.macs, archs)

    def mixing_macs(self, archs: Any) -> npt.NDArray[np.int64]:
        """Those of them that mix channels, not the depthwise ones: (n, layers) -> (n,)."""
        return self._counted(lambda graph: graph.mixing_macs, archs)

    def mixing_macs_by_layer(self) -> list[npt.NDArray[np.int64]]:
        """Of each choice of each searched layer, those that mix channels: arrays of (choices,)."""
        return [np.array([graph.mixing_macs for graph in layer]) for layer in self._graphs[0]]

    def params(self, archs: Any) -> npt.NDArray[np.int64]:
        """Trained parameters of each architecture: (n, layers) -> (n,)."""
        return self._counted(lambda graph: graph.params, archs)

    def _counted(self, count: Callable[[ops.Graph], int], archs: Any) -> npt.NDArray[np.int64]:
        searched, fixed = self._graphs
        archs = self.checked(archs)
        total = np.full(len(archs), sum(count(graph) for graph in fixed), dtype=np.int64)
        for column, layer in zip(archs.T, searched, strict=True):
            total += np.array([count(graph) for graph in layer])[column]
        return total

    def to_json(self) -> dict[str, Any]:
        """The space as plain values; `from_json` reads them back."""
        return {
            "image_size": self.image_size,
            "classes": self.classes,
            "stem_channels": self.stem_channels,
            "stem_stride": self.stem_stride,
            "head_channels": self.head_channels,
            "layers": [
                {
                    "cin": la.cin,
                    "cout": la.cout,
                    "stride": la.stride,
                    "size": la.size,
                    "choices": list(la.choices),
                }
                for la in self.layers
            ],
        }

    @staticmethod
    def from_json(values: dict[str, Any]) -> "SearchSpace":
        """The space written by `to_json`; SpaceError where it is not one."""
        try:
            layers = tuple(
                LayerSpec(v["cin"], v["cout"], v["stride"], v["size"], tuple(v["choices"]))
                for v in values["layers"]
            )
            return SearchSpace(
                layers=layers,
                image_size=values["image_size"],
                classes=values["classes"],
                stem_channels=values["stem_channels"],
                stem_stride=values["stem_stride"],
                head_channels=values["head_channels"],
            )
        except (KeyError, TypeError) as error:
            raise SpaceError(f"this is not the description of a search space ({error!r})") from error


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A preset before it knows pictures and classes: stages of layers, stem and head.

    stages : (layers, channels, stride of the first layer) of each stage.
    """

    stages: tuple[tuple[int, int, int], ...]
    stem_channels: int
    head_channels: int


SKELETONS = {
    # 4-4-8-4 layers as SPOS; its widths (64, 160, 320, 640) suit shuffle units, half of them suit
    # inverted bottlenecks (METHOD, step 2).
    "mobile": Skeleton(((4, 40, 2), (4, 80, 2), (8, 160, 2), (4, 320, 2)), 16, 1024),
    # For 8 to 64 pixels: 10 layers, 4 to 5 MMAC at 32 pixels (METHOD, first study).
    "tiny": Skeleton(((2, 16, 1), (4, 40, 2), (4, 80, 2)), 16, 192),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """How wide and how deep a preset is drawn: multipliers of its channels and of the layers of each stage."""

    width: float = 1.0
    depth: float = 1.0

    def __str__(self) -> str:
        return f"width {self.width:g}, depth {self.depth:g}"


def preset(
    name: str,
    image_size: int,
    classes: int,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    choices: Sequence[str] = OPERATORS,
) -> SearchSpace:
    """A ready search space: "mobile" (20 layers, for 224 pixels) or "tiny" (10 layers, for 8 to 64 pixels).

    Parameters
    ----------
    image_size : height and width of the pictures, pixels.
    classes : outputs of the classifier.
    width : multiplies every channel count (rounded to multiples of 8, at least 8).
    depth : multiplies the layers of each stage (rounded, at least 1).
    choices : operators at each layer; those that cannot stand at a layer are left out there.

    Raises SpaceError for an unknown name or an impossible size.
    """
    if name not in SKELETONS:
        raise SpaceError(f"there is no preset {name!r}; there are {' and '.join(SKELETONS)}")
    if not 0 < width <= 16 or not 0 < depth <= 16:
        raise SpaceError(f"width and depth must lie above 0 and at most at 16, not {width} and {depth}")
    skeleton = SKELETONS[name]
    stem_channels = scaled(skeleton.stem_channels, width)
    # A picture of 16 pixels or fewer is not halved before the first layer.
    stem_stride = 2 if image_size > 16 else 1
    channels, size = stem_channels, -(-image_size // stem_stride)
    layers = []
    for count, stage_width, first_stride in skeleton.stages:
        for position in range(max(1, round(count * depth))):
            stride = first_stride if position == 0 else 1
            cout = scaled(stage_width, width)
            fitting = [c for c in choices if not ops.unsupported(OpSpec(c, channels, cout, stride, size))]
            layers.append(LayerSpec(channels, cout, stride, size, tuple(fitting)))
            channels, size = cout, -(-size // stride)
    # A narrower network keeps its head: the classifier needs the room (MobileNetV2 does the same).
    head_channels = scaled(skeleton.head_channels, max(width, 0.5))
    return SearchSpace(tuple(layers), image_size, classes, stem_channels, stem_stride, head_channels)


def scaled(channels: int, width: float) -> int:
    """A channel count at a width: a multiple of 8, at least 8."""
    return max(8, int(channels * width / 8 + 0.5) * 8)
