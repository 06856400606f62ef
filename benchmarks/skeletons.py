"""Other skeletons for the same budget: `mb_k3_e6` at each layer, layers, channels and pixels spent in other ways.

Each is named "skeleton: ..." by what it does otherwise than the preset `tiny`; the width is fitted to the device. What
is compared is where a network of a given latency should have its layers, its channels and its pixels.
"""

from hand_made import Published, as_published

from hurricane.space import SearchSpace

OPERATOR = "mb_k3_e6"
PREFIX = "skeleton: "


def skeleton(
    *stages: tuple[int, int, int], stem: int = 16, stem_stride: int = 2, head: int = 192
) -> Published:
    """A skeleton. stages : (layers, channels, stride of the first) each."""
    return Published(
        stem,
        tuple(((OPERATOR,) * layers, channels, stride) for layers, channels, stride in stages),
        head,
        stem_stride,
    )


SKELETONS = {
    "as it is": skeleton((2, 16, 1), (4, 40, 2), (4, 80, 2)),
    "8 pixels to the end": skeleton((2, 16, 1), (4, 40, 2), (4, 80, 1)),
    "the stem not halved": skeleton((2, 16, 2), (4, 40, 2), (4, 80, 2), stem_stride=1),
    "the stem not halved, a thin start": skeleton((1, 16, 2), (4, 40, 2), (4, 80, 2), stem=8, stem_stride=1),
    "wide late": skeleton((2, 16, 1), (4, 40, 2), (4, 120, 2)),
    "wide early": skeleton((2, 24, 1), (4, 40, 2), (4, 56, 2)),
    "deep late": skeleton((1, 16, 1), (3, 40, 2), (6, 80, 2)),
    "one layer at 16 pixels": skeleton((1, 16, 1), (4, 48, 2), (5, 80, 2)),
    "no layer at 16 pixels": skeleton((5, 40, 2), (5, 80, 2), stem=24),
    "one size": skeleton((1, 16, 1), (9, 48, 2)),
    "patches of 4": skeleton((5, 48, 1), (5, 96, 2), stem=32, stem_stride=4),
    "a head of 512": skeleton((2, 16, 1), (4, 40, 2), (4, 80, 2), head=512),
}
NAMES = tuple(f"{PREFIX}{name}" for name in SKELETONS)


def shaped(name: str, width: float, image_size: int, classes: int) -> SearchSpace:
    """The network of one of `NAMES` at a width, as a space of one architecture."""
    return as_published(SKELETONS[name.removeprefix(PREFIX)], width, image_size, classes)
