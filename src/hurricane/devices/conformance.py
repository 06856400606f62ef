"""The kit that a device's author runs: `check_device(device)` raises AssertionError for what does not hold."""

import numpy as np

from hurricane import ops
from hurricane.devices.measuring import measure
from hurricane.devices.naming import open_device
from hurricane.devices.protocol import Device, Session
from hurricane.errors import DeviceError, ModelError
from hurricane.export import Network, onnx_bytes, random_network
from hurricane.ops import OpSpec

FACTS = (
    *("backend", "unit", "runtime", "version", "threads", "precision", "batch"),
    *("processor", "cores", "system", "python", "date"),
)
# Largest difference to the float network, as a share of its largest logit: float32 rounds differently in every
# runtime (5e-7 and less were seen), f16 keeps 11 bits. Integers: root mean square of the difference; ONNX Runtime and
# OpenVINO in int8 come to 0.01 on the network of this kit, another picture's logits to 0.3.
EXACT, HALF, QUANTISED = 1e-4, 2e-2, 0.05


def check_device(device: Device) -> None:
    """Everything that Hurricane relies on in a device; under a second where operators load in milliseconds.

    Raises AssertionError with a sentence that says what does not hold.
    """
    _check_name(device)
    missing = [name for name in FACTS if device.facts().get(name) in (None, "")]
    assert not missing, f"facts lack {', '.join(missing)}"
    assert device.facts()["batch"] == 1, "figures are for a batch of 1"
    network = _network()
    content = device.export(network)
    assert device.export(network) == content, "export must give the same bytes for the same network"
    session = device.load(content)
    _check_outputs(session)
    _check_times(session)
    _check_numbers(device, network)
    _check_refusals(device)


def _network() -> Network:
    """A small network with what most networks have: strides, gates, residuals, a shuffle, a classifier."""
    specs = (
        OpSpec("stem", 3, 8, 2, 16),
        OpSpec("mb_k3_e3_se", 8, 8, 1, 8),
        OpSpec("choice_k5", 8, 16, 2, 8),
        OpSpec("choice_k3", 16, 16, 1, 4),
        OpSpec("skip", 16, 16, 1, 4),
        OpSpec("head", 16, 16, 1, 4),
        OpSpec("classifier", 16, 5, 1, 4),
    )
    return random_network(specs, np.random.default_rng(0), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def _check_name(device: Device) -> None:
    assert open_device(device.name).name == device.name, "name must open the same device again"
    assert device.suffix.startswith("."), "suffix must start with a dot"
    backend = device.name.partition("?")[0].partition(":")[0]
    try:
        open_device(f"{backend}?no_such_option=1")
    except DeviceError:
        return
    raise AssertionError("an option that does not exist must raise DeviceError")


def _check_outputs(session: Session) -> None:
    images = np.random.default_rng(1).random((3, 3, 16, 16), dtype=np.float32)
    together = session.run(images)
    assert together.shape == (3, 5), f"logits must be (3, 5), not {together.shape}"
    assert together.dtype == np.float32, f"logits must be float32, not {together.dtype}"
    assert np.isfinite(together).all(), "logits must be finite"
    scale = float(np.abs(together).max())
    alone = np.concatenate([session.run(images[i : i + 1]) for i in range(3)])
    assert np.allclose(together, alone, atol=1e-2 * scale), "a picture's logits must not depend on its batch"
    different = float(np.ptp(together, axis=0).max())
    assert different > 1e-4 * scale, "different pictures must give different logits"


def _check_numbers(device: Device, network: Network) -> None:
    """That the device computes the network; a quantised one with calibration pictures, as it is delivered."""
    images = np.random.default_rng(3).random((8, 3, 16, 16), dtype=np.float32)
    content = device.export(network, images)
    assert device.export(network, images) == content, (
        "export must give the same bytes for the same calibration"
    )
    expected = open_device("onnxruntime:cpu?precision=fp32").load(onnx_bytes(network)).run(images)
    difference = np.abs(device.load(content).run(images) - expected) / np.abs(expected).max()
    precision, arithmetic = device.facts()["precision"], device.facts().get("arithmetic", "f32")
    if precision == "fp32":
        found, bound = float(difference.max()), EXACT if arithmetic == "f32" else HALF
    else:
        found, bound = float(np.sqrt(np.mean(difference**2))), QUANTISED
    assert found <= bound, (
        f"in {precision} outputs differ by {found:.2g} from what the network computes, at most {bound:g} is rounding"
    )


def _check_times(session: Session) -> None:
    times = session.time(7)
    assert len(times) == 7, "time(7) must give 7 values"
    assert all(value > 0 for value in times), "a run takes time"
    assert measure([session], rounds=2, seconds=0.01)[0].median_ms > 0, "a median must be above 0"


def _check_refusals(device: Device) -> None:
    identity = random_network([OpSpec("skip", 4, 4, 1, 4)], np.random.default_rng(0))
    image = np.random.default_rng(2).random((1, 4, 4, 4), dtype=np.float32)
    passed = device.load(device.export(identity)).run(image)
    assert np.allclose(passed, image, atol=1e-2), "an operator that does nothing must hand its input on"
    for kind in ops.OPERATORS:
        reason = device.unsupported(OpSpec(kind, 8, 8, 1, 8))
        assert reason is None or reason.strip(), f"unsupported({kind}) must give None or a reason"
    for damaged in (b"this is no model", b""):
        try:
            device.load(damaged)
        except ModelError:
            continue
        raise AssertionError("loading what is no model must raise ModelError")
