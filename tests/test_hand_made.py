"""The networks from papers that benchmarks compare with are what the papers say."""

import pytest

from benchmarks.hand_made import LAST_SIZE, NETWORKS, as_published, at_depth

# Multiply-accumulates and parameters in millions, as the papers tell them.
PAPERS = {
    "MobileNetV2": (300, 3.4),
    "ShuffleNetV2": (146, 2.3),
    "ProxylessNAS-mobile": (320, 4.1),
    "FBNet-C": (375, 5.5),
}


@pytest.mark.parametrize("name", PAPERS)
def test_a_published_network_has_the_size_that_its_paper_tells(name):
    space = as_published(NETWORKS[name], 1.0, 224, 1000)
    arch = [[0] * len(space.layers)]
    macs, params = PAPERS[name]
    assert space.macs(arch)[0] / 1e6 == pytest.approx(macs, rel=0.05)
    assert space.params(arch)[0] / 1e6 == pytest.approx(params, rel=0.05)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("stem_halved", [False, True])
@pytest.mark.parametrize("image_size", [16, 32, 64, 224])
def test_small_pictures_are_halved_less_often(name, stem_halved, image_size):
    space = as_published(NETWORKS[name], 0.5, image_size, 10, stem_halved=stem_halved)
    *_, head, _ = space.specs([0] * len(space.layers))
    assert head.size == max(LAST_SIZE, image_size // 32)
    assert stem_halved <= (space.stem_stride > 1)


def test_blocks_are_read_at_equal_relative_depths():
    assert at_depth("abcd", 2) == ["b", "d"]
    assert at_depth("ab", 4) == ["a", "a", "b", "b"]
