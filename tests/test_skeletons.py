"""The skeletons that benchmarks compare start at ours."""

import pytest
import skeletons

import hurricane as hn


def test_the_first_is_the_preset():
    ours = hn.preset("tiny", image_size=32, classes=10, width=1.2)
    expected = ours.narrow([(skeletons.OPERATOR,) for _ in ours.layers])
    assert skeletons.shaped("skeleton: as it is", 1.2, 32, 10) == expected


@pytest.mark.parametrize("name", skeletons.NAMES)
def test_the_others_differ_from_it_and_have_nine_or_ten_layers(name):
    space = skeletons.shaped(name, 1.0, 32, 10)
    assert len(space.layers) in (9, 10)
    assert (space == skeletons.shaped("skeleton: as it is", 1.0, 32, 10)) == (name == "skeleton: as it is")
