"""TensorFlow Lite files say what their ONNX siblings say, and XNNPACK runs all of them."""

import numpy as np
import onnxruntime
import pytest

import hurricane as hn
from hurricane import ops
from hurricane.devices import open_device
from hurricane.export import (
    Network,
    onnx_bytes,
    random_architecture,
    random_network,
    tflite_bytes,
    tflite_int8_bytes,
)
from hurricane.export.tflite_lowering import lowered
from hurricane.ops import OpSpec

schema = pytest.importorskip(
    "ai_edge_litert.schema_py_generated", reason="needs LiteRT: pip install 'hurricane-nas[litert]'"
)

KINDS = (*ops.OPERATORS, "skip")
# Shape kept; at an odd size; channels changed; halved; halved at an odd size; smaller than a kernel.
PLACES = ((8, 8, 1, 6), (8, 8, 1, 7), (8, 12, 1, 6), (8, 12, 2, 6), (8, 8, 2, 7), (8, 12, 2, 2))
# Of the largest output: rounding in fp32 (1e-6 was seen), 8 bits in every value on the way (0.033 was seen).
ROUNDING, INT8 = 1e-5, 0.06


def inputs(network, batch):
    spec = network.specs[0]
    return np.random.default_rng(1).random((batch, spec.cin, spec.size, spec.size), dtype=np.float32)


def sibling(network, images):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_bytes(network), options, ["CPUExecutionProvider"])
    return session.run(None, {"images": images})[0]


def agrees(network, content, bound, images):
    session = open_device("litert").load(content)
    assert session.outside() == ()
    expected = sibling(network, images)
    scale = max(float(np.abs(expected).max()), 1e-3)
    for batch in (images[:1], images):
        got = session.run(batch)
        assert got.shape == (len(batch), *expected.shape[1:])
        assert got.dtype == np.float32
        assert np.abs(got - expected[: len(batch)]).max() <= bound * scale


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_every_operator_computes_what_its_sibling_does(kind, place):
    network = random_network([OpSpec(kind, *place)], np.random.default_rng(0))
    images = inputs(network, 3)
    agrees(network, tflite_bytes(network), ROUNDING, images)
    agrees(network, tflite_int8_bytes(network, images), INT8, images)


@pytest.mark.parametrize(("preset", "size", "layers"), [("tiny", 20, 10), ("mobile", 64, 20)])
def test_whole_networks_compute_what_their_siblings_do(preset, size, layers):
    space = hn.preset(preset, image_size=size, classes=7, width=0.5, choices=KINDS)
    for arch in space.random(3, np.random.default_rng(3)):
        network = random_architecture(space, arch)
        agrees(network, tflite_bytes(network), 1e-4, inputs(network, 3))


def test_whole_networks_in_int8_follow_their_siblings():
    space = hn.preset("tiny", image_size=32, classes=10, choices=KINDS)
    for arch in space.random(3, np.random.default_rng(3)):
        network = random_architecture(space, arch)
        images = inputs(network, 8)
        # Ten random layers were 0.02 to 0.15 off; ONNX Runtime's own int8 is as far (0.1 to 0.4 after twenty).
        agrees(network, tflite_int8_bytes(network, images), 0.25, images)


class _Primitives:
    """An operator with what the pool does not use: hard-swish, lone activations, slices with gaps, groups."""

    kind = "primitives"

    def unsupported(self, spec):
        return None

    def write(self, spec, b):
        x = b.hard_swish(b.input)
        overlapping = b.concat(b.slice(x, 1, 5), b.slice(x, 4, 7))
        thirds = [b.slice(overlapping, start, start + each) for start, each in ((0, 1), (5, 2), (1, 4))]
        whole = b.concat(b.concat(*thirds[:2]), thirds[2])
        y = b.conv(whole, spec.cout, kernel=3, groups=1, normed=False)
        y = b.relu(b.add(y, b.hard_sigmoid(b.relu(y))))
        y = b.conv(b.shuffle(y, 4), spec.cout, kernel=3, stride=spec.stride, groups=2)
        b.relu(b.mul(y, y))


class _Wide:
    """A depthwise convolution of a kernel in the kind's name, two channels out for each one in."""

    def __init__(self, kernel):
        self.kernel, self.kind = kernel, f"wide{kernel}"

    def unsupported(self, spec):
        return None

    def write(self, spec, b):
        b.relu(b.conv(b.input, spec.cout, self.kernel, spec.stride, groups=spec.cin))


@pytest.fixture
def more_operators(monkeypatch):
    added = [_Primitives(), *(_Wide(kernel) for kernel in (3, 5, 7, 9, 11, 13))]
    monkeypatch.setattr(ops.plugins, "load", lambda group: {each.kind: each for each in added})


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.usefixtures("more_operators")
def test_primitives_outside_the_pool_compute_what_they_say(stride):
    network = random_network([OpSpec("primitives", 8, 12, stride, 5)], np.random.default_rng(0))
    images = inputs(network, 2) * 4 - 2
    agrees(network, tflite_bytes(network), ROUNDING, images)
    agrees(network, tflite_int8_bytes(network, images), INT8, images)


@pytest.mark.parametrize("kernel", [3, 5, 7, 9, 11, 13])
@pytest.mark.parametrize(("stride", "size"), [(1, 8), (2, 8), (2, 9)])
@pytest.mark.usefixtures("more_operators")
def test_depthwise_kernels_beyond_what_xnnpack_has_are_sums_of_smaller_ones(kernel, stride, size):
    network = random_network([OpSpec(f"wide{kernel}", 8, 16, stride, size)], np.random.default_rng(0))
    images = inputs(network, 2)
    agrees(network, tflite_bytes(network), ROUNDING, images)
    agrees(network, tflite_int8_bytes(network, images), INT8, images)
    graph = lowered(network)
    kernels = [each.inputs[1] for each in graph.operations if each.op == "DEPTHWISE_CONV_2D"]
    taps = [int(np.prod(graph.values[name].shape[1:3])) for name in kernels]
    assert sum(taps) == kernel**2
    assert kernel == 13 or max(taps) <= 25


def test_a_stack_and_identities_are_written_too():
    spec = OpSpec("choicex_se", 8, 8, 1, 6)
    identity = OpSpec("skip", 8, 8, 1, 6)
    for specs in ([spec] * 3, [identity, identity], [spec, identity], [identity, spec]):
        network = random_network(specs, np.random.default_rng(0))
        agrees(network, tflite_bytes(network), ROUNDING, inputs(network, 2))
        agrees(network, tflite_int8_bytes(network, inputs(network, 2)), 0.1, inputs(network, 2))


def test_normalisation_stands_before_the_padding_of_the_stem():
    spec = OpSpec("stem", 3, 4, 2, 6)
    network = random_network([spec], np.random.default_rng(0), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    images = inputs(network, 2)
    agrees(network, tflite_bytes(network), ROUNDING, images)
    agrees(network, tflite_int8_bytes(network, images), INT8, images)
    plain = Network(network.specs, network.weights)
    assert not np.allclose(sibling(network, images), sibling(plain, images))


def test_equal_networks_give_equal_bytes_and_other_weights_or_pictures_other_bytes():
    specs = [OpSpec("choice_k5_se", 8, 8, 1, 6)]
    one, same, other = (random_network(specs, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert tflite_bytes(one) == tflite_bytes(same) != tflite_bytes(other)
    assert tflite_int8_bytes(one) == tflite_int8_bytes(same) != tflite_int8_bytes(other)
    images = inputs(one, 2)
    assert tflite_int8_bytes(one, images) == tflite_int8_bytes(same, images)
    assert tflite_int8_bytes(one, images) != tflite_int8_bytes(one, 2 * images)


def test_ranges_come_from_the_calibration():
    network = random_network([OpSpec("mb_k3_e3", 8, 8, 1, 6)], np.random.default_rng(0))
    images = 20 * inputs(network, 3)
    agrees(network, tflite_int8_bytes(network, images), INT8, images)
    clipped = open_device("litert").load(tflite_int8_bytes(network)).run(images)
    assert np.abs(clipped - sibling(network, images)).max() > 0.3 * np.abs(clipped).max()


def test_dead_channels_and_dead_values_are_written_too():
    """What training can leave behind: channels of zeros, biases without weights, a value that is never above 0."""
    spec = OpSpec("mb_k3_e3_se", 8, 8, 1, 6)
    network = random_network([spec], np.random.default_rng(0))
    blocks = [(weight.copy(), bias.copy()) for weight, bias in network.weights[0]]
    for weight, bias in blocks:
        weight[:2], bias[0] = 0, 0
    weight, bias = blocks[0]
    weight[:], bias[:] = 0, -1
    dead = Network((spec,), (tuple(blocks),))
    images = inputs(dead, 2)
    agrees(dead, tflite_bytes(dead), ROUNDING, images)
    agrees(dead, tflite_int8_bytes(dead, images), INT8, images)


def read(content):
    return schema.ModelT.InitFromPackedBuf(content)


@pytest.mark.parametrize("write", [tflite_bytes, tflite_int8_bytes])
def test_a_whole_network_keeps_the_contract_of_delivered_models(write):
    space = hn.preset("tiny", image_size=16, classes=5, width=0.5)
    model = read(write(random_architecture(space, [0] * 10)))
    (graph,) = model.subgraphs
    given, made = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    assert (given.name, list(given.shapeSignature)) == (b"images", [-1, 3, 16, 16])
    assert (made.name, list(made.shapeSignature)) == (b"logits", [-1, 5])
    assert given.type == made.type == schema.TensorType.FLOAT32
    names = [tensor.name for tensor in graph.tensors]
    assert len(set(names)) == len(names)
    assert b"layer3.sep_k3.conv1" in names
    (signature,) = model.signatureDefs
    assert [entry.name for entry in (*signature.inputs, *signature.outputs)] == [b"images", b"logits"]


@pytest.mark.parametrize(("write", "kind"), [(tflite_bytes, "FLOAT32"), (tflite_int8_bytes, "INT8")])
def test_a_part_has_no_conversions_at_its_edges(write, kind):
    model = read(write(random_network([OpSpec("mb_k3_e3", 8, 16, 2, 9)], np.random.default_rng(0))))
    (graph,) = model.subgraphs
    given, made = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    assert (given.name, list(given.shape)) == (b"images_nhwc", [1, 9, 9, 8])
    assert (made.name, list(made.shape)) == (b"features_nhwc", [1, 5, 5, 16])
    assert given.type == made.type == getattr(schema.TensorType, kind)


def test_what_only_moves_numbers_keeps_their_scale():
    space = hn.preset("tiny", image_size=16, classes=5, width=0.5)
    arch = [ops.OPERATORS.index("choice_k7_se")] * 10
    model = read(tflite_int8_bytes(random_architecture(space, arch)))
    (graph,) = model.subgraphs
    moving = {"CONCATENATION", "PAD", "RESHAPE", "SPLIT", "TRANSPOSE"}
    seen = set()
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        (name,) = [
            name for name in vars(schema.BuiltinOperator) if getattr(schema.BuiltinOperator, name) == code
        ]
        if name in moving:
            seen.add(name)
            tensors = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs)]
            integers = [each for each in tensors if each.type == schema.TensorType.INT8]
            scales = {
                (float(each.quantization.scale[0]), int(each.quantization.zeroPoint[0])) for each in integers
            }
            assert len(scales) == 1, name
    assert seen == moving


def test_constants_lie_where_vectors_can_be_read():
    content = tflite_bytes(random_network([OpSpec("mb_k5_e3_se", 8, 12, 2, 7)], np.random.default_rng(0)))
    model = schema.Model.GetRootAsModel(content, 0)
    starts = []
    for number in range(model.BuffersLength()):
        table = model.Buffers(number)
        if table.DataLength():
            offset = table._tab.Offset(4)
            starts.append(table._tab.Vector(offset))
    assert len(starts) > 8
    assert all(start % 16 == 0 for start in starts)
