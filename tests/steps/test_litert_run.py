"""The whole line on LiteRT: the delivered .tflite file keeps the budget and labels as `hurricane predict` does."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from hurricane import config as config_file
from hurricane import pipeline
from hurricane.deliver import Delivered
from hurricane.devices import open_device
from hurricane.steps.job import SilentView

pytest.importorskip("ai_edge_litert", reason="needs LiteRT: pip install 'hurricane-nas[litert]'")

QUICK = [
    'space.choices=["sep_k3", "mb_k3_e3_se", "choice_k3", "sep_k7"]',
    "space.width=0.5",
    "specialize.keep=3",
    "supernet.epochs=1",
    "search.evaluations=8",
    "search.random_evaluations=4",
    "search.measured=4",
    "retrain.epochs=4",
    "run.threads=1",
]


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "lost"), [("fp32", 0.005), ("int8", 0.03)])
def test_a_run_on_digits_delivers_a_file_that_is_as_good_as_torch(precision, lost, tmp_path):
    # Every network is faster than 20 ms on anything: what is tested is the line, not this machine.
    device = f"litert:cpu?threads=1&precision={precision}"
    base = config_file.checked({"device": device, "max_ms": 20.0})
    job = pipeline.start(
        tmp_path / "run", config_file.with_settings(base, QUICK), SilentView(), command="test"
    )
    assert pipeline.run(job) == 0
    verdict = json.loads(job.run.path("verify", "verdict.json").read_text())
    assert verdict["device"] == device
    assert verdict["within"] is True
    assert verdict["model"] == "export/model.tflite"
    assert verdict["top1"] == pytest.approx(verdict["top1_torch"], abs=lost)
    assert open_device(device).load(job.run.path("export", "model.tflite")).outside() == ()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    example = [sys.executable, str(job.run.path("export", "example.py")), str(tmp_path / "a.png")]
    done = subprocess.run(example, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    predicted = Delivered.open(job.run.folder).predict(tmp_path / "a.png")
    assert done.stdout.split(": ")[1].split(" (")[0] == predicted["label"]
