"""The seam to hardware: what a device and a loaded model must offer. Third parties own theirs."""

import os
import platform
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hurricane.export import Network
from hurricane.ops import OpSpec

Pictures = npt.NDArray[np.float32]
"""Inputs of a network: (n, c, h, w) float32, a whole network's in [0, 1]."""


class Session(Protocol):
    """A model loaded on a device."""

    def run(self, images: Pictures) -> npt.NDArray[np.float32]:
        """The model's output for a batch: (n, c, h, w) float32 -> (n, ...)."""
        ...

    def time(self, runs: int) -> list[float]:
        """Milliseconds of each of `runs` runs at batch 1 on a fixed random input."""
        ...


class Device(Protocol):
    """A target: exports for its runtime, loads, runs and times.

    name : the canonical device string, every option written out.
    suffix : of the files it loads, as in ".onnx".
    """

    @property
    def name(self) -> str: ...

    @property
    def suffix(self) -> str: ...

    def facts(self) -> dict[str, Any]:
        """What a measurement must be quoted with: backend, runtime, version, threads, precision, batch, ..."""
        ...

    def unsupported(self, spec: OpSpec) -> str | None:
        """Why the device cannot run an operator, where that is known without trying; else None."""
        ...

    def export(self, network: Network, calibration: Pictures | None = None) -> bytes:
        """The network as a file for this device's runtime, in its precision.

        calibration : (n, c, h, w) float32 inputs from which a quantised precision takes the ranges of values;
            None where accuracy does not matter, as in timing: any ranges will do.
        """
        ...

    def load(self, model: bytes | Path) -> Session:
        """A model loaded; ModelError where it is none, or holds what the runtime cannot run."""
        ...


def machine_facts() -> dict[str, Any]:
    """Facts of this computer: processor, cores, system, date."""
    return {
        "batch": 1,
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
