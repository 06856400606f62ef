"""Export: the trained winner as one self-contained file for the device's runtime, compared with torch."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from hurricane.devices import Pictures, Session, open_device
from hurricane.errors import ModelError
from hurricane.export import Network, onnx_bytes
from hurricane.nn import FixedNetwork
from hurricane.runs import digest, write_json, write_text, writing
from hurricane.steps import retrain
from hurricane.steps.job import Job
from hurricane.train.batches import tensor_of

NAME = "export"
FILES = ("export/labels.json", "export/preprocess.json", "export/example.py")
# Largest difference of a logit, relative to the largest logit, that rounding explains (fp32).
TOLERANCE = 1e-3
# Root mean square of what quantisation adds to the logits, as a share of their standard deviation. Trained networks
# in int8 came to 0.03 to 0.05; logits of unrelated pictures would be 1.4 away.
NOISE = 0.5
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
    whole, pictures = exportable(job, network), calibration(job)
    content = job.device.export(whole, pictures)
    folder, name = job.run.path(NAME), f"model{job.device.suffix}"
    with writing(folder / name) as scratch:
        scratch.write_bytes(content)
    if job.device.facts()["precision"] == "fp32":
        compared = _exactly(network, job.device.load(content), pictures)
        words = f"largest difference to torch {compared['difference']:.1e}"
    else:
        # The same network in float first, where it runs everywhere: what differs then is quantisation alone.
        reference = open_device("onnxruntime:cpu?precision=fp32").load(onnx_bytes(whole))
        compared = {
            **_exactly(network, reference, pictures),
            **_roughly(network, job.device.load(content), pictures),
        }
        words = (
            f"{compared['agreement']:.1%} of {len(pictures)} calibration pictures get the label that they get in "
            f"float32 (quantisation adds {compared['noise']:.1%} of the logits' spread)"
        )
    size = job.identity["image_size"]
    write_json(folder / "labels.json", list(job.identity["classes"]))
    write_json(folder / "preprocess.json", {**preprocess(size), "device": job.device.name})
    example = Path(__file__).with_name(EXAMPLES.get(job.device.suffix, "example.py"))
    write_text(folder / "example.py", example.read_text(encoding="utf-8"))
    key_now = key(job)
    assert key_now is not None
    job.run.finish(NAME, key_now, model=f"{NAME}/{name}", bytes=len(content), **compared)
    job.view.say(f"exported {len(content) / 1e3:.0f} kB, {words}")


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


def _exactly(network: FixedNetwork, session: Session, pictures: Pictures) -> dict[str, float]:
    """Largest difference of a logit to torch; ModelError where rounding does not explain it."""
    expected, got = _logits(network, session, pictures[:COMPARED])
    difference = float(np.abs(expected - got).max()) / max(float(np.abs(expected).max()), 1e-6)
    if not difference <= TOLERANCE:
        raise ModelError(
            f"the exported model differs from torch by {difference:.2g} of the largest logit; "
            f"at most {TOLERANCE:g} can be rounding, so this export is not to be trusted: please report it"
        )
    return {"difference": difference}


def _roughly(network: FixedNetwork, session: Session, pictures: Pictures) -> dict[str, float]:
    """What quantisation does to the logits; ModelError where they are no longer those of the network."""
    expected, got = _logits(network, session, pictures)
    noise = float(np.sqrt(np.mean((expected - got) ** 2))) / max(float(expected.std()), 1e-6)
    agreement = float(np.mean(expected.argmax(1) == got.argmax(1)))
    if not noise <= NOISE:
        raise ModelError(
            f"quantisation adds {noise:.0%} of the logits' spread, and {agreement:.0%} of the calibration pictures "
            f"keep their label; above {NOISE:.0%} nothing of the network is left: use precision=fp32"
        )
    return {"noise": noise, "agreement": agreement}


def _logits(network: FixedNetwork, session: Session, pictures: Pictures) -> tuple[Any, Any]:
    """Logits of pictures by torch and by an exported file: two (n, classes) arrays."""
    with torch.no_grad():
        return network(torch.from_numpy(pictures)).numpy(), session.run(pictures)
