"""LiteRT with XNNPACK: the conformance kit, bad models, batches, and the example beside a delivered model."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hurricane as hn
from hurricane.deliver import Delivered
from hurricane.devices import bench_model, check_device, list_devices, open_device
from hurricane.errors import MissingExtraError, ModelError
from hurricane.export import random_architecture, random_network, tflite_bytes, tflite_file, tflite_int8_bytes
from hurricane.export.tflite_graph import Operation, TfliteGraph, Value
from hurricane.ops import OpSpec
from hurricane.runs import write_json
from hurricane.steps import export as export_step

flatbuffers = pytest.importorskip("flatbuffers", reason="comes with LiteRT")
pytest.importorskip("ai_edge_litert", reason="needs LiteRT: pip install 'hurricane-nas[litert]'")

LITERT = "litert:cpu?threads=1&precision="


@pytest.fixture(params=["fp32", "int8"])
def device(request):
    return open_device(LITERT + request.param)


def model(op="RELU", shape=(1, 4, 4, 2), second=None, **options):
    """The bytes of a model with one operation, on one value or a value and a constant."""
    values = {"x": Value(shape), **({} if second is None else {"c": second}), "y": Value(shape)}
    inputs = ("x",) if second is None else ("x", "c")
    return tflite_file.written(TfliteGraph(values, (Operation(op, inputs, ("y",), options),), "x", "y"))


def test_it_keeps_what_a_device_promises(device):
    check_device(device)


@pytest.mark.parametrize("content", [b"", b"this is no model", b"\0" * 64, b"\x1c\0\0\0TFL3" + b"\xff" * 99])
def test_what_is_no_model_is_an_error_of_one_sentence(device, content):
    with pytest.raises(ModelError, match=r"no model that LiteRT can load") as caught:
        device.load(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [9, 40, 0.3, 0.9])
def test_a_truncated_model_is_an_error(device, kept):
    whole = tflite_bytes(random_network([OpSpec("mb_k3_e3", 8, 8, 1, 8)], np.random.default_rng(0)))
    with pytest.raises(ModelError):
        device.load(whole[: kept if kept > 1 else int(len(whole) * kept)])


def test_a_path_that_cannot_be_read_is_an_error_that_names_it(device, tmp_path):
    for path in (tmp_path / "missing.tflite", tmp_path):
        with pytest.raises(ModelError, match=str(path)):
            device.load(path)


def test_an_operator_that_the_runtime_does_not_have_is_named(device):
    with pytest.raises(ModelError, match="does not have the operator STABLEHLO_CBRT") as caught:
        device.load(model("STABLEHLO_CBRT"))
    assert "\n" not in str(caught.value)


def test_an_operator_that_is_written_wrongly_is_named(device):
    for op, second in (
        ("ADD", None),
        ("TRANSPOSE", Value((4,), np.array([0, 9, -7, 1], np.int32), "int32")),
        ("CONV_2D", Value((2, 3, 3, 5), np.zeros((2, 3, 3, 5), np.float32))),
    ):
        with pytest.raises(ModelError, match=f"does not take this {op}"):
            device.load(model(op, second=second))


def test_a_model_of_open_size_is_refused_with_its_sizes(device):
    schema = tflite_file.litert("schema_py_generated")
    opened = schema.ModelT.InitFromPackedBuf(model(shape=(1, 1, 1, 2)))
    for tensor in opened.subgraphs[0].tensors:
        tensor.shapeSignature = [-1, -1, -1, 2]
    builder = flatbuffers.Builder(1024)
    builder.Finish(opened.Pack(builder), b"TFL3")
    with pytest.raises(ModelError, match=r"open sizes \(\? x \? x \? x 2\)"):
        device.load(bytes(builder.Output()))


@pytest.mark.parametrize("kind", ["stem", "sep_k3"])
def test_pictures_of_another_size_are_an_error_and_the_next_ones_run(device, kind):
    network = random_network([OpSpec(kind, 3, 8, 2, 8)], np.random.default_rng(0))
    session = device.load(device.export(network))
    images = np.random.default_rng(1).random((2, 3, 8, 8), dtype=np.float32)
    before = session.run(images)
    for shape in ((1, 3, 9, 9), (1, 4, 8, 8), (0, 3, 8, 8), (3, 8, 8)):
        with pytest.raises(ModelError, match=r"does not run on \(") as caught:
            session.run(np.zeros(shape, np.float32))
        assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(session.run(images), before)


def test_any_batch_runs_and_the_batch_of_one_is_what_is_timed(device):
    network = random_network([OpSpec("stem", 3, 8, 2, 8)], np.random.default_rng(0))
    session = device.load(device.export(network))
    images = np.random.default_rng(1).random((5, 3, 8, 8), dtype=np.float32)
    alone = np.concatenate([session.run(images[i : i + 1]) for i in range(5)])
    for batch in (5, 2, 1, 4):
        np.testing.assert_allclose(session.run(images[:batch]), alone[:batch], atol=1e-5)
        assert len(session.time(2)) == 2
        assert session._shapes == [(1, 3, 8, 8)]


def test_any_model_can_be_measured_whatever_its_inputs(device, tmp_path):
    path = tmp_path / "relu.tflite"
    path.write_bytes(model())
    assert bench_model(device, path, rounds=2, seconds=0.002).median_ms > 0


def test_what_xnnpack_leaves_out_is_named():
    session = open_device("litert").load(model("RELU_0_TO_1"))
    assert session.outside() == ("RELU_0_TO_1",)
    assert open_device("litert").load(model("RELU")).outside() == ()


def test_threads_do_not_change_what_is_computed():
    content = tflite_bytes(random_network([OpSpec("mb_k7_e6_se", 16, 16, 1, 14)], np.random.default_rng(0)))
    images = np.random.default_rng(1).random((2, 16, 14, 14), dtype=np.float32)
    one, two = (open_device(f"litert?threads={n}").load(content).run(images) for n in (1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)


def test_loading_writes_nothing_between_a_commands_words():
    code = (
        "import numpy as np; from hurricane.devices import open_device;"
        "from hurricane.export import random_network; from hurricane.ops import OpSpec;"
        "device = open_device('litert');"
        "network = random_network([OpSpec('sep_k3', 4, 4, 1, 4)], np.random.default_rng(0));"
        "device.load(device.export(network)).time(1)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (told.stdout, told.stderr) == ("", "")


def test_without_its_package_it_says_what_to_install(monkeypatch):
    for name in ("interpreter", "schema_py_generated"):
        monkeypatch.setitem(sys.modules, f"ai_edge_litert.{name}", None)
    device = open_device("litert")
    network = random_network([OpSpec("sep_k3", 4, 4, 1, 4)], np.random.default_rng(0))
    for deed in (device.facts, lambda: device.export(network), lambda: tflite_int8_bytes(network)):
        with pytest.raises(MissingExtraError, match=r"hurricane-nas\[litert\]"):
            deed()
    status = next(status for status in list_devices() if status.name.startswith("litert"))
    assert not status.available


@pytest.mark.parametrize("write", [tflite_bytes, tflite_int8_bytes])
def test_the_example_beside_a_model_labels_pictures_as_predict_does(write, tmp_path):
    space = hn.preset("tiny", image_size=16, classes=5, width=0.5)
    network = random_architecture(space, [0, 12, 5, 30, 1, 2, 3, 4, 20, 7])
    (tmp_path / "model.tflite").write_bytes(write(network))
    write_json(tmp_path / "labels.json", ["ant", "bee", "cat", "dog", "eel"])
    write_json(tmp_path / "preprocess.json", export_step.preprocess(16))
    example = Path(export_step.__file__).with_name(export_step.EXAMPLES[".tflite"])
    shutil.copy(example, tmp_path / "example.py")
    pictures = []
    for number in range(4):
        pictures.append(tmp_path / f"{number}.png")
        pixels = np.random.default_rng(number).integers(0, 256, (20, 31, 3), np.uint8)
        Image.fromarray(pixels // (number + 1)).save(pictures[-1])
    command = [sys.executable, str(tmp_path / "example.py"), *map(str, pictures)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    delivered = Delivered.open(tmp_path)
    expected = []
    for picture in pictures:
        told = delivered.predict(picture)
        expected.append(f"{picture}: {told['label']} ({told['scores'][told['label']]:.1%})")
    assert done.stdout.splitlines() == expected


def test_bench_works_from_the_command_line(tmp_path):
    path = tmp_path / "part.tflite"
    path.write_bytes(
        tflite_int8_bytes(random_network([OpSpec("sep_k7", 8, 8, 1, 8)], np.random.default_rng(0)))
    )
    command = [sys.executable, "-m", "hurricane", "bench", str(path), "--device", "litert:cpu", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["device"] == LITERT + "fp32"
