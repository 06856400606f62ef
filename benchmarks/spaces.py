"""Three spaces at one budget: the full pool, a hand-made one, the hardware-aware one, at several widths.

    python benchmarks/spaces.py --preset tiny --image-size 32 --max-latency 180us --out FILE.json

For each width the full space is profiled on the device, and the table is corrected by a few whole networks, as a run
does. Told is the share of the architectures of each space within the budget, and within the window that a search looks
through (90 to 98 % of it), counted on a grid, to about a tenth of a point. Hand-made are inverted bottlenecks with
kernels of 3, 5 and 7 and expansions of 3 and 6, the operators of ProxylessNAS and OFA, at a fixed depth.
"""

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import hurricane as hn
from hurricane.config import parse_budget
from hurricane.runs import write_json
from hurricane.search import share_within

HAND_MADE = tuple(f"mb_k{kernel}_e{expansion}" for kernel in (3, 5, 7) for expansion in (3, 6))
NETWORKS = 8
WINDOW = (0.9, 0.98)


def shares(space: hn.SearchSpace, cost: hn.LatencyModel, budget: float) -> dict[str, float]:
    """Architectures, and shares of them within the budget and within the window that is searched."""
    low, high = (share_within(space, cost, edge * budget) for edge in WINDOW)
    costs = cost.costs(space)
    return {
        "architectures": float(space.size),
        "cheapest_ms": costs.cheapest_ms,
        "dearest_ms": costs.dearest_ms,
        "within": share_within(space, cost, budget),
        "in_window": high - low,
    }


def at_width(asked: argparse.Namespace, width: float) -> dict[str, Any]:
    """The three spaces on a skeleton of this width."""
    device, budget = hn.open_device(asked.device), parse_budget(asked.max_latency)
    full = hn.preset(asked.preset, image_size=asked.image_size, classes=10, width=width)
    table = hn.profile(device, full)
    archs = hn.sample(full, NETWORKS, seed=0, cost=table, max_ms=table.costs(full).dearest_ms)
    measured = [hn.measure_architecture(device, full, arch).median_ms for arch in archs]
    model = hn.fit_latency(full, archs, measured, prior=table)
    spaces = {
        "full": full,
        "hand-made": full.narrow([HAND_MADE] * len(full.layers)),
        "hardware-aware": hn.specialize(full, model, keep=5, max_ms=budget),
    }
    return {"width": width, **{name: shares(space, model, budget) for name, space in spaces.items()}}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=("tiny", "mobile"), default="tiny")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--device", default="onnxruntime:cpu?threads=1")
    parser.add_argument("--max-latency", default="180us")
    parser.add_argument("--widths", type=float, nargs="*", default=[0.85, 1.15, 1.5, 2.0, 2.5])
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    results: dict[str, Any] = {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "facts": dict(hn.open_device(asked.device).facts()),
        "widths": [],
    }
    for width in asked.widths:
        row = at_width(asked, width)
        results["widths"].append(row)
        write_json(asked.out, results)
        cells = ", ".join(
            f"{name} {row[name]['within']:.3%} (window {row[name]['in_window']:.3%})"
            for name in ("full", "hand-made", "hardware-aware")
        )
        print(f"width {width:g}: {cells}", flush=True)


if __name__ == "__main__":
    main()
