"""Networks to export: random weights of a sane size, and chains that fit together."""

import numpy as np
import pytest

import hurricane as hn
from hurricane import ops
from hurricane.devices import open_device
from hurricane.errors import ModelError, SpaceError
from hurricane.export import Network, export_architecture, onnx_bytes, random_architecture, random_network
from hurricane.ops import OpSpec


def test_random_weights_hold_as_many_numbers_as_the_graph_counts():
    for kind in (*ops.OPERATORS, "skip", "stem", "head", "classifier"):
        spec = OpSpec(kind, 8, 12, 1, 6)
        graph = ops.graph(spec)
        weights = random_network([spec], np.random.default_rng(0)).weights[0]
        normed = sum(node.channels for node in graph.nodes if node.op == "conv" and node.normed)
        # A batch normalisation has scale and shift; folded in, only a bias remains.
        assert sum(w.size + b.size for w, b in weights) == graph.params - normed
        assert all(w.dtype == b.dtype == np.float32 for w, b in weights)


@pytest.mark.parametrize("kind", ["sep_k7_se", "mb_k7_e6", "mb_k3_e6_se", "choice_k3", "choicex_se"])
def test_values_neither_explode_nor_fade_through_twenty_random_layers(kind):
    space = hn.preset("mobile", image_size=32, classes=10, width=0.5, choices=(kind,))
    session = open_device("onnxruntime:cpu").load(onnx_bytes(random_architecture(space, [0] * 20)))
    logits = session.run(np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32))
    assert np.isfinite(logits).all()
    assert 1e-3 < np.abs(logits).max() < 1e6


def test_operators_that_do_not_follow_on_one_another_are_refused():
    one, other = OpSpec("sep_k3", 8, 16, 2, 8), OpSpec("sep_k3", 16, 16, 1, 8)
    with pytest.raises(ModelError, match="cannot follow"):
        random_network([one, other], np.random.default_rng(0))
    classifier = OpSpec("classifier", 8, 8, 1, 1)
    with pytest.raises(ModelError, match="cannot follow"):
        random_network([classifier, classifier], np.random.default_rng(0))


def test_weights_of_another_shape_are_refused_with_both_shapes():
    network = random_network([OpSpec("sep_k3", 8, 8, 1, 8)], np.random.default_rng(0))
    (weight, bias), project = network.weights[0]
    with pytest.raises(ModelError, match=r"\(8, 1, 3, 3\).*\(8, 9\)"):
        Network(network.specs, (((weight.reshape(8, 9), bias), project),))
    with pytest.raises(ModelError, match="weights for 1 were given"):
        Network(network.specs, ((project,),))
    with pytest.raises(ModelError, match="at least one operator"):
        Network((), ())


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0.5,) * 3, None), (None, (0.25,) * 3), ((0.5,) * 3, (0.25, 0.0, 0.25)), ((0.5,), (0.25,))],
)
def test_half_a_normalisation_is_refused(mean, std):
    with pytest.raises(ModelError, match="mean and std"):
        random_network([OpSpec("stem", 3, 4, 2, 8)], np.random.default_rng(0), mean, std)


def test_an_architecture_is_exported_as_it_would_be_shipped(tmp_path):
    space = hn.preset("tiny", image_size=16, classes=4, width=0.5)
    path = tmp_path / "model.onnx"
    export_architecture(space, [5] * 10, path)
    session = open_device("onnxruntime:cpu").load(path)
    assert session.run(np.zeros((2, 3, 16, 16), np.float32)).shape == (2, 4)
    with pytest.raises(SpaceError):
        export_architecture(space, [32] * 10, path)
