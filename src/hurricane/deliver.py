"""A delivered model at work: label pictures with the exported file, prepared just as in training."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hurricane.data import read_picture
from hurricane.devices import Device, Session, open_device
from hurricane.errors import HurricaneError, ModelError
from hurricane.runs import read_json

# What each kind of file is run by here.
RUNTIMES = {".onnx": "onnxruntime:cpu", ".tflite": "litert:cpu"}


@dataclass(frozen=True)
class Delivered:
    """An exported model with its labels: made by `open`. device : what runs it."""

    device: str
    session: Session
    labels: tuple[str, ...]
    size: int

    @staticmethod
    def open(path: Path) -> "Delivered":
        """The model in a file, or of a run folder; ModelError where there is none or its labels are missing."""
        if path.is_dir():
            models = sorted(path.glob("export/model.*")) or sorted(path.glob("model.*"))
            if not models:
                raise ModelError(f"{path} holds no exported model; give the model's file or a finished run")
            path = models[0]
        if not path.is_file():
            raise ModelError(f"there is no model {path}; give the file that `hurricane export` wrote")
        beside = [path.with_name(name) for name in ("labels.json", "preprocess.json")]
        for file in beside:
            if not file.is_file():
                raise ModelError(f"{file} is missing; it lies beside the model that `hurricane export` wrote")
        labels, preprocess = (read_json(file) for file in beside)
        device = _device(path.suffix, preprocess.get("device"))
        return Delivered(device.name, device.load(path), tuple(labels), int(preprocess["size"][0]))

    def predict(self, picture: Path) -> dict[str, Any]:
        """Label and scores (shares of 1, best first) of one picture; DataError where it is none."""
        pixels = read_picture(picture, self.size)
        images = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255))
        logits = self.session.run(images)[0].astype(np.float64)
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        order = np.argsort(-scores, kind="stable")
        return {
            "picture": str(picture),
            "device": self.device,
            "label": self.labels[int(order[0])],
            "scores": {self.labels[int(index)]: float(scores[index]) for index in order},
        }


def _device(suffix: str, made_for: str | None) -> Device:
    """The device that a file was made for where it is here, else what runs such files anywhere."""
    if made_for is not None:
        with contextlib.suppress(HurricaneError):
            device = open_device(made_for)
            if device.suffix == suffix:
                return device
    if suffix not in RUNTIMES:
        raise ModelError(
            f"a {suffix or 'nameless'} file cannot run here without {made_for or 'its device'}; "
            f"{', '.join(RUNTIMES)} runs anywhere, and `hurricane devices` tells what is missing"
        )
    return open_device(RUNTIMES[suffix])
