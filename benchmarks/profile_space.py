"""How long a profile takes and how well it predicts: the presets on one device, with whole networks measured.

    python benchmarks/profile_space.py --out benchmarks/results/profile_space.json

For each preset: seconds for all distinct operators (bars: mobile at 224 px within 5 minutes, tiny at 32 px within one),
then random whole networks, measured, against the sum of the table and against `fit_latency` on some of them.
Run it on a quiet machine; the load before and after is recorded.
"""

import argparse
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import hurricane as hn
from hurricane import ops
from hurricane.devices import Device, measure_architectures
from hurricane.latency import Floats

PRESETS = {"tiny": (32, 10, 60.0), "mobile": (224, 1000, 300.0)}
"""Image size, classes, and the bar in seconds."""


def main() -> None:
    """Profile, measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--device", default="onnxruntime:cpu?threads=1")
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=list(PRESETS))
    parser.add_argument("--networks", type=int, default=20, help="random whole networks to measure")
    parser.add_argument("--fitted", type=int, default=10, help="networks of these that the fit sees")
    parser.add_argument("--stack", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if not 2 < asked.fitted < asked.networks:
        parser.error("--fitted must be above 2 and below --networks")
    device = hn.open_device(asked.device)
    figures: dict[str, Any] = {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "device": device.name,
        "facts": device.facts(),
        "load_before": os.getloadavg(),
        "presets": {name: preset_figures(device, name, asked) for name in asked.presets},
    }
    figures["load_after"] = os.getloadavg()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    for name, row in figures["presets"].items():
        print(
            f"{name} at {row['image_size']} px: {row['timed']} timings for {row['operators']} operators in "
            f"{row['seconds']:.1f} s (bar {row['bar_seconds']:.0f} s), {row['unstable']} unstable; "
            f"networks {row['networks_ms'][0]:.3g} to {row['networks_ms'][1]:.3g} ms; table "
            f"{in_words(row['table_error'])}; fitted on {asked.fitted} {in_words(row['fitted_error'])}"
        )


def preset_figures(device: Device, name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Figures of one preset, ready for JSON."""
    image_size, classes, bar = PRESETS[name]
    space = hn.preset(name, image_size=image_size, classes=classes)
    started = time.perf_counter()
    table = hn.profile(device, space, stack=asked.stack)
    seconds = time.perf_counter() - started
    archs = space.random(asked.networks, np.random.default_rng(asked.seed))
    samples = measure_architectures(device, space, archs)
    measured = np.array([sample.median_ms for sample in samples])
    model = hn.fit_latency(space, archs[: asked.fitted], measured[: asked.fitted], prior=table)
    rest = slice(asked.fitted, None)
    return {
        "image_size": image_size,
        "classes": classes,
        "operators": len(table.rows),
        "timed": len({ops.graph(spec) for spec in table.rows}),
        "seconds": seconds,
        "bar_seconds": bar,
        "unstable": sum(row.unstable is not None for row in table.rows.values()),
        "spread_median": float(np.median([row.spread for row in table.rows.values()])),
        "networks": asked.networks,
        "networks_ms": [float(measured.min()), float(measured.max())],
        "networks_unstable": sum(sample.unstable is not None for sample in samples),
        "networks_spread_median": float(np.median([sample.spread for sample in samples])),
        "table_error": errors(table.predict(space, archs), measured),
        "fitted_error": errors(model.predict(space, archs[rest]), measured[rest]),
        "overhead_ms": table.provenance["overhead_ms"],
        "measured_ms": measured.tolist(),
        "predicted_ms": table.predict(space, archs).tolist(),
    }


def errors(predicted: Floats, measured: Floats) -> dict[str, float]:
    """Relative errors of a prediction: bias, mean size, shares within 5 and 10 %."""
    relative = predicted / measured - 1
    size = np.abs(relative)
    return {
        "bias": float(relative.mean()),
        "mean": float(size.mean()),
        "largest": float(size.max()),
        "within_5_percent": float((size <= 0.05).mean()),
        "within_10_percent": float((size <= 0.10).mean()),
    }


def in_words(error: dict[str, float]) -> str:
    """A row of errors for people."""
    return (
        f"bias {error['bias']:+.1%}, mean error {error['mean']:.1%}, "
        f"{error['within_5_percent']:.0%} within 5 %"
    )


if __name__ == "__main__":
    main()
