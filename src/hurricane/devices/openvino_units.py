"""OpenVINO on Intel's units: CPU (any x86 or ARM processor), GPU, and NPU (successor of the Movidius VPU)."""

import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hurricane.devices.naming import checked_options, whole_number
from hurricane.devices.precision import checked_precision, onnx_of
from hurricane.devices.protocol import Pictures, Session, machine_facts
from hurricane.errors import DeviceError, MissingExtraError, ModelError
from hurricane.export import Network
from hurricane.ops import OpSpec

DEFAULTS = {"threads": "1", "precision": "fp32"}
MOST_THREADS = 1024
# What OpenVINO needs besides its own package before it lists a unit.
DRIVERS = {
    "cpu": "it comes with the package openvino",
    "gpu": "it needs an Intel GPU and Intel's compute runtime for OpenCL (intel-opencl-icd)",
    "npu": "it needs an Intel Core Ultra processor and Intel's NPU driver (linux-npu-driver on Linux)",
}


def open_openvino(unit: str, options: Mapping[str, str]) -> "OpenVinoUnit":
    """The device `openvino:{cpu,gpu,npu}?threads=1&precision=fp32`.

    threads : for one model run on the cpu; the others have none to set. precision : fp32 or int8.

    Raises DeviceError for what it does not have or where this computer has no such unit, and MissingExtraError
    where openvino is not installed.
    """
    unit = unit or "cpu"
    if unit not in DRIVERS:
        raise DeviceError(f"openvino has no unit {unit!r}; it has {', '.join(DRIVERS)}")
    backend = f"openvino:{unit}"
    given = checked_options(backend, options, DEFAULTS)
    threads = whole_number(backend, "threads", given["threads"], 1, MOST_THREADS)
    precision = checked_precision(backend, given)
    here = _core().available_devices
    # Where there are several of a kind they are listed as GPU.0, GPU.1; the bare name is the first.
    if unit.upper() not in {name.partition(".")[0] for name in here}:
        raise DeviceError(
            f"there is no such device as {backend} here: {DRIVERS[unit]}; "
            f"OpenVINO finds {', '.join(here) or 'nothing'}"
        )
    return OpenVinoUnit(unit, threads, precision)


@dataclass(frozen=True, slots=True)
class OpenVinoUnit:
    """One unit of OpenVINO. threads: for one model run, of the cpu; precision: of the files it exports."""

    unit: str
    threads: int
    precision: str

    @property
    def name(self) -> str:
        """The canonical device string."""
        return f"openvino:{self.unit}?threads={self.threads}&precision={self.precision}"

    @property
    def suffix(self) -> str:
        """Of the files it exports; it loads OpenVINO's own (.xml) as well."""
        return ".onnx"

    def facts(self) -> dict[str, Any]:
        """Facts to quote a measurement with; `arithmetic` is what float32 is computed in."""
        core = _core()
        return {
            "backend": "openvino",
            "unit": self.unit,
            "unit_name": core.get_property(self.unit.upper(), "FULL_DEVICE_NAME"),
            "runtime": "OpenVINO",
            "version": _runtime().__version__.partition("-")[0],
            "threads": self.threads,
            "precision": self.precision,
            "arithmetic": "f16" if self.unit == "npu" else "f32",
            **machine_facts(),
        }

    def unsupported(self, spec: OpSpec) -> str | None:
        """Nothing is known not to run; loading tells."""
        return None

    def export(self, network: Network, calibration: Pictures | None = None) -> bytes:
        """The network as ONNX bytes, which OpenVINO reads; int8 ones run in its integer kernels."""
        return onnx_of(network, self.precision, calibration)

    def load(self, model: bytes | Path) -> Session:
        """A model compiled; ModelError where it is none, or naming what OpenVINO cannot run."""
        return OpenVinoSession(model, self.unit.upper(), self._settings())

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if self.unit != "npu":  # an NPU computes floats in f16 and knows no other
            # Else processors with bf16 (AMX, Zen 4) silently compute in that, and GPUs in f16.
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        if self.unit == "cpu":
            settings |= {"INFERENCE_NUM_THREADS": self.threads, "NUM_STREAMS": 1}
        return settings


class OpenVinoSession:
    """A model compiled for batch 1, as it is deployed: pictures are written to its input, then it is run.

    Compiled for any batch, int8 operators were up to a quarter slower at batch 1, and NPUs take fixed sizes only.
    """

    def __init__(self, model: bytes | Path, unit: str, settings: Mapping[str, Any]) -> None:
        runtime, core = _runtime(), _core()
        what = "the model" if isinstance(model, bytes) else str(model)
        if not isinstance(model, bytes):
            _check_readable(model)
        try:
            # A path rather than its bytes: large models keep their weights in files beside them.
            network = core.read_model(model if isinstance(model, bytes) else str(model))
        except Exception as error:  # OpenVINO raises RuntimeError for everything
            raise ModelError(_refusal(what, str(error))) from error
        if not network.inputs or not network.outputs:
            raise ModelError(f"{what} is no model that OpenVINO can run: it has no input or no output")
        examples = [_example(port, what) for port in network.inputs]
        try:
            network.reshape(
                {port: list(value.shape) for port, value in zip(network.inputs, examples, strict=True)}
            )
            self._request = core.compile_model(network, unit, dict(settings)).create_infer_request()
            for number, value in enumerate(examples):
                self._request.set_input_tensor(number, runtime.Tensor(value))
        except Exception as error:  # OpenVINO raises RuntimeError for everything
            raise ModelError(_refusal(what, str(error))) from error
        self._inputs = [_name(port) for port in network.inputs]
        self._examples = examples

    def run(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The first output for a batch, picture by picture; ModelError where the model takes something else."""
        if len(self._inputs) != 1:
            raise ModelError(f"the model takes {', '.join(self._inputs)}; a model of pictures has one input")
        example = self._examples[0]
        if images.shape[1:] != example.shape[1:] or images.dtype != example.dtype or len(example) != 1:
            raise ModelError(
                f"the model does not run on {images.shape} {images.dtype}; it takes {example.shape} {example.dtype}"
            )
        outputs = []
        for image in images:
            self._infer([image[None]])
            outputs.append(self._request.get_output_tensor(0).data.copy())
        return np.concatenate(outputs)

    def time(self, runs: int) -> list[float]:
        """Milliseconds of each of `runs` runs at batch 1; the call from Python, 10 us, is inside."""
        self._infer(self._examples)
        request, clock = self._request, time.perf_counter_ns
        values = []
        for _ in range(runs):
            started = clock()
            request.infer(share_outputs=True)
            values.append((clock() - started) / 1e6)
        return values

    def _infer(self, values: list[npt.NDArray[Any]]) -> None:
        try:
            for number, value in enumerate(values):
                self._request.get_input_tensor(number).data[:] = value
            self._request.infer(share_outputs=True)
        except Exception as error:  # OpenVINO raises RuntimeError for everything
            raise ModelError(f"the model loads but does not run: {_sentence(error)}") from error


def _runtime() -> Any:
    # OpenVINO reports every import to its makers unless this package is missing; Hurricane's user was never asked.
    reports = "openvino_telemetry"
    silenced = reports not in sys.modules
    if silenced:
        sys.modules[reports] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError(
            f"openvino cannot be imported ({error}); install it with `pip install 'hurricane-nas[openvino]'`"
        ) from error
    finally:
        if silenced:
            del sys.modules[reports]
    return openvino


@cache
def _opened(runtime: Any) -> Any:
    """The one Core of a process: each looks for units anew."""
    return runtime.Core()


def _core() -> Any:
    return _opened(_runtime())


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}); give the path of an ONNX or OpenVINO file"
        ) from error


_OPERATOR = re.compile(r"No conversion rule found for operations: (?P<name>\S+?)(-\d+)?(,|\s|$)")


def _refusal(what: str, message: str) -> str:
    found = _OPERATOR.search(message)
    if found is not None:
        return f"{what} cannot run on OpenVINO: it does not have the operator {found['name']}"
    return f"{what} is no model that OpenVINO can load: {_sentence(message)}"


def _sentence(message: object) -> str:
    """What OpenVINO said, in one line, without the places in its source."""
    line = " ".join(re.sub(r"(Exception from|Check '.*?' failed at) \S+:\d+:", "", str(message)).split())
    return line if len(line) <= 200 else f"{line[:197]}..."


def _name(port: Any) -> str:
    return str(port.any_name) if port.names else "an input without a name"


def _example(port: Any, what: str) -> npt.NDArray[Any]:
    """A fixed value for an input: fractions random in [0, 1], whole numbers 0 (they may be indices).

    A dynamic first axis becomes a batch of 1; other axes must be known.
    """
    axes = port.partial_shape
    if axes.rank.is_dynamic:
        raise ModelError(f"input {_name(port)} of {what} is of any shape; export it with a fixed size")
    shape = [0 if axis.is_dynamic else int(axis.get_length()) for axis in axes]
    if shape and shape[0] == 0:
        shape[0] = 1
    if 0 in shape:
        sizes = " x ".join(str(axis) for axis in axes)
        raise ModelError(
            f"input {_name(port)} of {what} has open sizes ({sizes}); "
            "its latency depends on them, so export it with a fixed size"
        )
    element = port.element_type.to_dtype()
    if np.issubdtype(element, np.floating):
        return np.random.default_rng(0).random(shape).astype(element)
    return np.zeros(shape, element)
