"""ONNX files say what the graphs of the operators say: compared with a small reference in numpy."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest

import hurricane as hn
from hurricane import ops
from hurricane.export import Network, onnx_bytes, random_architecture, random_network
from hurricane.ops import OpSpec

KINDS = (*ops.OPERATORS, "skip")
# Shape kept; channels changed; halved; halved at an odd size.
PLACES = ((8, 8, 1, 6), (8, 12, 1, 6), (8, 12, 2, 6), (8, 8, 2, 7))


def reference(network, images):
    """What the network computes, primitive by primitive in float64."""
    x = images.astype(np.float64)
    if network.mean is not None:
        x = (x - np.reshape(network.mean, (1, -1, 1, 1))) / np.reshape(network.std, (1, -1, 1, 1))
    for spec, weights in zip(network.specs, network.weights, strict=True):
        values, remaining = [x], iter(weights)
        for node in ops.graph(spec).nodes:
            values.append(_applied(node, [values[i] for i in node.inputs], remaining))
        x = values[-1]
    return x


def _applied(node, inputs, remaining):
    x = inputs[0]
    match node.op:
        case "conv":
            return _conv(x, *next(remaining), node)
        case "linear":
            weight, bias = next(remaining)
            return x[:, :, 0, 0] @ weight.T.astype(np.float64) + bias
        case "relu":
            return np.maximum(x, 0)
        case "hard_sigmoid":
            return np.clip(x / 6 + 0.5, 0, 1)
        case "hard_swish":
            return x * np.clip(x / 6 + 0.5, 0, 1)
        case "add":
            return x + inputs[1]
        case "mul":
            return x * inputs[1]
        case "concat":
            return np.concatenate(inputs, axis=1)
        case "slice":
            return x[:, node.start : node.start + node.channels]
        case "shuffle":
            return x[:, np.arange(node.channels).reshape(node.groups, -1).T.ravel()]
        case "mean":
            return x.mean(axis=(2, 3), keepdims=True)
    raise AssertionError(node.op)


def _conv(x, weight, bias, node):
    pad = node.kernel // 2
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (node.kernel,) * 2, axis=(2, 3))
    windows = windows[:, :, :: node.stride, :: node.stride]
    each_in, each_out = x.shape[1] // node.groups, node.channels // node.groups
    parts = [
        np.einsum(
            "ncyxij,ocij->noyx",
            windows[:, g * each_in : (g + 1) * each_in],
            weight[g * each_out : (g + 1) * each_out],
        )
        for g in range(node.groups)
    ]
    return np.concatenate(parts, axis=1) + bias[None, :, None, None]


def outcome(network, images):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_bytes(network), options, ["CPUExecutionProvider"])
    return session.run(None, {"images": images})[0]


def agrees(network, batch):
    spec = network.specs[0]
    images = np.random.default_rng(1).standard_normal((batch, spec.cin, spec.size, spec.size))
    images = images.astype(np.float32)
    expected, got = reference(network, images), outcome(network, images)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=2e-5 * max(1.0, np.abs(expected).max()), rtol=0)


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_every_operator_computes_what_its_graph_says(kind, place):
    network = random_network([OpSpec(kind, *place)], np.random.default_rng(0))
    agrees(network, batch=2)


def test_a_whole_network_computes_what_its_graphs_say():
    space = hn.preset("tiny", image_size=20, classes=7, width=0.5, choices=(*KINDS,))
    rng = np.random.default_rng(3)
    for arch in space.random(3, rng):
        agrees(random_architecture(space, arch), batch=3)


class _Primitives:
    """An operator with the primitives that the pool does not use: hard-swish, and slices that leave gaps."""

    kind = "primitives"

    def unsupported(self, spec):
        return None

    def write(self, spec, b):
        x = b.hard_swish(b.input)
        overlapping = b.concat(b.slice(x, 1, 5), b.slice(x, 4, 7))
        thirds = [b.slice(overlapping, start, start + each) for start, each in ((0, 1), (5, 2), (1, 4))]
        whole = b.concat(b.concat(*thirds[:2]), thirds[2])
        b.shuffle(b.conv(whole, spec.cout, kernel=3, groups=1, normed=False), 4)


def test_primitives_outside_the_pool_compute_what_they_say(monkeypatch):
    monkeypatch.setattr(ops.plugins, "load", lambda group: {"primitives": _Primitives()})
    spec = OpSpec("primitives", 8, 12, 1, 5)
    network = random_network([spec], np.random.default_rng(0))
    agrees(network, batch=2)
    kinds = Counter(node.op_type for node in onnx.load_from_string(onnx_bytes(network)).graph.node)
    # Slices with gaps or overlap stay slices; three that share out all channels become one split.
    assert kinds["Slice"] == 2
    assert kinds["Split"] == 1


def test_a_stack_is_its_operator_repeated():
    spec = OpSpec("choicex_se", 8, 8, 1, 6)
    network = random_network([spec] * 3, np.random.default_rng(0))
    agrees(network, batch=2)


def test_a_chain_of_identities_is_a_valid_file_that_hands_its_input_on():
    spec = OpSpec("skip", 4, 4, 1, 5)
    network = random_network([spec, spec], np.random.default_rng(0))
    images = np.random.default_rng(1).random((2, 4, 5, 5), dtype=np.float32)
    onnx.checker.check_model(onnx.load_from_string(onnx_bytes(network)), full_check=True)
    np.testing.assert_array_equal(outcome(network, images), images)


def test_an_identity_at_the_end_leaves_the_value_before_it_as_output():
    specs = [OpSpec("choice_k3", 4, 4, 1, 5), OpSpec("skip", 4, 4, 1, 5)]
    agrees(random_network(specs, np.random.default_rng(0)), batch=2)


@pytest.mark.parametrize(
    "arch", [np.arange(10) * 3, np.full(10, ops.OPERATORS.index("choicex_se"))], ids=["mixed", "shuffles"]
)
def test_files_are_sound_in_names_shapes_and_versions(arch):
    space = hn.preset("tiny", image_size=32, classes=10)
    model = onnx.load_from_string(onnx_bytes(random_architecture(space, arch)))
    onnx.checker.check_model(model, full_check=True)
    names = [name for node in model.graph.node for name in node.output]
    names += [tensor.name for tensor in model.graph.initializer] + ["images"]
    assert len(set(names)) == len(names)
    assert f"layer3.{space.names(arch)[3]}.conv1" in names
    assert {"stem.conv1", "head.conv1", "classifier.mean1"} <= set(names)
    shaped = {info.name for info in (*model.graph.value_info, *model.graph.output)}
    assert {name for node in model.graph.node for name in node.output} == shaped
    assert [entry.version for entry in model.opset_import] == [17]
    assert model.ir_version in (8, 9)


def test_the_shapes_written_down_are_those_that_onnx_infers():
    space = hn.preset("tiny", image_size=32, classes=10)
    for kind in ("mb_k5_e3_se", "choice_k7", "choicex_se"):
        written = onnx.load_from_string(
            onnx_bytes(random_architecture(space, [ops.OPERATORS.index(kind)] * 10))
        )
        stripped = onnx.ModelProto()
        stripped.CopyFrom(written)
        del stripped.graph.value_info[:]
        inferred = onnx.shape_inference.infer_shapes(stripped, strict_mode=True)
        assert _sizes(written) == _sizes(inferred)


def _sizes(model):
    return {
        info.name: [axis.dim_value for axis in info.type.tensor_type.shape.dim][1:]
        for info in model.graph.value_info
    }


def test_only_the_batch_is_open_and_outputs_are_named_by_what_they_are():
    space = hn.preset("tiny", image_size=16, classes=5, width=0.5)
    whole = onnx.load_from_string(onnx_bytes(random_architecture(space, [0] * 10))).graph
    part = onnx.load_from_string(
        onnx_bytes(random_network([OpSpec("mb_k3_e3", 8, 16, 2, 9)], np.random.default_rng(0)))
    ).graph
    assert _signature(whole) == [("images", ["N", 3, 16, 16]), ("logits", ["N", 5])]
    assert _signature(part) == [("images", ["N", 8, 9, 9]), ("features", ["N", 16, 5, 5])]


def _signature(graph):
    return [
        (entry.name, [axis.dim_param or axis.dim_value for axis in entry.type.tensor_type.shape.dim])
        for entry in (*graph.input, *graph.output)
    ]


def test_equal_networks_give_equal_bytes_and_other_weights_other_bytes():
    specs = [OpSpec("choice_k5_se", 8, 8, 1, 6)]
    same = [onnx_bytes(random_network(specs, np.random.default_rng(4))) for _ in range(2)]
    assert same[0] == same[1]
    assert same[0] != onnx_bytes(random_network(specs, np.random.default_rng(5)))


def test_normalisation_stands_before_the_padding_of_the_stem():
    spec = OpSpec("stem", 3, 4, 2, 6)
    network = random_network([spec], np.random.default_rng(0), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    agrees(network, batch=2)
    images = np.random.default_rng(1).random((1, 3, 6, 6), dtype=np.float32)
    plain = Network(network.specs, network.weights)
    assert not np.allclose(outcome(network, images), outcome(plain, images))
