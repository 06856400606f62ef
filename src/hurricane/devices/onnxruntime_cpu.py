"""ONNX Runtime on this computer's processor."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
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

BACKEND = "onnxruntime:cpu"
DEFAULTS = {"threads": "1", "precision": "fp32"}
# More than the largest machines have; beyond, ONNX Runtime fails while it starts its threads.
MOST_THREADS = 1024


def open_onnxruntime(unit: str, options: Mapping[str, str]) -> "OnnxRuntimeCpu":
    """The device `onnxruntime:cpu?threads=1&precision=fp32`; DeviceError for what it does not have.

    precision : fp32, or int8 (static quantisation, see `export.quantised_onnx`).
    """
    if unit not in ("", "cpu"):
        raise DeviceError(f"onnxruntime has no unit {unit!r}; it has cpu")
    given = checked_options(BACKEND, options, DEFAULTS)
    threads = whole_number(BACKEND, "threads", given["threads"], 1, MOST_THREADS)
    return OnnxRuntimeCpu(threads, checked_precision(BACKEND, given))


@dataclass(frozen=True, slots=True)
class OnnxRuntimeCpu:
    """ONNX Runtime's CPU provider. threads: for one model run; precision: of the files it exports."""

    threads: int
    precision: str

    @property
    def name(self) -> str:
        """The canonical device string."""
        return f"{BACKEND}?threads={self.threads}&precision={self.precision}"

    @property
    def suffix(self) -> str:
        """Of the files it loads."""
        return ".onnx"

    def facts(self) -> dict[str, Any]:
        """Facts to quote a measurement with; MissingExtraError where the runtime cannot be imported."""
        return {
            "backend": "onnxruntime",
            "unit": "cpu",
            "runtime": "ONNX Runtime",
            "version": _runtime().__version__,
            "threads": self.threads,
            "precision": self.precision,
            **machine_facts(),
        }

    def unsupported(self, spec: OpSpec) -> str | None:
        """Nothing is known not to run; loading tells."""
        return None

    def export(self, network: Network, calibration: Pictures | None = None) -> bytes:
        """The network as ONNX bytes."""
        return onnx_of(network, self.precision, calibration)

    def load(self, model: bytes | Path) -> Session:
        """A model loaded; ModelError where it is none, or naming the operator that the runtime cannot run."""
        return OnnxSession(model, self.threads)


class OnnxSession:
    """A model in ONNX Runtime, called as a user's program calls it: a plain `session.run`."""

    def __init__(self, model: bytes | Path, threads: int) -> None:
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        # Threads spin for a moment after a run, as they do for a user; the warm-up of whoever is timed next
        # (see `measure`) outlasts that.
        options.log_severity_level = 4  # what goes wrong is raised; nothing is printed besides
        what = "the model" if isinstance(model, bytes) else str(model)
        if not isinstance(model, bytes):
            _check_readable(model)
        try:
            # A path rather than its bytes: large models keep their weights in files beside them.
            source = model if isinstance(model, bytes) else str(model)
            self._session = runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's exceptions share no other base
            raise ModelError(_refusal(what, str(error))) from error
        entries = self._session.get_inputs()
        self._feed = {entry.name: _example(entry, what) for entry in entries}
        self._inputs = [entry.name for entry in entries]
        self._output = self._session.get_outputs()[0].name

    def run(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The first output for a batch; ModelError where the model takes something else."""
        if len(self._inputs) != 1:
            raise ModelError(f"the model takes {', '.join(self._inputs)}; a model of pictures has one input")
        try:
            output: npt.NDArray[np.float32] = self._session.run([self._output], {self._inputs[0]: images})[0]
        except Exception as error:  # the runtime's exceptions share no other base
            raise ModelError(
                f"the model does not run on {images.shape} {images.dtype}: {_sentence(error)}"
            ) from error
        return output

    def time(self, runs: int) -> list[float]:
        """Milliseconds of each of `runs` runs at batch 1; the clock's own 0.1 us is inside."""
        run, feed, clock = self._session.run, self._feed, time.perf_counter_ns
        values = []
        try:
            for _ in range(runs):
                started = clock()
                run(None, feed)
                values.append((clock() - started) / 1e6)
        except Exception as error:  # the runtime's exceptions share no other base
            raise ModelError(f"the model loads but does not run: {_sentence(error)}") from error
        return values


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            f"onnxruntime cannot be imported ({error}); install it with `pip install onnxruntime`"
        ) from error
    return onnxruntime


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}); give the path of an ONNX file"
        ) from error


_OPERATOR = re.compile(
    r"No Op registered for (?P<a>\S+)|Fatal error: (?P<b>\S+?)\(-?\d+\) is not a registered"
    r"|Could not find an implementation for (?P<c>\S+?)\("
)


def _refusal(what: str, message: str) -> str:
    found = _OPERATOR.search(message)
    if found is not None:
        return (
            f"{what} cannot run on ONNX Runtime: it does not have the operator {found[found.lastgroup or 0]}"
        )
    return f"{what} is no model that ONNX Runtime can load: {_sentence(message)}"


def _sentence(message: object) -> str:
    """What the runtime said, in one line, without its codes and the places in its source."""
    line = " ".join(str(message).split())
    line = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (/\S+ .*?\)\s)?", "", line)
    return line if len(line) <= 200 else f"{line[:197]}..."


_FRACTIONS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
_WHOLE = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(bool)": np.bool_,
}


def _example(entry: Any, what: str) -> npt.NDArray[Any]:
    """A fixed value for an input: fractions random in [0, 1], whole numbers 0 (they may be indices).

    A dynamic first axis becomes a batch of 1; other axes must be known.
    """
    shape = list(entry.shape)
    if shape and not isinstance(shape[0], int):
        shape[0] = 1
    if any(not isinstance(axis, int) or axis < 1 for axis in shape):
        sizes = " x ".join(str(axis or "?") for axis in entry.shape)
        raise ModelError(
            f"input {entry.name} of {what} has open sizes ({sizes}); "
            "its latency depends on them, so export it with a fixed size"
        )
    if entry.type in _FRACTIONS:
        return np.random.default_rng(0).random(shape).astype(_FRACTIONS[entry.type])
    if entry.type in _WHOLE:
        return np.zeros(shape, _WHOLE[entry.type])
    raise ModelError(f"input {entry.name} of {what} is {entry.type}; only tensors of numbers can be timed")
