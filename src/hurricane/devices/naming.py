"""Device strings: `backend[:unit][?key=value&...]`, and what they open."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hurricane import plugins
from hurricane.devices.protocol import Device
from hurricane.errors import DeviceError, HurricaneError

Factory = Callable[[str, Mapping[str, str]], Device]
"""Opens a device: (unit, options) -> Device; raises DeviceError for what it does not have."""


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """Whether a device can be used here, and why not (or what it is)."""

    name: str
    available: bool
    reason: str


def _onnxruntime(unit: str, options: Mapping[str, str]) -> Device:
    from hurricane.devices.onnxruntime_cpu import open_onnxruntime

    return open_onnxruntime(unit, options)


def _simulated(unit: str, options: Mapping[str, str]) -> Device:
    from hurricane.devices.simulated import open_simulated

    return open_simulated(unit, options)


BUILT_IN: dict[str, tuple[Factory, str]] = {
    "onnxruntime": (_onnxruntime, "onnxruntime:cpu?threads=1&precision=fp32"),
    "simulated": (_simulated, "simulated:cpu?seed=0&gflops=20&gbps=10&overhead_us=5&jitter=0.02"),
}


def open_device(name: str) -> Device:
    """The device of a device string, as in "onnxruntime:cpu?threads=1".

    Raises DeviceError for an unknown back end, unit, key or value, and MissingExtraError (a DeviceError) where
    its package is not installed.
    """
    head, _, query = name.strip().partition("?")
    backend, _, unit = head.partition(":")
    options: dict[str, str] = {}
    for part in query.split("&") if query else []:
        key, equals, value = part.partition("=")
        if not equals or not key or not value:
            raise DeviceError(f"{part!r} in device {name!r} is no option; write key=value, joined by &")
        if key in options:
            raise DeviceError(f"device {name!r} gives {key} twice; give it once")
        options[key] = value
    factories = {**{k: f for k, (f, _) in BUILT_IN.items()}, **plugins.load("hurricane.devices")}
    if backend not in factories:
        close = plugins.closest(backend, factories)
        raise DeviceError(
            f"there is no device back end {backend!r}{close}; there are {', '.join(sorted(factories))}"
        )
    return factories[backend](unit or "cpu", options)


def checked_options(backend: str, options: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """Options with defaults filled in; DeviceError for a key that the back end does not have."""
    for key in options:
        if key not in known:
            close = plugins.closest(key, known)
            raise DeviceError(f"{backend} has no option {key!r}{close}; it has {', '.join(known)}")
    return {**known, **options}


def number(backend: str, key: str, text: str, at_least: float) -> float:
    """A number of an option; DeviceError where it is none or too small."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not at_least <= value < float("inf"):
        raise DeviceError(
            f"{key}={text} is not possible on {backend}; it must be a number of at least {at_least:g}"
        )
    return value


def whole_number(backend: str, key: str, text: str, at_least: int) -> int:
    """A whole number of an option; DeviceError where it is none or too small."""
    if not text.lstrip("-").isdigit() or int(text) < at_least:
        raise DeviceError(
            f"{key}={text} is not possible on {backend}; it must be a whole number from {at_least} up"
        )
    return int(text)


def list_devices() -> list[DeviceStatus]:
    """Every back end that is known, and whether it can be used here."""
    found = []
    names = [example for _, example in BUILT_IN.values()]
    for name in [*names, *sorted(plugins.load("hurricane.devices"))]:
        try:
            device = open_device(name)
            facts = device.facts()
            note = f"{facts.get('runtime', '')} {facts.get('version', '')}".strip()
            found.append(DeviceStatus(device.name, True, note))
        except HurricaneError as error:
            found.append(DeviceStatus(name, False, str(error)))
    return found
