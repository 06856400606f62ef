"""LiteRT (TensorFlow Lite) with XNNPACK on this computer's processor: the runtime of phones' processors."""

import importlib.metadata
import os
import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hurricane.devices.naming import checked_options, whole_number
from hurricane.devices.protocol import Pictures, Session, machine_facts
from hurricane.errors import DeviceError, ModelError
from hurricane.export import Network, random_network, tflite_bytes, tflite_int8_bytes
from hurricane.export.tflite_file import IDENTIFIER, litert
from hurricane.export.tflite_graph import CHANNELS_LAST
from hurricane.ops import OpSpec

BACKEND = "litert:cpu"
DEFAULTS = {"threads": "1", "precision": "fp32"}
PRECISIONS = ("fp32", "int8")
# More than the largest machines have.
MOST_THREADS = 1024


def open_litert(unit: str, options: Mapping[str, str]) -> "LitertCpu":
    """The device `litert:cpu?threads=1&precision=fp32`; DeviceError for what it does not have."""
    if unit not in ("", "cpu"):
        raise DeviceError(f"litert has no unit {unit!r}; it has cpu")
    given = checked_options(BACKEND, options, DEFAULTS)
    threads = whole_number(BACKEND, "threads", given["threads"], 1, MOST_THREADS)
    if given["precision"] not in PRECISIONS:
        raise DeviceError(
            f"{BACKEND} has no precision {given['precision']!r}; it has {' and '.join(PRECISIONS)}"
        )
    return LitertCpu(threads, given["precision"])


@dataclass(frozen=True, slots=True)
class LitertCpu:
    """LiteRT's interpreter with XNNPACK. threads: for one model run; precision: "fp32" or "int8"."""

    threads: int
    precision: str

    @property
    def name(self) -> str:
        """The canonical device string."""
        return f"{BACKEND}?threads={self.threads}&precision={self.precision}"

    @property
    def suffix(self) -> str:
        """Of the files it loads."""
        return ".tflite"

    def facts(self) -> dict[str, Any]:
        """Facts to quote a measurement with; MissingExtraError where the runtime cannot be imported."""
        litert("interpreter")
        return {
            "backend": "litert",
            "unit": "cpu",
            "runtime": "LiteRT with XNNPACK",
            "version": importlib.metadata.version("ai-edge-litert"),
            "threads": self.threads,
            "precision": self.precision,
            **machine_facts(),
        }

    def unsupported(self, spec: OpSpec) -> str | None:
        """Nothing is known not to run; loading tells."""
        return None

    def export(self, network: Network, calibration: Pictures | None = None) -> bytes:
        """The network as the bytes of a .tflite file, in the device's precision."""
        if self.precision == "int8":
            return tflite_int8_bytes(network, calibration)
        return tflite_bytes(network)

    def load(self, model: bytes | Path) -> Session:
        """A model loaded; ModelError where it is none, or naming the operator that the runtime cannot run."""
        return LitertSession(model, self.threads)


class LitertSession:
    """A model in LiteRT's interpreter, called as a user's program calls it: a plain `invoke`."""

    def __init__(self, model: bytes | Path, threads: int) -> None:
        what = "the model" if isinstance(model, bytes) else str(model)
        content = _content(model, what)
        _announce()
        try:
            self._interpreter = litert("interpreter").Interpreter(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(_refusal(what, str(error))) from error
        self._inputs = self._interpreter.get_input_details()
        self._output = self._interpreter.get_output_details()[0]
        self._examples = [_example(entry, what) for entry in self._inputs]
        self._shapes = [tuple(entry["shape"]) for entry in self._inputs]

    def run(self, images: Pictures) -> npt.NDArray[np.float32]:
        """The first output for a batch; ModelError where the model takes something else.

        Parts of a network have channels last inside the file, and integers where it is int8; not here.
        """
        names = [entry["name"] for entry in self._inputs]
        if len(names) != 1:
            raise ModelError(f"the model takes {', '.join(names)}; a model of pictures has one input")
        last = names[0].endswith(CHANNELS_LAST)
        try:
            values = np.ascontiguousarray(images.transpose(0, 2, 3, 1) if last else images)
            self._feed([_stored(values, self._inputs[0])])
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"the model does not run on {images.shape} {images.dtype}: {_sentence(error)}"
            ) from error
        output = _meant(self._interpreter.get_tensor(self._output["index"]), self._output)
        last = self._output["name"].endswith(CHANNELS_LAST)
        return np.ascontiguousarray(output.transpose(0, 3, 1, 2)) if last else output

    def time(self, runs: int) -> list[float]:
        """Milliseconds of each of `runs` runs at batch 1; the clock's own 0.1 us is inside, the input is set before."""
        invoke, clock, values = self._interpreter.invoke, time.perf_counter_ns, []
        try:
            for _ in range(runs):
                self._feed(self._examples)  # its memory may have been used for what came after
                started = clock()
                invoke()
                values.append((clock() - started) / 1e6)
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"the model loads but does not run: {_sentence(error)}") from error
        return values

    def outside(self) -> tuple[str, ...]:
        """Operators that XNNPACK leaves to the interpreter's own, slower kernels; () where it runs them all."""
        nodes = self._interpreter._get_ops_details()  # the only place that tells
        made_by = {int(made): node for node in nodes for made in node["outputs"] if not _delegates(node)}
        inside: set[int] = set()
        for node in filter(_delegates, nodes):
            given, open_ = {int(name) for name in node["inputs"]}, [int(name) for name in node["outputs"]]
            while open_:
                name = open_.pop()
                if name in given or name not in made_by or made_by[name]["index"] in inside:
                    continue
                inside.add(made_by[name]["index"])
                open_ += [int(read) for read in made_by[name]["inputs"]]
        left = [node for node in nodes if not _delegates(node) and node["index"] not in inside]
        return tuple(node["op_name"] for node in left)

    def _feed(self, values: list[npt.NDArray[Any]]) -> None:
        """Set the inputs; the batch may be another than before, all else must fit."""
        shapes = [value.shape for value in values]
        if shapes != self._shapes:
            self._shapes = []  # until all of it is done
            for entry, shape in zip(self._inputs, shapes, strict=True):
                # A batch of none would run, and leave an output of no known size.
                if shape[1:] != tuple(entry["shape"][1:]) or 0 in shape:
                    raise ValueError(f"it takes {' x '.join(map(str, ('N', *entry['shape'][1:])))}")
                self._interpreter.resize_tensor_input(entry["index"], shape)
            self._interpreter.allocate_tensors()
            self._shapes = shapes
        for entry, value in zip(self._inputs, values, strict=True):
            self._interpreter.set_tensor(entry["index"], value)


def _delegates(node: Mapping[str, Any]) -> bool:
    return "DELEGATE" in str(node["op_name"]).upper()


def _content(model: bytes | Path, what: str) -> bytes:
    """The bytes of a model; ModelError where they cannot be read or are of another kind of file."""
    try:
        content = model if isinstance(model, bytes) else model.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{what} cannot be read ({error.strerror}); give the path of a .tflite file"
        ) from error
    if content[4:8] != IDENTIFIER:
        raise ModelError(f"{what} is no model that LiteRT can load; a .tflite file has TFL3 at its 5th byte")
    return content


@cache
def _announce() -> None:
    """Let the runtime say once that it uses XNNPACK, where nobody hears it.

    It writes that to the descriptor of stderr, between a command's own words; there is no setting against it.
    """
    content = tflite_bytes(random_network([OpSpec("skip", 1, 1, 1, 1)], np.random.default_rng(0)))
    interpreter = litert("interpreter").Interpreter
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as hole:
            os.dup2(hole.fileno(), 2)
            interpreter(model_content=content, num_threads=1).allocate_tensors()
    finally:
        os.dup2(kept, 2)
        os.close(kept)


_OPERATOR = re.compile(
    r"Didn't find op for builtin opcode '(?P<a>\S+)'|unresolved custom op: (?P<b>.+?)\.?\n"
    r"|failed to delegate (?P<c>\S+)|Node number \d+ \((?P<d>(?!TfLiteXNNPack)\S+)\)"
)


def _refusal(what: str, message: str) -> str:
    found = _OPERATOR.search(message)
    if found is None:
        return f"{what} is no model that LiteRT can load: {_sentence(message)}"
    operator = found[found.lastgroup or 0]
    if found.lastgroup in ("a", "b"):
        return f"{what} cannot run on LiteRT: it does not have the operator {operator}"
    return f"{what} cannot run on LiteRT: it does not take this {operator} ({_sentence(message)})"


def _sentence(message: object) -> str:
    """What the runtime said, in one line."""
    line = " ".join(str(message).split()) or "it gives no reason; there may not be enough memory"
    return line if len(line) <= 200 else f"{line[:197]}..."


def _stored(values: npt.NDArray[np.float32], entry: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Numbers as an input stores them: as they are, or in steps of its scale."""
    if entry["dtype"] is not np.int8:
        return values
    scale, zero_point = entry["quantization"]
    steps: npt.NDArray[np.int8] = np.clip(np.rint(values / scale) + zero_point, -128, 127).astype(np.int8)
    return steps


def _meant(values: npt.NDArray[Any], entry: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """What an output's content stands for."""
    if entry["dtype"] is not np.int8:
        return values
    scale, zero_point = entry["quantization"]
    meant: npt.NDArray[np.float32] = (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
    return meant


def _example(entry: Mapping[str, Any], what: str) -> npt.NDArray[Any]:
    """A fixed value for an input: fractions random in [0, 1], whole numbers of pictures random, other ones 0."""
    shape, open_ = tuple(int(axis) for axis in entry["shape"]), list(entry["shape_signature"])
    if any(axis < 1 for axis in open_[1:]) or any(axis < 1 for axis in shape):
        sizes = " x ".join("?" if axis < 1 else str(axis) for axis in open_ or shape)
        raise ModelError(
            f"input {entry['name']} of {what} has open sizes ({sizes}); "
            "its latency depends on them, so export it with a fixed size"
        )
    random = np.random.default_rng(0).random(shape)
    if np.issubdtype(entry["dtype"], np.floating):
        return random.astype(entry["dtype"])
    if entry["quantization"][0] > 0:  # integers that stand for fractions
        limits = np.iinfo(entry["dtype"])
        return (limits.min + random * (limits.max - limits.min)).astype(entry["dtype"])
    return np.zeros(shape, entry["dtype"])
