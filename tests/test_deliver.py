"""A delivered model runs on what it was made for, or where that is not here, on what runs its file anywhere."""

import numpy as np
import pytest
from PIL import Image

import hurricane as hn
from hurricane.deliver import Delivered
from hurricane.devices import open_device
from hurricane.errors import ModelError
from hurricane.export import random_architecture
from hurricane.runs import write_json
from hurricane.steps.export import preprocess

INT8 = "onnxruntime:cpu?threads=1&precision=int8"


@pytest.fixture
def folder(tmp_path):
    space = hn.preset("tiny", image_size=8, classes=3, width=0.5)
    content = open_device(INT8).export(random_architecture(space, [0] * len(space.layers)))
    (tmp_path / "model.onnx").write_bytes(content)
    write_json(tmp_path / "labels.json", ["a", "b", "c"])
    Image.fromarray(np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)).save(tmp_path / "picture.png")
    return tmp_path


def made_for(folder, device):
    write_json(folder / "preprocess.json", {**preprocess(8), **({"device": device} if device else {})})
    return folder


def test_a_model_runs_on_the_device_that_it_was_made_for(folder):
    delivered = Delivered.open(made_for(folder, INT8))
    told = delivered.predict(folder / "picture.png")
    assert told["device"] == delivered.device == INT8
    assert sum(told["scores"].values()) == pytest.approx(1)


@pytest.mark.parametrize("device", [None, "myboard:npu?clock=800", "onnxruntime:tpu"])
def test_a_model_whose_device_is_not_here_runs_on_onnx_runtime(folder, device):
    there = Delivered.open(made_for(folder, INT8)).predict(folder / "picture.png")
    here = Delivered.open(made_for(folder, device)).predict(folder / "picture.png")
    assert here["device"] == "onnxruntime:cpu?threads=1&precision=fp32"
    assert here["scores"] == there["scores"]


def test_a_model_of_openvino_runs_without_openvino(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    delivered = Delivered.open(made_for(folder, "openvino:cpu?precision=int8"))
    assert delivered.device.startswith("onnxruntime:cpu")


def test_a_file_that_only_its_own_device_runs_says_so(folder):
    (folder / "model.onnx").rename(folder / "model.bin")
    with pytest.raises(ModelError, match=r"\.bin file cannot run here without myboard:npu"):
        Delivered.open(made_for(folder, "myboard:npu"))
    with pytest.raises(ModelError, match=r"\.bin file cannot run here"):
        Delivered.open(made_for(folder, INT8))
