"""int8 and OpenVINO from pictures to a verified model; export tells quantisation from rubbish."""

import importlib.util
import json

import numpy as np
import pytest
from PIL import Image

import hurricane as hn
from hurricane import config as config_file
from hurricane import pipeline
from hurricane.deliver import Delivered
from hurricane.devices import open_device
from hurricane.errors import ModelError
from hurricane.export import Network
from hurricane.nn import FixedNetwork
from hurricane.steps import export
from hurricane.steps.job import SilentView

NEEDS_OPENVINO = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs hurricane-nas[openvino]"
)
INT8 = "onnxruntime:cpu?threads=1&precision=int8"
QUICK = [
    'space.choices=["sep_k3", "mb_k3_e3", "choice_k3_se"]',
    "space.width=0.5",
    "specialize.keep=2",
    "supernet.epochs=1",
    "search.evaluations=8",
    "search.random_evaluations=4",
    "search.measured=2",
    "retrain.epochs=4",
    "run.threads=1",
]


def trained(seed=0):
    """A network with weights of its own, and the same for the exporter."""
    space = hn.preset("tiny", image_size=8, classes=4, width=0.5, choices=("sep_k3_se",))
    import torch

    torch.manual_seed(seed)
    network = FixedNetwork(space, (0.5,) * 3, (0.25,) * 3).eval()
    whole = Network(space.specs((0,) * len(space.layers)), network.folded(), (0.5,) * 3, (0.25,) * 3)
    return network, whole


PICTURES = np.random.default_rng(0).random((32, 3, 8, 8), dtype=np.float32)


def test_what_quantisation_costs_is_told_and_is_small():
    network, whole = trained()
    device = open_device(INT8)
    told = export._roughly(network, device.load(device.export(whole, PICTURES)), PICTURES)
    assert told["noise"] < 0.3
    assert 0 <= told["agreement"] <= 1


def test_a_quantised_file_of_something_else_is_not_exported():
    network, _ = trained()
    device = open_device(INT8)
    other = device.load(device.export(trained(seed=1)[1], PICTURES))
    with pytest.raises(ModelError, match=r"quantisation adds .* use precision=fp32"):
        export._roughly(network, other, PICTURES)


@pytest.mark.slow
@pytest.mark.parametrize(
    "device",
    [
        INT8,
        pytest.param("openvino:cpu?threads=1&precision=fp32", marks=NEEDS_OPENVINO),
        pytest.param("openvino:cpu?threads=1&precision=int8", marks=NEEDS_OPENVINO),
    ],
)
def test_a_run_on_a_real_device_ends_with_a_model_verified_there(device, tmp_path):
    base = config_file.checked({"device": device, "max_ms": 20.0})
    job = pipeline.start(
        tmp_path / "run", config_file.with_settings(base, QUICK), SilentView(), command="test"
    )
    assert pipeline.run(job) == 0
    verdict = json.loads(job.run.path("verify", "verdict.json").read_text())
    assert verdict["device"] == device
    assert verdict["top1"] > 0.5
    assert verdict["top1"] == pytest.approx(verdict["top1_torch"], abs=0.05)
    record = job.run.record("export")
    assert record["difference"] < 1e-3
    assert record.get("agreement", 1) > 0.9
    Image.fromarray(np.zeros((9, 12, 3), np.uint8)).save(tmp_path / "a.png")
    assert Delivered.open(job.run.folder).predict(tmp_path / "a.png")["device"] == device
