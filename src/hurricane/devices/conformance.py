"""The kit that a device's author runs: `check_device(device)` raises AssertionError for what does not hold."""

import numpy as np

from hurricane.devices.measuring import measure
from hurricane.devices.protocol import Device
from hurricane.errors import ModelError
from hurricane.export import random_network
from hurricane.ops import OpSpec

FACTS = ("backend", "unit", "runtime", "version", "threads", "precision", "batch", "date")


def check_device(device: Device) -> None:
    """Everything that Hurricane relies on in a device; a few hundred milliseconds."""
    from hurricane.devices.naming import open_device

    assert open_device(device.name).name == device.name, "name must open the same device again"
    assert device.suffix.startswith("."), "suffix must start with a dot"
    missing = [name for name in FACTS if device.facts().get(name) in (None, "")]
    assert not missing, f"facts lack {', '.join(missing)}"
    specs = (OpSpec("stem", 3, 8, 2, 16), OpSpec("mb_k3_e3_se", 8, 8, 1, 8), OpSpec("head", 8, 16, 1, 8))
    network = random_network(
        [*specs, OpSpec("classifier", 16, 5, 1, 8)], np.random.default_rng(0), normalised=True
    )
    content = device.export(network)
    assert device.export(network) == content, "export must give the same bytes for the same network"
    session = device.load(content)
    images = np.random.default_rng(1).random((3, 3, 16, 16), dtype=np.float32)
    together = session.run(images)
    assert together.shape == (3, 5), f"logits must be (3, 5), not {together.shape}"
    alone = np.concatenate([session.run(images[i : i + 1]) for i in range(3)])
    assert np.allclose(together, alone, atol=1e-3), "a picture's logits must not depend on its batch"
    times = session.time(7)
    assert len(times) == 7, "time(7) must give 7 values"
    assert all(value > 0 for value in times), "a run takes time"
    assert measure([session], rounds=2, seconds=0.01)[0].median_ms > 0
    try:
        device.load(b"this is no model")
    except ModelError:
        return
    raise AssertionError("loading what is no model must raise ModelError")
