"""ONNX Runtime on this computer's processor."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hurricane.devices.naming import checked_options, whole_number
from hurricane.devices.protocol import Session, machine_facts
from hurricane.errors import DeviceError, ModelError
from hurricane.export import Network, onnx_bytes
from hurricane.ops import OpSpec

BACKEND = "onnxruntime:cpu"


def open_onnxruntime(unit: str, options: Mapping[str, str]) -> "OnnxRuntimeCpu":
    """The device `onnxruntime:cpu?threads=1&precision=fp32`; DeviceError for what it does not have."""
    if unit != "cpu":
        raise DeviceError(f"onnxruntime has no unit {unit!r} here; it has cpu")
    given = checked_options(BACKEND, options, {"threads": "1", "precision": "fp32"})
    threads = whole_number(BACKEND, "threads", given["threads"], 1)
    if given["precision"] != "fp32":
        raise DeviceError(f"{BACKEND} has no precision {given['precision']!r}; it has fp32")
    return OnnxRuntimeCpu(threads)


@dataclass(frozen=True, slots=True)
class OnnxRuntimeCpu:
    """ONNX Runtime's CPU provider, fp32. threads: for one model run."""

    threads: int

    @property
    def name(self) -> str:
        """The canonical device string."""
        return f"{BACKEND}?threads={self.threads}&precision=fp32"

    @property
    def suffix(self) -> str:
        """Of the files it loads."""
        return ".onnx"

    def facts(self) -> dict[str, Any]:
        """Facts to quote a measurement with."""
        import onnxruntime

        return {
            "backend": "onnxruntime",
            "unit": "cpu",
            "runtime": "ONNX Runtime",
            "version": onnxruntime.__version__,
            "threads": self.threads,
            "precision": "fp32",
            **machine_facts(),
        }

    def unsupported(self, spec: OpSpec) -> str | None:
        """Nothing is known not to run; loading tells."""
        return None

    def export(self, network: Network) -> bytes:
        """The network as ONNX bytes."""
        return onnx_bytes(network)

    def load(self, model: bytes | Path) -> Session:
        """A model loaded; ModelError where it is none or the runtime cannot run it."""
        return OnnxSession(model, self.threads)


class OnnxSession:
    """A model in ONNX Runtime, called as a user's program calls it."""

    def __init__(self, model: bytes | Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        what = "the model" if isinstance(model, bytes) else str(model)
        try:
            content = model if isinstance(model, bytes) else model.read_bytes()
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except OSError as error:
            raise ModelError(
                f"{what} cannot be read ({error.strerror}); give the path of an ONNX file"
            ) from error
        except Exception as error:  # the runtime's exceptions share no other base
            reason = str(error).splitlines()[0][:200]
            raise ModelError(f"{what} is no model that ONNX Runtime can load: {reason}") from error
        self._feed = {entry.name: _example(entry, what) for entry in self._session.get_inputs()}
        self._input = self._session.get_inputs()[0].name

    def run(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The first output for a batch."""
        output: npt.NDArray[np.float32] = self._session.run(None, {self._input: images})[0]
        return output

    def time(self, runs: int) -> list[float]:
        """Milliseconds of each run at batch 1."""
        run, feed, clock = self._session.run, self._feed, time.perf_counter_ns
        values = []
        for _ in range(runs):
            started = clock()
            run(None, feed)
            values.append((clock() - started) / 1e6)
        return values


_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
_WHOLE = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
}


def _example(entry: Any, what: str) -> npt.NDArray[Any]:
    """A fixed random value for an input: a dynamic first axis is a batch of 1, other axes must be known."""
    shape = list(entry.shape)
    if shape and not isinstance(shape[0], int):
        shape[0] = 1
    if any(not isinstance(axis, int) or axis < 1 for axis in shape):
        raise ModelError(
            f"input {entry.name} of {what} has open sizes {entry.shape}; export it with fixed ones"
        )
    rng = np.random.default_rng(0)
    if entry.type in _TYPES:
        return rng.random(shape).astype(_TYPES[entry.type])
    if entry.type in _WHOLE:
        return np.zeros(shape, _WHOLE[entry.type])
    raise ModelError(f"input {entry.name} of {what} is {entry.type}; only tensors of numbers can be timed")
