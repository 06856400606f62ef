"""Export: the trained winner as one self-contained file for the device's runtime, compared with torch."""

from pathlib import Path

import numpy as np
import torch

from hurricane.devices import Pictures
from hurricane.errors import ModelError
from hurricane.export import Network
from hurricane.nn import FixedNetwork
from hurricane.runs import digest, write_json, write_text, writing
from hurricane.steps import retrain
from hurricane.steps.job import Job
from hurricane.train.batches import tensor_of

NAME = "export"
# Largest difference of a logit, relative to the largest logit, that rounding explains (fp32).
TOLERANCE = 1e-3
COMPARED = 32
CALIBRATING = 128
# What is written as example.py beside each kind of file.
EXAMPLES = {".onnx": "example.py", ".tflite": "example_litert.py"}


def key(job: Job) -> str | None:
    """Hash of the retrained network and the device."""
    record = job.run.record(retrain.NAME)
    if record is None or record["key"] != retrain.key(job):
        return None
    return digest([record["key"], job.identity["device"]])


def perform(job: Job) -> None:
    """Write the model with labels, preprocessing and an example; ModelError where it differs from torch."""
    network = retrain.load(job)
    content = job.device.export(exportable(job, network), calibration(job))
    folder, name = job.run.path(NAME), f"model{job.device.suffix}"
    with writing(folder / name) as scratch:
        scratch.write_bytes(content)
    difference = _difference(job, network, content)
    if difference > TOLERANCE and job.device.facts()["precision"] == "fp32":
        raise ModelError(
            f"the exported model differs from torch by {difference:.2g} of the largest logit; "
            f"at most {TOLERANCE:g} can be rounding, so this export is not to be trusted: please report it"
        )
    size = job.identity["image_size"]
    write_json(folder / "labels.json", list(job.identity["classes"]))
    write_json(folder / "preprocess.json", preprocess(size))
    example = Path(__file__).with_name(EXAMPLES.get(job.device.suffix, "example.py"))
    write_text(folder / "example.py", example.read_text(encoding="utf-8"))
    key_now = key(job)
    assert key_now is not None
    job.run.finish(NAME, key_now, model=f"{NAME}/{name}", bytes=len(content), difference=difference)
    job.view.say(f"exported {len(content) / 1e3:.0f} kB, largest difference to torch {difference:.1e}")


def exportable(job: Job, network: FixedNetwork) -> Network:
    """The network as the exporter takes it: specs, folded weights, normalisation."""
    specs = network.space.specs((0,) * len(network.space.layers))
    return Network(specs, network.folded(), job.pictures.mean, job.pictures.std)


def calibration(job: Job) -> Pictures:
    """Training pictures from which a quantised precision takes its ranges: (n, 3, h, w) float32 in [0, 1]."""
    images = job.pictures.train.images
    chosen = np.random.default_rng(job.config.run.seed).permutation(len(images))[:CALIBRATING]
    return np.ascontiguousarray(tensor_of(images[np.sort(chosen)]).numpy())


def preprocess(size: int) -> dict[str, object]:
    """How to prepare a picture, in words that programs can read."""
    return {
        "input": "images",
        "layout": "NCHW",
        "dtype": "float32",
        "size": [size, size],
        "colour": "RGB",
        "range": [0.0, 1.0],
        "steps": [
            "EXIF transpose",
            "RGB",
            "short side scaled to cover (bilinear)",
            "centre crop",
            "divide by 255",
        ],
        "normalisation": "inside the model",
    }


def _difference(job: Job, network: FixedNetwork, content: bytes) -> float:
    images = tensor_of(job.pictures.train.images[:COMPARED])
    with torch.no_grad():
        expected = network(images).numpy()
    got = job.device.load(content).run(np.ascontiguousarray(images.numpy()))
    scale = max(float(np.abs(expected).max()), 1e-6)
    return float(np.abs(expected - got).max()) / scale
