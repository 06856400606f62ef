"""Our int8 files against ONNX Runtime's own quantiser and, where it is installed, NNCF: latency, error, seconds.

    python benchmarks/int8_files.py --out benchmarks/results/int8_files.json

Stacks of three operators with random weights. Everything is timed by the run's own `measure`, all files of one
operator interleaved. Error: root mean square of the difference to float32 on the calibration pictures, as a share of
the output's standard deviation. NNCF (`pip install nncf`) is OpenVINO's quantiser; nothing of Hurricane needs it.
"""

import argparse
import importlib.util
import json
import logging
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import hurricane as hn
from hurricane.devices import Pictures, measure
from hurricane.export import Network, onnx_bytes, quantised_onnx_bytes, random_network
from hurricane.ops import OpSpec

KINDS = ("sep_k3", "sep_k7", "mb_k3_e6", "mb_k3_e6_se", "choice_k3", "choicex_se")
PLACES = ((64, 28), (160, 14))
"""Channels and pixels."""
RUNTIMES = ("onnxruntime:cpu?threads=1", "openvino:cpu?threads=1")
PICTURES = 4


def main() -> None:
    """Quantise, measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--seconds", type=float, default=0.05, help="of each of five turns")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)  # ONNX Runtime's quantiser advises on every call
    devices = [hn.open_device(name) for name in RUNTIMES]
    figures: dict[str, Any] = {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "facts": [device.facts() for device in devices],
        "load_before": os.getloadavg(),
        "rows": [],
    }
    for kind in asked.kinds:
        for channels, size in PLACES:
            spec = OpSpec(kind, channels, channels, 1, size)
            row = {"operator": str(spec), **compared(spec, asked.seconds)}
            figures["rows"].append(row)
            print(row["operator"], json.dumps(row["files"]), flush=True)
    figures["load_after"] = os.getloadavg()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def compared(spec: OpSpec, seconds: float) -> dict[str, Any]:
    """Each file of one operator on each runtime: milliseconds, error, and how long it took to write."""
    network = random_network([spec] * 3, np.random.default_rng(0))
    pictures = np.random.default_rng(1).random((PICTURES, spec.cin, spec.size, spec.size), dtype=np.float32)
    ways: dict[str, Callable[[Network, Pictures], bytes | Path]] = {
        "fp32": lambda network, _: onnx_bytes(network),
        "int8": quantised_onnx_bytes,
        "quantize_static": by_onnx_runtime,
    }
    if importlib.util.find_spec("nncf") is not None:
        ways["nncf"] = by_nncf
    written: dict[str, tuple[bytes | Path, float]] = {}
    for name, way in ways.items():
        started = time.perf_counter()
        written[name] = (way(network, pictures), time.perf_counter() - started)
    sessions = {
        (name, runtime): hn.open_device(runtime).load(model)
        for name, (model, _) in written.items()
        for runtime in RUNTIMES
        # NNCF's files are OpenVINO's own.
        if name != "nncf" or runtime.startswith("openvino")
    }
    measured = measure(list(sessions.values()), rounds=5, seconds=seconds)
    float_logits = sessions["fp32", RUNTIMES[0]].run(pictures)
    files: dict[str, Any] = {name: {"seconds": round(took, 4)} for name, (_, took) in written.items()}
    for ((name, runtime), session), samples in zip(sessions.items(), measured, strict=True):
        difference = session.run(pictures) - float_logits
        files[name][runtime.partition(":")[0]] = {
            "median_ms": round(samples.median_ms, 4),
            "spread": round(samples.spread, 4),
            "unstable": samples.unstable,
            "error": round(float(np.sqrt(np.mean(difference**2)) / float_logits.std()), 5),
        }
    return {"files": files}


def by_onnx_runtime(network: Network, pictures: Pictures) -> bytes:
    """The int8 file of ONNX Runtime's own quantiser, with the choices that ours makes."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = [{"images": pictures}]

        def get_next(self) -> Any:
            return self._left.pop() if self._left else None

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        quantization.quantize_static(
            onnx.load_model_from_string(onnx_bytes(network)),
            path,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return path.read_bytes()


def by_nncf(network: Network, pictures: Pictures) -> Path:
    """A file of OpenVINO's own format, quantised by NNCF for its CPU plug-in."""
    import nncf
    import openvino

    path = Path(tempfile.mkdtemp()) / "model.xml"
    quantised = nncf.quantize(
        openvino.Core().read_model(onnx_bytes(network)),
        nncf.Dataset([pictures[i : i + 1] for i in range(len(pictures))]),
        subset_size=len(pictures),
        preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU,
    )
    openvino.save_model(quantised, path, compress_to_fp16=False)
    return path


if __name__ == "__main__":
    main()
