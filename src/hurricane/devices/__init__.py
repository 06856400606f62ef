"""Devices: where models are timed and run. One `measure` for operators, whole networks and the final file."""

from hurricane.devices.conformance import check_device
from hurricane.devices.measuring import measure
from hurricane.devices.naming import DeviceStatus, list_devices, open_device
from hurricane.devices.profiling import (
    bench_model,
    load_architectures,
    measure_architecture,
    measure_architectures,
    profile,
)
from hurricane.devices.protocol import Device, Pictures, Session
from hurricane.devices.watching import WITNESS_TURNS, Watched, beside

__all__ = [
    "WITNESS_TURNS",
    "Device",
    "DeviceStatus",
    "Pictures",
    "Session",
    "Watched",
    "bench_model",
    "beside",
    "check_device",
    "list_devices",
    "load_architectures",
    "measure",
    "measure_architecture",
    "measure_architectures",
    "open_device",
    "profile",
]
