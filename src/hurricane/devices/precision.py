"""Precisions of the back ends that read ONNX: which there are, and the file of each."""

import platform
from collections.abc import Mapping
from pathlib import Path

from hurricane.devices.protocol import Pictures
from hurricane.errors import DeviceError
from hurricane.export import Network, onnx_bytes, quantised_onnx_bytes

PRECISIONS = ("fp32", "int8")

_CPUINFO = Path("/proc/cpuinfo")


def checked_precision(backend: str, options: Mapping[str, str]) -> str:
    """The option `precision`; DeviceError where the back end does not have it."""
    precision = options["precision"]
    if precision not in PRECISIONS:
        raise DeviceError(
            f"{backend} has no precision {precision!r}; it has {' and '.join(PRECISIONS)}, as in precision=int8"
        )
    return precision


def onnx_of(network: Network, precision: str, calibration: Pictures | None) -> bytes:
    """The network as an ONNX file of a precision, for the processor of this computer."""
    if precision == "fp32":
        return onnx_bytes(network)
    return quantised_onnx_bytes(network, calibration, weight_bits=weight_bits(platform.machine(), _cpuinfo()))


def weight_bits(machine: str, cpuinfo: str) -> int:
    """Bits of int8 weights that a processor computes with exactly.

    x86 without VNNI sums products in 16 bits and cuts off what is larger; 7 bits stay inside. Where an x86
    processor does not say what it has (no /proc/cpuinfo), 7 are safe. Others (ARM) have no such trap.

    machine : as `platform.machine()` says; cpuinfo : contents of /proc/cpuinfo, "" where there is none.
    """
    if machine.lower() not in ("x86_64", "amd64", "i386", "i686"):
        return 8
    return 8 if "avx512_vnni" in cpuinfo or "avx_vnni" in cpuinfo else 7


def _cpuinfo() -> str:
    try:
        return _CPUINFO.read_text(encoding="utf-8")
    except OSError:
        return ""
