"""int8 ONNX files: near the float ones, all integers inside, the same bytes every time."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import hurricane as hn
from hurricane import ops
from hurricane.errors import ModelError
from hurricane.export import Network, onnx_bytes, quantised_onnx_bytes, random_architecture, random_network
from hurricane.ops import OpSpec

# Root mean square of what quantisation adds, as a share of the output's standard deviation; 0.04 was seen.
NOISE = 0.07


def run(content, images):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    return session.run(None, {"images": images})[0]


def noise(network, images, **options):
    expected = run(onnx_bytes(network), images)
    got = run(quantised_onnx_bytes(network, images, **options), images)
    assert got.dtype == np.float32
    return float(np.sqrt(np.mean((got - expected) ** 2)) / expected.std())


def constants(content):
    graph = onnx.load_from_string(content).graph
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def fused(content, tmp_path):
    """Kinds of nodes that ONNX Runtime executes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "executed.onnx")
    onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    return {node.op_type for node in onnx.load(tmp_path / "executed.onnx").graph.node}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", ops.OPERATORS)
def test_every_operator_stays_near_its_float_numbers(kind, stride):
    network = random_network(
        [OpSpec(kind, 8, 16 if stride == 2 else 8, stride, 10)], np.random.default_rng(0)
    )
    images = np.random.default_rng(1).random((4, 8, 10, 10), dtype=np.float32)
    assert noise(network, images) < NOISE
    assert noise(network, images, weight_bits=7) < 1.5 * NOISE


def test_a_whole_network_stays_near_its_float_numbers():
    space = hn.preset("tiny", image_size=32, classes=10)
    images = np.random.default_rng(1).random((8, 3, 32, 32), dtype=np.float32)
    # Random weights, and pictures that look alike: a trained network comes to 0.03.
    assert noise(random_architecture(space, np.arange(10) * 3), images) < 0.3


@pytest.mark.parametrize("kind", ["sep_k7", "mb_k3_e6_se", "choice_k3", "choicex_se"])
def test_onnx_runtime_executes_nothing_in_float_but_edges_and_gates(kind, tmp_path):
    network = random_network([OpSpec(kind, 16, 16, 1, 14)] * 2, np.random.default_rng(0))
    executed = fused(quantised_onnx_bytes(network), tmp_path)
    allowed = {"QuantizeLinear", "DequantizeLinear", "Transpose", "Reshape", "Split", "HardSigmoid"}
    assert {op for op in executed if not op.startswith("QLinear")} <= allowed
    assert "QLinearConv" in executed


def test_input_and_output_are_those_of_the_float_file():
    space = hn.preset("tiny", image_size=16, classes=5, width=0.5)
    network = random_architecture(space, [6] * 10)
    whole, quantised = (onnx.load_from_string(f(network)) for f in (onnx_bytes, quantised_onnx_bytes))
    onnx.checker.check_model(quantised, full_check=True)
    assert whole.graph.input == quantised.graph.input
    assert whole.graph.output == quantised.graph.output
    assert not any(tensor.external_data for tensor in quantised.graph.initializer)
    assert quantised.ByteSize() < whole.ByteSize()


def test_equal_networks_and_pictures_give_equal_bytes_and_leave_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = random_network([OpSpec("choicex_se", 8, 8, 1, 6)], np.random.default_rng(4))
    images = np.random.default_rng(1).random((20, 8, 6, 6), dtype=np.float32)
    assert quantised_onnx_bytes(network, images) == quantised_onnx_bytes(network, images)
    assert quantised_onnx_bytes(network) == quantised_onnx_bytes(network)
    assert quantised_onnx_bytes(network, images) != quantised_onnx_bytes(network, 2 * images)
    assert list(tmp_path.iterdir()) == []


def test_ranges_come_from_all_calibration_pictures_whatever_their_number():
    network = random_network([OpSpec("sep_k3", 4, 4, 1, 6)], np.random.default_rng(0))
    images = np.random.default_rng(1).random((9, 4, 6, 6), dtype=np.float32)
    images[8] *= 100  # alone in its batch
    scale = constants(quantised_onnx_bytes(network, images))["images.scale"]
    assert scale == pytest.approx(images.max() / 255)


def test_weights_of_seven_bits_keep_sums_inside_sixteen():
    network = random_network([OpSpec("mb_k3_e3", 8, 8, 1, 6)], np.random.default_rng(0))
    largest = {}
    for bits in (7, 8):
        found = constants(quantised_onnx_bytes(network, weight_bits=bits))
        weights = [values for name, values in found.items() if name.endswith("weight.quantised")]
        assert all(values.dtype == np.int8 for values in weights)
        largest[bits] = max(int(np.abs(values.astype(int)).max()) for values in weights)
    assert largest == {7: 64, 8: 127}
    assert 2 * 255 * 64 < 2**15


def test_a_channel_that_died_keeps_its_bias():
    spec = OpSpec("skip", 4, 8, 1, 6)
    (((weight, bias),),) = random_network([spec], np.random.default_rng(0)).weights
    weight[0], weight[1] = 1e-12, 0
    bias[0], bias[1] = 0.75, -0.5
    network = Network((spec,), (((weight, bias),),))
    images = np.random.default_rng(1).random((3, 4, 6, 6), dtype=np.float32)
    assert noise(network, images) < NOISE
    got = run(quantised_onnx_bytes(network, images), images)
    np.testing.assert_allclose(got[:, :2].mean(axis=(0, 2, 3)), [0.75, -0.5], atol=0.05)


def test_pictures_that_do_not_fit_and_weights_that_are_no_numbers_are_refused():
    network = random_network([OpSpec("sep_k3", 4, 4, 1, 6)], np.random.default_rng(0))
    for shape in ((2, 3, 6, 6), (0, 4, 6, 6), (2, 4, 7, 6)):
        with pytest.raises(ModelError, match=r"needs \(n, 4, 6, 6\)"):
            quantised_onnx_bytes(network, np.zeros(shape, np.float32))
    network.weights[0][0][0][:] = np.nan
    with pytest.raises(ModelError, match=r"layer0\.sep_k3\.conv1 is not finite"):
        quantised_onnx_bytes(network)


class _Primitives:
    """An operator with the primitives that the pool does not use: hard-swish, and slices that leave gaps."""

    kind = "primitives"

    def unsupported(self, spec):
        return None

    def write(self, spec, b):
        x = b.hard_swish(b.conv(b.input, 8))
        overlapping = b.concat(b.slice(x, 1, 5), b.slice(x, 4, 7))
        b.shuffle(b.relu(b.conv(b.relu(b.add(overlapping, overlapping)), spec.cout, kernel=3)), 4)


def test_primitives_outside_the_pool_are_quantised_too(monkeypatch):
    monkeypatch.setattr(ops.plugins, "load", lambda group: {"primitives": _Primitives()})
    network = random_network([OpSpec("primitives", 8, 12, 1, 5)], np.random.default_rng(0))
    assert noise(network, np.random.default_rng(1).random((4, 8, 5, 5), dtype=np.float32)) < NOISE


def test_a_chain_of_identities_hands_its_input_on():
    network = random_network([OpSpec("skip", 4, 4, 1, 5)] * 2, np.random.default_rng(0))
    images = np.random.default_rng(1).random((2, 4, 5, 5), dtype=np.float32)
    np.testing.assert_array_equal(run(quantised_onnx_bytes(network, images), images), images)
