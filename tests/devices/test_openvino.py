"""OpenVINO on the CPU, for real: numbers, integer kernels, refusals; GPU and NPU up to "no such device"."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

import hurricane as hn
from hurricane import ops
from hurricane.devices import bench_model, check_device, list_devices, open_device
from hurricane.errors import DeviceError, ModelError
from hurricane.export import onnx_bytes, random_architecture, random_network
from hurricane.ops import OpSpec

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs hurricane-nas[openvino]"
)
FLOAT, INTEGER = "openvino:cpu?threads=1&precision=fp32", "openvino:cpu?threads=1&precision=int8"
# Root mean square of what quantisation adds, as a share of the output's standard deviation; 0.04 was seen.
NOISE = 0.07


def outcome(network, images):
    return open_device("onnxruntime").load(onnx_bytes(network)).run(images)


def noise(device, network, images):
    expected = outcome(network, images)
    got = device.load(device.export(network, images)).run(images)
    return float(np.sqrt(np.mean((got - expected) ** 2)) / expected.std())


def kernels(session):
    """Precision of every convolution as it is executed."""
    executed = session._request.get_compiled_model().get_runtime_model().get_ordered_ops()
    notes = [node.get_rt_info() for node in executed]
    return {note["runtimePrecision"].value for note in notes if note["layerType"].value == "Convolution"}


@pytest.mark.parametrize("kind", ops.OPERATORS)
def test_every_operator_gives_the_numbers_of_onnx_runtime(kind):
    images = np.random.default_rng(1).random((2, 8, 10, 10), dtype=np.float32)
    for stride in (1, 2):
        network = random_network(
            [OpSpec(kind, 8, 16 if stride == 2 else 8, stride, 10)], np.random.default_rng(0)
        )
        expected, device = outcome(network, images), open_device(FLOAT)
        got = device.load(device.export(network)).run(images)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
        assert noise(open_device(INTEGER), network, images) < NOISE


def test_a_whole_network_gives_the_numbers_of_onnx_runtime():
    space = hn.preset("tiny", image_size=32, classes=10)
    images = np.random.default_rng(1).random((8, 3, 32, 32), dtype=np.float32)
    network = random_architecture(space, np.arange(10) * 3)
    expected, device = outcome(network, images), open_device(FLOAT)
    got = device.load(device.export(network)).run(images)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert noise(open_device(INTEGER), network, images) < 0.3  # random weights, and pictures that look alike


@pytest.mark.parametrize("kind", ["sep_k7", "mb_k3_e6_se", "choice_k3", "choicex_se"])
def test_int8_convolutions_run_as_integers_and_fp32_ones_as_floats(kind):
    network = random_network([OpSpec(kind, 16, 16, 1, 14)] * 2, np.random.default_rng(0))
    for name, allowed in ((FLOAT, {"f32"}), (INTEGER, {"u8", "i8"})):
        device = open_device(name)
        found = kernels(device.load(device.export(network)))
        assert found
        assert found <= allowed


def test_float32_is_not_computed_in_bf16_where_the_processor_has_it():
    session = open_device(FLOAT).load(
        onnx_bytes(random_network([OpSpec("head", 8, 8, 1, 4)], np.random.default_rng(0)))
    )
    compiled = session._request.get_compiled_model()
    assert str(compiled.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'float32'>"
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1


def test_names_are_written_out_and_facts_name_the_unit():
    assert open_device("openvino").name == open_device("openvino:cpu").name == FLOAT
    device = open_device("openvino?precision=int8&threads=2")
    assert device.name == "openvino:cpu?threads=2&precision=int8"
    facts = device.facts()
    assert (facts["runtime"], facts["unit"], facts["threads"], facts["precision"]) == (
        "OpenVINO",
        "cpu",
        2,
        "int8",
    )
    assert facts["unit_name"]


@pytest.mark.parametrize(("unit", "driver"), [("gpu", "OpenCL"), ("npu", "NPU driver")])
def test_a_unit_that_is_not_here_is_said_with_those_that_are(unit, driver):
    status = next(status for status in list_devices() if status.name.startswith(f"openvino:{unit}"))
    if status.available:
        check_device(open_device(status.name))
        return
    with pytest.raises(DeviceError, match=f"no such device as openvino:{unit} here.*{driver}.*finds CPU"):
        open_device(f"openvino:{unit}?precision=int8")
    assert "no such device" in status.reason


def test_nothing_is_reported_to_the_makers_of_openvino():
    code = (
        "import sys; from hurricane.devices import open_device; open_device('openvino').facts();"
        "print('openvino' in sys.modules, [m for m in sys.modules if m.startswith('openvino_telemetry')])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "True []"


def test_files_of_openvino_s_own_format_can_be_measured(tmp_path):
    device = open_device(FLOAT)
    device.facts()  # openvino is imported by it, without its reports
    import openvino

    network = random_network([OpSpec("sep_k3", 8, 8, 1, 8)], np.random.default_rng(0))
    (tmp_path / "model.onnx").write_bytes(onnx_bytes(network))
    openvino.save_model(openvino.Core().read_model(tmp_path / "model.onnx"), tmp_path / "model.xml")
    assert bench_model(device, tmp_path / "model.xml", rounds=2, seconds=0.002).median_ms > 0
    (tmp_path / "model.xml").write_text("<net/>")
    with pytest.raises(ModelError, match=r"no model .* OpenVINO"):
        device.load(tmp_path / "model.xml")
