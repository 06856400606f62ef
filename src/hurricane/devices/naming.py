"""Device strings: `backend[:unit][?key=value&...]`, and what they open.

Third parties add back ends by the entry point group `hurricane.devices`: a name, and a function
`(unit, options) -> Device` (`Factory`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hurricane import plugins
from hurricane.devices.protocol import Device
from hurricane.errors import DeviceError, HurricaneError, MissingExtraError

Factory = Callable[[str, Mapping[str, str]], Device]
"""Opens a device: (unit, options) -> Device, unit "" where none was given.

Raises DeviceError for a unit, key or value that it does not have (`checked_options`, `number` and `whole_number`
help), and MissingExtraError where its package is not installed. It must not import that package before.
"""


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """Whether a device can be used here. reason: why not, or its runtime and version."""

    name: str
    available: bool
    reason: str


def _onnxruntime(unit: str, options: Mapping[str, str]) -> Device:
    from hurricane.devices.onnxruntime_cpu import open_onnxruntime

    return open_onnxruntime(unit, options)


def _openvino(unit: str, options: Mapping[str, str]) -> Device:
    from hurricane.devices.openvino_units import open_openvino

    return open_openvino(unit, options)


def _litert(unit: str, options: Mapping[str, str]) -> Device:
    from hurricane.devices.litert_cpu import open_litert

    return open_litert(unit, options)


def _simulated(unit: str, options: Mapping[str, str]) -> Device:
    from hurricane.devices.simulated import open_simulated

    return open_simulated(unit, options)


BUILT_IN: dict[str, Factory] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "litert": _litert,
    "simulated": _simulated,
}
# What `list_devices` tries of a back end; others by their name alone.
FAMILIES: dict[str, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime:cpu", "onnxruntime:cpu?precision=int8"),
    "openvino": ("openvino:cpu", "openvino:cpu?precision=int8", "openvino:gpu", "openvino:npu"),
    "litert": ("litert:cpu", "litert:cpu?precision=int8"),
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
    if backend in BUILT_IN:  # before plug-ins are imported: a broken one must not stop this
        return BUILT_IN[backend](unit, options)
    added: dict[str, Factory] = plugins.load("hurricane.devices")
    if backend not in added:
        known = sorted({*BUILT_IN, *added})
        close = plugins.closest(backend, known)
        raise DeviceError(f"there is no device back end {backend!r}{close}; there are {', '.join(known)}")
    return added[backend](unit, options)


def checked_options(backend: str, options: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """Options with defaults (`known`) filled in; DeviceError for a key that the back end does not have."""
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


def whole_number(backend: str, key: str, text: str, at_least: int, at_most: int | None = None) -> int:
    """A whole number of an option; DeviceError where it is none, too small or too large."""
    try:
        value = int(text)
    except ValueError:
        value = at_least - 1
    if value < at_least or (at_most is not None and value > at_most):
        span = f"from {at_least} up" if at_most is None else f"from {at_least} to {at_most}"
        raise DeviceError(f"{key}={text} is not possible on {backend}; it must be a whole number {span}")
    return value


def list_devices() -> list[DeviceStatus]:
    """Every back end that is known, by unit and precision, and whether it can be used here."""
    try:
        added, broken = plugins.load("hurricane.devices"), []
    except HurricaneError as error:
        added, broken = {}, [DeviceStatus("plug-ins", False, str(error))]
    backends = (*BUILT_IN, *sorted(set(added) - set(BUILT_IN)))
    return [status for backend in backends for status in _statuses(backend)] + broken


def _statuses(backend: str) -> list[DeviceStatus]:
    """One for each family; a single one where the back end is not installed."""
    found = []
    for name in FAMILIES.get(backend, (backend,)):
        try:
            device = open_device(name)
            facts = device.facts()
        except MissingExtraError as error:
            return [DeviceStatus(backend, False, str(error))]
        except HurricaneError as error:
            found.append(DeviceStatus(name, False, str(error)))
        else:
            found.append(DeviceStatus(device.name, True, f"{facts['runtime']} {facts['version']}"))
    return found
