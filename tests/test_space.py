"""Search spaces: what fits together, what is counted, what is refused."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hurricane as hn
from hurricane import ops
from hurricane.errors import OperatorError, SpaceError


def small_space(choices=("sep_k3", "mb_k3_e3", "choice_k3")):
    layers = (
        hn.LayerSpec(8, 8, 1, 8, choices),
        hn.LayerSpec(8, 16, 2, 8, choices),
        hn.LayerSpec(16, 16, 1, 4, (*choices, "skip")),
    )
    return hn.SearchSpace(
        layers=layers, image_size=8, classes=10, stem_channels=8, stem_stride=1, head_channels=32
    )


def test_the_mobile_preset_is_the_papers_skeleton():
    space = hn.preset("mobile", image_size=224, classes=1000)
    assert len(space.layers) == 20
    assert space.size == 32**20
    assert [layer.size for layer in space.layers if layer.stride == 2] == [112, 56, 28, 14]


@pytest.mark.parametrize("image_size", [8, 16, 28, 32, 64])
@pytest.mark.parametrize("width", [0.25, 1.0, 2.0])
def test_the_tiny_preset_takes_8_to_64_pixels_at_any_width(image_size, width):
    space = hn.preset("tiny", image_size=image_size, classes=10, width=width)
    assert len(space.layers) == 10
    assert all(layer.size >= 1 for layer in space.layers)
    assert len(space.specs(space.random(1, np.random.default_rng(0))[0])) == 13


def test_width_and_depth_scale_a_preset():
    narrow = hn.preset("tiny", image_size=32, classes=10, width=0.5)
    deep = hn.preset("tiny", image_size=32, classes=10, depth=2.0)
    assert narrow.layers[-1].cout == 40
    assert len(deep.layers) == 20


def test_layers_that_do_not_fit_together_are_refused():
    with pytest.raises(SpaceError, match=r"layer 1 takes 9 channels.*gives 8 channels at 8 px"):
        hn.SearchSpace(
            layers=(hn.LayerSpec(8, 8, 1, 8, ("sep_k3",)), hn.LayerSpec(9, 8, 1, 8, ("sep_k3",))),
            image_size=8,
            classes=2,
            stem_channels=8,
            stem_stride=1,
            head_channels=8,
        )


def test_a_choice_that_does_not_exist_is_refused():
    with pytest.raises(OperatorError, match="no operator 'sep_k4'"):
        small_space(("sep_k4",))


@pytest.mark.parametrize("size", [0, 32.5, 32.0, "32"])
def test_a_size_that_is_no_whole_number_is_refused(size):
    layer = hn.LayerSpec(8, 8, 1, 32, ("sep_k3",))
    with pytest.raises(SpaceError, match="whole number"):
        hn.SearchSpace((layer,), size, 2, stem_channels=8, stem_stride=1, head_channels=8)


@pytest.mark.parametrize("bad", [[[0, 0]], [[0, 0, 9]], [[-1, 0, 0]], [[0.5, 0, 0]]])
def test_architectures_that_do_not_fit_are_refused(bad):
    with pytest.raises(SpaceError):
        small_space().checked(bad)


def test_names_and_indices_are_each_others_inverse():
    space = small_space()
    for arch in space.random(20, np.random.default_rng(1)):
        assert space.indices(space.names(arch)) == tuple(arch)


def test_an_unknown_choice_name_is_refused_with_those_that_exist():
    with pytest.raises(SpaceError, match=r"layer 0 has no choice 'skip'; it has sep_k3"):
        small_space().indices(["skip", "sep_k3", "sep_k3"])


def test_counts_of_a_network_are_the_sum_of_its_operators():
    space = small_space()
    arch = space.random(1, np.random.default_rng(2))
    graphs = [ops.graph(spec) for spec in space.specs(arch[0])]
    assert space.macs(arch)[0] == sum(graph.macs for graph in graphs)
    assert space.mixing_macs(arch)[0] == sum(graph.mixing_macs for graph in graphs)
    assert space.params(arch)[0] == sum(graph.params for graph in graphs)
    searched = zip(space.mixing_macs_by_layer(), space.layers, strict=True)
    assert all(
        list(counts) == [ops.graph(layer.spec(name)).mixing_macs for name in layer.choices]
        for counts, layer in searched
    )


def test_a_space_survives_being_written_and_read():
    space = small_space()
    assert hn.SearchSpace.from_json(json.loads(json.dumps(space.to_json()))) == space


def test_what_is_no_space_is_refused():
    with pytest.raises(SpaceError, match="not the description"):
        hn.SearchSpace.from_json({"layers": 3})


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_translation_to_a_narrowing_and_back_keeps_the_architecture(seed):
    space, rng = small_space(), np.random.default_rng(seed)
    kept = [[c for c in layer.choices if rng.random() < 0.6] or [layer.choices[0]] for layer in space.layers]
    narrow = space.narrow([list(reversed(names)) for names in kept])
    archs = narrow.random(5, rng)
    wide = space.translate(archs, narrow)
    assert [space.names(a) for a in wide] == [narrow.names(a) for a in archs]
    assert (narrow.translate(wide, space) == archs).all()


def test_an_unknown_preset_is_refused():
    with pytest.raises(SpaceError, match="no preset 'huge'"):
        hn.preset("huge", image_size=32, classes=2)
