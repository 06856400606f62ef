"""A simulated device: a roofline with seeded jitter, for tests. Never the default, never a measurement.

A node takes the longer of computing (2 x MACs / gflops) and moving its bytes (gbps); a run adds its overhead.
Jitter depends on the seed and the structure of the model alone, never on the order of calls or the weights.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hurricane.devices.naming import checked_options, number, whole_number
from hurricane.devices.protocol import Session, machine_facts
from hurricane.errors import DeviceError, ModelError
from hurricane.export import Network, onnx_bytes
from hurricane.ops import OpSpec

BACKEND = "simulated:cpu"
DEFAULTS = {"seed": "0", "gflops": "20", "gbps": "10", "overhead_us": "5", "jitter": "0.02", "refuses": "-"}


def open_simulated(unit: str, options: Mapping[str, str]) -> "SimulatedDevice":
    """The device `simulated:cpu?seed=0&gflops=20&gbps=10&overhead_us=5&jitter=0.02`.

    refuses : kinds of operators, joined by commas, that it is to be unable to run; "-" is none.
    """
    if unit != "cpu":
        raise DeviceError(f"simulated has no unit {unit!r}; it has cpu")
    given = checked_options(BACKEND, options, DEFAULTS)
    return SimulatedDevice(
        seed=whole_number(BACKEND, "seed", given["seed"], 0),
        gflops=number(BACKEND, "gflops", given["gflops"], 1e-6),
        gbps=number(BACKEND, "gbps", given["gbps"], 1e-6),
        overhead_us=number(BACKEND, "overhead_us", given["overhead_us"], 0),
        jitter=number(BACKEND, "jitter", given["jitter"], 0),
        refuses=() if given["refuses"] == "-" else tuple(given["refuses"].split(",")),
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
        refuses = f"&refuses={','.join(self.refuses)}" if self.refuses else ""
        return (
            f"{BACKEND}?seed={self.seed}&gflops={self.gflops:g}&gbps={self.gbps:g}"
            f"&overhead_us={self.overhead_us:g}&jitter={self.jitter:g}{refuses}"
        )

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

    def export(self, network: Network) -> bytes:
        """The network as ONNX bytes."""
        return onnx_bytes(network)

    def load(self, model: bytes | Path) -> Session:
        """A model loaded; ModelError where it is none."""
        content = model if isinstance(model, bytes) else _read(model)
        return SimulatedSession(content, self)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}); give the path of an ONNX file"
        ) from error


class SimulatedSession:
    """A model with a made-up latency; outputs are computed for real, by ONNX Runtime."""

    def __init__(self, content: bytes, device: SimulatedDevice) -> None:
        import onnx

        try:
            model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
            self._milliseconds = device.overhead_us / 1e3 + _roofline_ms(model, device)
        except Exception as error:  # protobuf and onnx raise what they like
            raise ModelError(f"the model is no ONNX model: {str(error).splitlines()[0][:200]}") from error
        structure = [
            (n.op_type, list(n.input), [a.SerializeToString() for a in n.attribute]) for n in model.graph.node
        ]
        shapes = [(t.name, list(t.dims)) for t in model.graph.initializer]
        inputs = [i.SerializeToString() for i in model.graph.input]
        seed = hashlib.sha256(repr((device.seed, structure, shapes, inputs)).encode()).digest()[:8]
        self._seed = int.from_bytes(seed, "little")
        self._jitter = device.jitter
        self._content = content

    def run(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The model's output for a batch."""
        from hurricane.devices.onnxruntime_cpu import OnnxSession

        return OnnxSession(self._content, 1).run(images)

    def time(self, runs: int) -> list[float]:
        """Made-up milliseconds: equal at every call."""
        noise = np.random.default_rng(self._seed).standard_normal(runs)
        values: list[float] = (self._milliseconds * np.maximum(0.1, 1 + self._jitter * noise)).tolist()
        return values


def _roofline_ms(model: Any, device: SimulatedDevice) -> float:
    graph = model.graph
    shapes = {t.name: tuple(t.dims) for t in graph.initializer}
    for info in (*graph.input, *graph.value_info, *graph.output):
        shapes[info.name] = tuple(d.dim_value or 1 for d in info.type.tensor_type.shape.dim)
    total = 0.0
    for node in graph.node:
        moved = 4 * sum(int(np.prod(shapes.get(name, (0,)))) for name in (*node.input, *node.output))
        macs = 0
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            weight, output = shapes[node.input[1]], shapes[node.output[0]]
            # Every output value takes as many multiplications as one filter has weights.
            each = int(np.prod(weight[1:])) if node.op_type == "Conv" else int(np.prod(weight)) // output[-1]
            macs = int(np.prod(output)) * each
        total += max(2 * macs / (device.gflops * 1e9), moved / (device.gbps * 1e9))
    return total * 1e3
