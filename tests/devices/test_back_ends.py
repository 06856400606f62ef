"""All back ends: the conformance kit, bad models, and the simulated roofline."""

import importlib.util
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import hurricane as hn
from hurricane.devices import bench_model, check_device, open_device
from hurricane.errors import ModelError
from hurricane.export import onnx_bytes, random_network
from hurricane.ops import OpSpec

BACK_ENDS = ("onnxruntime:cpu?threads=1", "simulated:cpu?seed=3")
NEEDS_OPENVINO = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs hurricane-nas[openvino]"
)
DEVICES = (
    *BACK_ENDS,
    "onnxruntime:cpu?precision=int8",
    pytest.param("openvino:cpu", marks=NEEDS_OPENVINO),
    pytest.param("openvino:cpu?precision=int8", marks=NEEDS_OPENVINO),
)
QUIET = "simulated:cpu?jitter=0"
FLOAT = TensorProto.FLOAT


@pytest.fixture(params=DEVICES)
def device(request):
    return open_device(request.param)


def model(op="Relu", shape=("N", 2, 4, 4), inputs=("x",), domain="", element=FLOAT):
    """The bytes of a model with one node."""
    node = helper.make_node(op, list(inputs), ["y"], name="only", domain=domain)
    entries = [helper.make_tensor_value_info(name, element, shape) for name in inputs]
    graph = helper.make_graph([node], "g", entries, [helper.make_tensor_value_info("y", element, shape)])
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def test_it_keeps_what_a_device_promises(device):
    check_device(device)


def test_the_simulated_device_computes_what_the_real_one_does():
    network = random_network([OpSpec("choice_k5_se", 8, 8, 1, 6)], np.random.default_rng(0))
    images = np.random.default_rng(1).random((2, 8, 6, 6), dtype=np.float32)
    outputs = [open_device(name).load(onnx_bytes(network)).run(images) for name in BACK_ENDS]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("content", [b"", b"this is no model", b"\x00" * 64, b"\x08\x08"])
def test_what_is_no_model_is_an_error_of_one_sentence(device, content):
    with pytest.raises(ModelError, match=r"no .*model") as caught:
        device.load(content)
    assert "\n" not in str(caught.value)


def test_a_truncated_model_is_an_error(device):
    whole = onnx_bytes(random_network([OpSpec("mb_k3_e3", 8, 8, 1, 8)], np.random.default_rng(0)))
    with pytest.raises(ModelError):
        device.load(whole[: len(whole) // 2])


def test_a_path_that_cannot_be_read_is_an_error_that_names_it(device, tmp_path):
    for path in (tmp_path / "missing.onnx", tmp_path):
        with pytest.raises(ModelError, match=str(path)):
            device.load(path)
        with pytest.raises(ModelError, match=str(path)):
            bench_model(device, path)


@pytest.mark.parametrize("runtime", ["onnxruntime", pytest.param("openvino", marks=NEEDS_OPENVINO)])
@pytest.mark.parametrize(("op", "domain"), [("Frobnicate", ""), ("Acme", "com.acme")])
def test_an_operator_that_the_runtime_does_not_have_is_named(op, domain, runtime):
    with pytest.raises(ModelError, match=rf"does not have the operator \S*{op}\b(?!-)"):
        open_device(runtime).load(model(op, domain=domain))


@pytest.mark.parametrize("shape", [("N", 3, "H", "W"), ("N", 3, None, 4)])
def test_a_model_of_open_size_is_refused_with_its_sizes(device, shape):
    with pytest.raises(ModelError, match="fixed size"):
        device.load(model(shape=shape))


def test_any_model_can_be_measured_whatever_its_inputs(device, tmp_path):
    path = tmp_path / "two.onnx"
    for element in (FLOAT, TensorProto.INT32):
        path.write_bytes(model("Add", shape=("N", 5), inputs=("a", "b"), element=element))
        samples = bench_model(device, str(path), rounds=2, seconds=0.002)
        assert samples.median_ms > 0
    with pytest.raises(ModelError, match="a, b"):
        device.load(path).run(np.zeros((1, 5), np.float32))


def test_pictures_of_another_size_are_an_error_that_says_what_came(device):
    session = device.load(model())
    with pytest.raises(ModelError, match=r"\(1, 3, 4, 4\)") as caught:
        session.run(np.zeros((1, 3, 4, 4), np.float32))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("runtime", ["onnxruntime", pytest.param("openvino", marks=NEEDS_OPENVINO)])
def test_weights_kept_beside_the_model_are_found(tmp_path, runtime):
    network = random_network([OpSpec("mb_k3_e6", 16, 16, 1, 8)], np.random.default_rng(0))
    whole = onnx.load_from_string(onnx_bytes(network))
    path = tmp_path / "apart.onnx"
    onnx.save_model(whole, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    images = np.random.default_rng(1).random((1, 16, 8, 8), dtype=np.float32)
    device = open_device(runtime)
    np.testing.assert_array_equal(device.load(path).run(images), device.load(onnx_bytes(network)).run(images))


def test_importing_devices_loads_no_runtime():
    code = (
        "import sys, hurricane.devices;"
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'openvino', 'PIL') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def once_ms(device, *specs):
    network = random_network(specs, np.random.default_rng(0))
    return device.load(device.export(network)).time(1)[0]


def test_a_simulated_latency_is_the_roofline_worked_out_by_hand():
    device = open_device("simulated?gflops=2&gbps=1&overhead_us=7&jitter=0")
    compute = once_ms(device, OpSpec("skip", 64, 128, 1, 16))
    assert compute == pytest.approx(0.007 + 2 * 64 * 128 * 16**2 / 2e9 * 1e3)
    # One channel: 2 operations a value, but 4 bytes in and 4 out for each.
    moving = once_ms(device, OpSpec("skip", 1, 2, 1, 100))
    assert moving == pytest.approx(0.007 + 4 * (100**2 * 3 + 2 + 2) / 1e9 * 1e3)


def test_simulated_operators_add_up_to_their_network():
    device = open_device("simulated?overhead_us=0&jitter=0")
    specs = (
        OpSpec("mb_k3_e3_se", 8, 8, 1, 8),
        OpSpec("choice_k3", 8, 16, 2, 8),
        OpSpec("sep_k5", 16, 16, 1, 4),
    )
    assert once_ms(device, *specs) == pytest.approx(sum(once_ms(device, spec) for spec in specs))


def test_simulated_times_follow_from_seed_and_structure_alone():
    specs = [OpSpec("choice_k3_se", 8, 8, 1, 6)]
    device, other = open_device("simulated?seed=1"), open_device("simulated?seed=2")
    light, heavy = (random_network(specs, np.random.default_rng(seed)) for seed in (0, 1))
    session = device.load(device.export(light))
    first = session.time(10)
    session.time(3)
    open_device("simulated?seed=1").load(device.export(heavy)).time(5)
    assert session.time(10) == first
    assert session.time(20)[:10] == first
    assert device.load(device.export(heavy)).time(10) == first
    assert other.load(other.export(light)).time(10) != first
    assert 0.001 < np.std(first) / np.mean(first) < 0.1


def test_simulated_jitter_belongs_to_the_structure_not_to_names():
    device = open_device("simulated?overhead_us=0")

    def noise(spec):
        network = random_network([spec], np.random.default_rng(0))
        times = np.array(device.load(device.export(network)).time(20))
        quiet = open_device("simulated?overhead_us=0&jitter=0")
        return times / quiet.load(quiet.export(network)).time(1)[0]

    sep, twin, different = (noise(OpSpec(kind, 8, 8, 1, 6)) for kind in ("sep_k3", "mb_k3_e1", "sep_k3_se"))
    np.testing.assert_array_equal(sep, twin)
    assert np.abs(sep - different).max() > 1e-3


def test_a_simulated_model_without_shapes_is_worked_out_by_inference():
    network = random_network([OpSpec("choicex_se", 8, 16, 2, 9)], np.random.default_rng(0))
    content = onnx_bytes(network)
    stripped = onnx.load_from_string(content)
    del stripped.graph.value_info[:]
    device = open_device(QUIET)
    assert device.load(stripped.SerializeToString()).time(3) == device.load(content).time(3)


def test_threads_and_weights_do_not_change_what_is_computed():
    network = random_network([OpSpec("mb_k5_e6_se", 16, 16, 1, 14)], np.random.default_rng(0))
    images = np.random.default_rng(1).random((2, 16, 14, 14), dtype=np.float32)
    one, two = (open_device(f"onnxruntime?threads={n}").load(onnx_bytes(network)) for n in (1, 2))
    np.testing.assert_allclose(one.run(images), two.run(images), rtol=1e-4, atol=1e-4)


class _Forgetful:
    """A device that is right in everything but one thing."""

    def __init__(self, **wrong):
        self._right, self._wrong = open_device("simulated"), wrong

    def __getattr__(self, name):
        return self._wrong.get(name, getattr(self._right, name))


class _Session:
    def __init__(self, right, **wrong):
        self._right, self._wrong = right, wrong

    def __getattr__(self, name):
        return self._wrong.get(name, getattr(self._right, name))


def _loads_with(**wrong):
    return lambda content: _Session(open_device("simulated").load(content), **wrong)


def _first_channels(images):
    """Logits that depend on the pictures, and on nothing that the network computes."""
    return images[:, 0, 0, :5].copy()


_NUMBERS = iter(range(1000))


def _exported(calibration):
    network = random_network(
        [OpSpec("stem", 3, 8, 2, 16), _HEAD], np.random.default_rng(0), (0.5,) * 3, (0.25,) * 3
    )
    return onnx_bytes(network) if calibration is None else str(next(_NUMBERS)).encode()


_HEAD = OpSpec("classifier", 8, 5, 1, 8)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "simulated"}, "name must open the same device"),
        ({"facts": lambda: {"backend": "x"}}, "facts lack unit"),
        ({"suffix": "onnx"}, "dot"),
        ({"load": _loads_with(time=lambda runs: [1.0] * (runs + 1))}, "7 values"),
        ({"load": _loads_with(time=lambda runs: [0.0] * runs)}, "takes time"),
        ({"load": _loads_with(run=lambda images: np.zeros((len(images), 4), np.float32))}, r"\(3, 5\)"),
        (
            {"load": _loads_with(run=lambda images: np.ones((len(images), 5), np.float32))},
            "different pictures",
        ),
        ({"load": _loads_with(run=_first_channels)}, "what the network computes"),
        ({"export": lambda network, calibration=None: _exported(calibration)}, "same calibration"),
        ({"unsupported": lambda spec: ""}, "None or a reason"),
    ],
)
def test_the_kit_finds_what_is_wrong_with_a_device(wrong, said):
    with pytest.raises(AssertionError, match=said):
        check_device(_Forgetful(**wrong))


def test_normalisation_is_part_of_what_is_timed():
    space = hn.preset("tiny", image_size=16, classes=4, width=0.5, choices=("sep_k3",))
    network = random_network(space.specs([0] * 10), np.random.default_rng(0), (0.5,) * 3, (0.25,) * 3)
    device = open_device(QUIET)
    plain = replace(network, mean=None, std=None)
    assert device.load(device.export(network)).time(1) > device.load(device.export(plain)).time(1)
