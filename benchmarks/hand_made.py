"""Networks that people pick from the shelf, as operators of our pool from the first layer to the last.

Kernels, expansions and gates are those of the papers; expansions between ours are rounded to the next of 1, 3 and 6,
activations are ours (ReLU). A table that has another number of blocks than a skeleton has layers is read at equal
relative depths, and the skeleton's width is then fitted to the device: what is compared is how a network spends its
layers, not the resolution and the data that it was made for.
"""

from collections.abc import Sequence

BLOCKS: dict[str, tuple[str, ...]] = {
    # Sandler et al., arXiv 1801.04381, table 2.
    "MobileNetV2": ("mb_k3_e1", *("mb_k3_e6",) * 16),
    # Howard et al., arXiv 1905.02244, table 1 (large); expansions of 4, 2.5 and 2.3 are read as 3.
    "MobileNetV3-large": (
        "mb_k3_e1",
        *("mb_k3_e3",) * 2,
        *("mb_k5_e3_se",) * 3,
        "mb_k3_e6",
        *("mb_k3_e3",) * 3,
        *("mb_k3_e6_se",) * 2,
        *("mb_k5_e6_se",) * 3,
    ),
    # Ma et al., arXiv 1807.11164, table 5.
    "ShuffleNetV2": ("choice_k3",) * 16,
    # Cai et al., arXiv 1812.00332, the network found for mobile phones.
    "ProxylessNAS-mobile": (
        "mb_k3_e1",
        *("mb_k5_e3", "mb_k3_e3"),
        *("mb_k7_e3", "mb_k3_e3", "mb_k5_e3", "mb_k5_e3"),
        *("mb_k7_e6", "mb_k5_e3", "mb_k5_e3", "mb_k5_e3"),
        *("mb_k5_e6", "mb_k5_e3", "mb_k5_e3", "mb_k5_e3"),
        *("mb_k7_e6", "mb_k7_e6", "mb_k7_e3", "mb_k7_e3"),
        "mb_k7_e6",
    ),
    # Wu et al., arXiv 1812.03443, FBNet-C; its one skipped block left out.
    "FBNet-C": (
        "mb_k3_e1",
        *("mb_k3_e6", "mb_k3_e1", "mb_k3_e1"),
        *("mb_k5_e6", "mb_k5_e3", "mb_k5_e6", "mb_k3_e6"),
        *("mb_k5_e6", "mb_k5_e3", "mb_k5_e6", "mb_k5_e6"),
        *("mb_k5_e6", "mb_k5_e6", "mb_k5_e6", "mb_k5_e3"),
        *("mb_k5_e6",) * 4,
        "mb_k3_e6",
    ),
}


def at_depth(blocks: Sequence[str], layers: int) -> list[str]:
    """The operators of so many layers, read from a table of blocks at equal relative depths."""
    return [blocks[int((layer + 0.5) / layers * len(blocks))] for layer in range(layers)]
