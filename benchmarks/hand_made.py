"""Networks that people pick from the shelf, made of our operators.

Kernels, expansions and gates are those of the papers; expansions between ours are rounded to the next of 1, 3 and 6,
activations are ours (ReLU). Each can be had in two forms:

- "NAME": its operators on a skeleton of ours, read at equal relative depths where the skeleton has another number
  of layers. What is compared then is how a network spends its layers.
- "NAME as published": its own layers, channels, stem and head. It was made for 224 pixels and halves the picture five
  times; of small pictures the earlier halvings are left out, until `LAST_SIZE` pixels remain at the end (as is done
  where these networks are trained on CIFAR), or, with ", stem halved", the stem's is kept and the next ones are left
  out instead.

In both the width is then fitted to the device.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hurricane.space import LayerSpec, SearchSpace, scaled

LAST_SIZE = 4
PUBLISHED = " as published"
STEM_HALVED = ", stem halved"


@dataclass(frozen=True, slots=True)
class Published:
    """A network of a paper. stages : (operators, channels, stride of the first) each."""

    stem_channels: int
    stages: tuple[tuple[tuple[str, ...], int, int], ...]
    head_channels: int
    stem_stride: int = 2

    @property
    def blocks(self) -> tuple[str, ...]:
        """Its operators from the first to the last."""
        return tuple(kind for kinds, _, _ in self.stages for kind in kinds)


NETWORKS: dict[str, Published] = {
    # Sandler et al., arXiv 1801.04381, table 2.
    "MobileNetV2": Published(
        32,
        (
            (("mb_k3_e1",), 16, 1),
            (("mb_k3_e6",) * 2, 24, 2),
            (("mb_k3_e6",) * 3, 32, 2),
            (("mb_k3_e6",) * 4, 64, 2),
            (("mb_k3_e6",) * 3, 96, 1),
            (("mb_k3_e6",) * 3, 160, 2),
            (("mb_k3_e6",), 320, 1),
        ),
        1280,
    ),
    # Howard et al., arXiv 1905.02244, table 1 (large); expansions of 4, 2.5 and 2.3 are read as 3.
    "MobileNetV3-large": Published(
        16,
        (
            (("mb_k3_e1",), 16, 1),
            (("mb_k3_e3",) * 2, 24, 2),
            (("mb_k5_e3_se",) * 3, 40, 2),
            (("mb_k3_e6", *("mb_k3_e3",) * 3), 80, 2),
            (("mb_k3_e6_se",) * 2, 112, 1),
            (("mb_k5_e6_se",) * 3, 160, 2),
        ),
        960,
    ),
    # Ma et al., arXiv 1807.11164, table 5; its max pooling is a part of the stem's stride.
    "ShuffleNetV2": Published(
        24,
        ((("choice_k3",) * 4, 116, 2), (("choice_k3",) * 8, 232, 2), (("choice_k3",) * 4, 464, 2)),
        1024,
        stem_stride=4,
    ),
    # Cai et al., arXiv 1812.00332, the network found for mobile phones.
    "ProxylessNAS-mobile": Published(
        32,
        (
            (("mb_k3_e1",), 16, 1),
            (("mb_k5_e3", "mb_k3_e3"), 32, 2),
            (("mb_k7_e3", "mb_k3_e3", "mb_k5_e3", "mb_k5_e3"), 40, 2),
            (("mb_k7_e6", "mb_k5_e3", "mb_k5_e3", "mb_k5_e3"), 80, 2),
            (("mb_k5_e6", "mb_k5_e3", "mb_k5_e3", "mb_k5_e3"), 96, 1),
            (("mb_k7_e6", "mb_k7_e6", "mb_k7_e3", "mb_k7_e3"), 192, 2),
            (("mb_k7_e6",), 320, 1),
        ),
        1280,
    ),
    # Wu et al., arXiv 1812.03443, FBNet-C; its one skipped block left out.
    "FBNet-C": Published(
        16,
        (
            (("mb_k3_e1",), 16, 1),
            (("mb_k3_e6", "mb_k3_e1", "mb_k3_e1"), 24, 2),
            (("mb_k5_e6", "mb_k5_e3", "mb_k5_e6", "mb_k3_e6"), 32, 2),
            (("mb_k5_e6", "mb_k5_e3", "mb_k5_e6", "mb_k5_e6"), 64, 2),
            (("mb_k5_e6", "mb_k5_e6", "mb_k5_e6", "mb_k5_e3"), 112, 1),
            (("mb_k5_e6",) * 4, 184, 2),
            (("mb_k3_e6",), 352, 1),
        ),
        1984,
    ),
}


NAMES = tuple(f"{table}{form}" for form in ("", PUBLISHED, PUBLISHED + STEM_HALVED) for table in NETWORKS)


def hand_made(name: str, skeleton: SearchSpace, width: float) -> SearchSpace:
    """The network of one of `NAMES` at a width, as a space of one architecture.

    skeleton : our space at that width; the published form takes only its pictures and classes.
    """
    table, published, form = name.partition(PUBLISHED)
    if published:
        size, classes = skeleton.image_size, skeleton.classes
        return as_published(NETWORKS[table], width, size, classes, stem_halved=form == STEM_HALVED)
    return skeleton.narrow([(kind,) for kind in at_depth(NETWORKS[table].blocks, len(skeleton.layers))])


def at_depth(blocks: Sequence[str], layers: int) -> list[str]:
    """The operators of so many layers, read from a table of blocks at equal relative depths."""
    return [blocks[int((layer + 0.5) / layers * len(blocks))] for layer in range(layers)]


def as_published(
    network: Published, width: float, image_size: int, classes: int, *, stem_halved: bool = False
) -> SearchSpace:
    """A network with its own layers at a width (channels rounded to multiples of 8), as a space of one architecture."""
    strides = [network.stem_stride, *(stride for _, _, stride in network.stages)]
    order = sorted(range(len(strides)), key=lambda place: (stem_halved and place == 0, place))
    for place in order:
        while strides[place] > 1 and image_size < LAST_SIZE * math.prod(strides):
            strides[place] //= 2
    stem_stride, *stage_strides = strides
    channels, size = scaled(network.stem_channels, width), -(-image_size // stem_stride)
    stem_channels, layers = channels, []
    for (kinds, stage_channels, _), stage_stride in zip(network.stages, stage_strides, strict=True):
        for position, kind in enumerate(kinds):
            stride = stage_stride if position == 0 else 1
            layer = LayerSpec(channels, scaled(stage_channels, width), stride, size, (kind,))
            layers.append(layer)
            channels, size = layer.cout, -(-size // stride)
    # MobileNetV2 keeps its head where it is made narrower; half of it, as our skeletons do.
    head = scaled(network.head_channels, max(width, 0.5))
    return SearchSpace(tuple(layers), image_size, classes, stem_channels, stem_stride, head)
