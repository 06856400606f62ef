"""A simulated device: a roofline with seeded jitter, for tests. Never the default, never a measurement.

A node takes the longer of computing (2 x MACs / gflops) and moving its bytes (gbps); a run adds its overhead.
Jitter depends on the seed and the structure of the model alone, never on the order of calls or the weights.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hurricane import ops
from hurricane.devices.naming import checked_options, number, whole_number
from hurricane.devices.protocol import Pictures, Session, machine_facts
from hurricane.errors import DeviceError, ModelError
from hurricane.export import Network, onnx_bytes
from hurricane.ops import OpSpec

BACKEND = "simulated:cpu"
DEFAULTS = {"seed": "0", "gflops": "20", "gbps": "10", "overhead_us": "5", "jitter": "0.02", "refuses": "-"}

Shapes = dict[str, tuple[int, ...]]

# These hand their input on; no runtime moves a byte for them.
_FREE = ("Reshape", "Flatten", "Identity", "Squeeze", "Unsqueeze", "Constant", "Shape", "Dropout")
# Share of its usual time below which no run falls, however large the jitter.
_LEAST = 0.1


def open_simulated(unit: str, options: Mapping[str, str]) -> "SimulatedDevice":
    """The device `simulated:cpu?seed=0&gflops=20&gbps=10&overhead_us=5&jitter=0.02`.

    refuses : kinds of operators, joined by commas, that it is to be unable to run; "-" is none. For tests of what
        happens then.
    """
    if unit not in ("", "cpu"):
        raise DeviceError(f"simulated has no unit {unit!r}; it has cpu")
    given = checked_options(BACKEND, options, DEFAULTS)
    refuses = () if given["refuses"] == "-" else tuple(given["refuses"].split(","))
    for kind in refuses:
        ops.find_operator(kind)
    return SimulatedDevice(
        seed=whole_number(BACKEND, "seed", given["seed"], 0),
        gflops=number(BACKEND, "gflops", given["gflops"], 1e-6),
        gbps=number(BACKEND, "gbps", given["gbps"], 1e-6),
        overhead_us=number(BACKEND, "overhead_us", given["overhead_us"], 0),
        jitter=number(BACKEND, "jitter", given["jitter"], 0),
        refuses=refuses,
    )


@dataclass(frozen=True, slots=True)
class SimulatedDevice:
    """A roofline: gflops in GFLOP/s, gbps in GB/s, overhead_us a call, jitter a fraction."""

    seed: int
    gflops: float
    gbps: float
    overhead_us: float
    jitter: float
    refuses: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The canonical device string."""
        numbers = [(field.name, getattr(self, field.name)) for field in fields(self)[:5]]
        options = [f"{key}={str(value).removesuffix('.0')}" for key, value in numbers]
        if self.refuses:
            options.append(f"refuses={','.join(self.refuses)}")
        return f"{BACKEND}?{'&'.join(options)}"

    @property
    def suffix(self) -> str:
        """Of the files it loads."""
        return ".onnx"

    def facts(self) -> dict[str, Any]:
        """Facts to quote a figure with; they say that nothing was measured."""
        return {
            "backend": "simulated",
            "unit": "cpu",
            "runtime": "simulated roofline (nothing is measured)",
            "version": "1",
            "threads": 1,
            "precision": "fp32",
            **machine_facts(),
        }

    def unsupported(self, spec: OpSpec) -> str | None:
        """Why it refuses an operator, for kinds listed in `refuses`."""
        return f"this simulated device refuses {spec.kind}" if spec.kind in self.refuses else None

    def export(self, network: Network, calibration: Pictures | None = None) -> bytes:
        """The network as ONNX bytes."""
        return onnx_bytes(network)

    def load(self, model: bytes | Path) -> Session:
        """A model loaded; ModelError where it is none, or of open sizes."""
        return SimulatedSession(model if isinstance(model, bytes) else _read(model), self)


class SimulatedSession:
    """A model with a made-up latency; outputs are computed for real, by ONNX Runtime on one thread."""

    def __init__(self, content: bytes, device: SimulatedDevice) -> None:
        graph = _parsed(content)
        shapes = _shapes(graph)
        self._milliseconds = device.overhead_us / 1e3 + sum(
            node_ms(node, shapes, device.gflops, device.gbps) for node in graph.node
        )
        key = f"{device.seed} {structure(graph, shapes)}"
        self._seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
        self._jitter = device.jitter
        self._content = content

    @cached_property
    def _computing(self) -> Session:
        from hurricane.devices.onnxruntime_cpu import OnnxSession

        return OnnxSession(self._content, 1)

    def run(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The model's output for a batch."""
        return self._computing.run(images)

    def time(self, runs: int) -> list[float]:
        """Made-up milliseconds, equal at every call; nothing is waited for."""
        noise = np.random.default_rng(self._seed).standard_normal(runs)
        values: list[float] = (self._milliseconds * np.maximum(_LEAST, 1 + self._jitter * noise)).tolist()
        return values


def structure(graph: Any, shapes: Shapes) -> str:
    """What a model computes, whatever its values are called and its weights are: equal for equal structures."""
    numbers: dict[str, int] = {}
    lines = []
    for node in graph.node:
        values = [numbers.setdefault(name, len(numbers)) for name in (*node.input, *node.output)]
        sizes = [shapes.get(name) for name in (*node.input, *node.output)]
        attributes = sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
        lines.append(repr((node.op_type, values, sizes, attributes)))
    return "\n".join(lines)


def node_ms(node: Any, shapes: Shapes, gflops: float, gbps: float) -> float:
    """Milliseconds of one node on a roofline: the longer of computing and moving its float32 values."""
    if node.op_type in _FREE:
        return 0.0
    moved = 4 * sum(math.prod(shapes[name]) for name in (*node.input, *node.output) if name)
    macs = 0
    if node.op_type in ("Conv", "Gemm", "MatMul"):
        weight, output = shapes[node.input[1]], shapes[node.output[0]]
        # Every output value takes as many multiplications as one filter has weights.
        each = math.prod(weight[1:]) if node.op_type == "Conv" else math.prod(weight) // max(1, output[-1])
        macs = math.prod(output) * each
    return max(2 * macs / (gflops * 1e9), moved / (gbps * 1e9)) * 1e3


def _parsed(content: bytes) -> Any:
    import onnx

    try:
        graph = onnx.load_model_from_string(content).graph
        wanted = {name for node in graph.node for name in node.output}
        if not wanted <= {info.name for info in (*graph.value_info, *graph.output)}:
            graph = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(content)).graph
    except Exception as error:  # protobuf and onnx raise what they like
        raise ModelError(f"the model is no ONNX model: {' '.join(str(error).split())[:200]}") from error
    if not graph.node or not graph.output:
        raise ModelError("the model is no ONNX model: it holds no graph")
    return graph


def _shapes(graph: Any) -> Shapes:
    """Shape of every value at batch 1; ModelError where one is open."""
    shapes: Shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for info in (*graph.input, *graph.value_info, *graph.output):
        axes = [axis.dim_value for axis in info.type.tensor_type.shape.dim]
        if axes and axes[0] == 0:
            axes[0] = 1
        if 0 in axes or not info.type.tensor_type.HasField("shape"):
            raise ModelError(
                f"the size of {info.name} in the model is open; its latency depends on it, "
                "so export the model with a fixed size"
            )
        shapes[info.name] = tuple(axes)
    for node in graph.node:
        for name in (*node.input, *node.output):
            if name and name not in shapes:
                raise ModelError(
                    f"the size of {name} in the model is not known; {node.op_type} is not simulated"
                )
    return shapes


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}); give the path of an ONNX file"
        ) from error
