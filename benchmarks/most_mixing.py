"""What can be bought at one latency: the network that computes most where channels are mixed, at each of some widths.

    python benchmarks/most_mixing.py --max-latency 180us --widths 0.9 1.1 1.25 1.5 1.7 --out FILE.json
    python benchmarks/most_mixing.py --device "openvino:cpu?threads=1" --max-latency 180us --out DEVICES.json

First, single operators at all layers are made as wide as the budget lets them be, up to a width of 4. Where no widths
are given, they lie around that of the one which mixes most then. At each width the device is profiled, the table's
sum is corrected by one factor from a few measured networks, and the network with the most mixing MACs of the whole
pool that keeps the budget is looked for by a knapsack over layers (`hurricane.search.most_within`). It is measured,
and where that is above the budget, looked for again with less. Beside it stand single operators at that width.
Nothing is trained. Nothing else may run.
"""

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from widths import widest

import hurricane as hn
from hurricane.config import parse_budget
from hurricane.devices.protocol import Device
from hurricane.errors import HurricaneError, InfeasibleBudget
from hurricane.latency import AdditiveCosts
from hurricane.runs import write_json
from hurricane.search import most_within

FITTED = 6
SINGLE = ("sep_k3", "mb_k3_e3", "mb_k3_e6", "mb_k5_e6", "mb_k7_e6")
# Widths around that of the best single operator.
AROUND = (0.8, 1.0, 1.2, 1.45)
STEP = 0.05
NARROWEST, WIDEST = 0.1, 4.0
# A network that is measured above the budget is looked for again with so much less.
LESS = 0.98


def bought(device: Device, space: hn.SearchSpace, budget: float) -> dict[str, Any]:
    """The network that mixes most within a budget (milliseconds), and single operators beside it."""
    table = hn.profile(device, space)
    costs = table.costs(space)

    def measured(arch: Any) -> float:
        return float(hn.measure_architecture(device, space, arch).median_ms)

    few = space.random(FITTED, np.random.default_rng(0))
    factor = statistics.median(
        measured(arch) / sums for arch, sums in zip(few, costs.total(few), strict=True)
    )
    values = space.mixing_macs_by_layer()
    corrected = AdditiveCosts(tuple(factor * layer for layer in costs.layers), factor * costs.fixed_ms)
    wanted, cost = budget, np.inf
    while cost > budget:
        arch = most_within(values, corrected, wanted)
        cost, wanted = measured(arch), wanted * LESS
    found = {
        "factor": factor,
        "architecture": list(space.names(arch)),
        "mixing_macs": int(space.mixing_macs([arch])[0]),
        "macs": int(space.macs([arch])[0]),
        "measured_ms": cost,
        "single": {},
    }
    for name in SINGLE:
        alone = space.indices((name,) * len(space.layers))
        found["single"][name] = {
            "mixing_macs": int(space.mixing_macs([alone])[0]),
            "macs": int(space.macs([alone])[0]),
            "measured_ms": measured(alone),
        }
    return found


def alone(device: Device, at: Callable[[float], hn.SearchSpace], budget: float) -> dict[str, Any]:
    """For each single operator the widest network that keeps a budget (milliseconds); None where there is none."""

    def only(name: str, width: float) -> hn.SearchSpace:
        space = at(width)
        return space.narrow([(name,) for _ in space.layers])

    def cost(space: hn.SearchSpace) -> float:
        return float(hn.measure_architecture(device, space, [0] * len(space.layers)).median_ms)

    found: dict[str, Any] = {}
    for name in SINGLE:
        try:
            width, space, measured = widest(
                lambda width, name=name: only(name, width), cost, budget, (NARROWEST, WIDEST), STEP
            )
        except InfeasibleBudget:
            found[name] = None
            continue
        arch = [[0] * len(space.layers)]
        found[name] = {
            "width": width,
            "mixing_macs": int(space.mixing_macs(arch)[0]),
            "macs": int(space.macs(arch)[0]),
            "measured_ms": measured,
        }
    return found


def main() -> None:
    """One row a width; those that are on file are not done again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="onnxruntime:cpu?threads=1")
    parser.add_argument("--max-latency", default="180us")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--depth", type=float, default=1.0)
    parser.add_argument("--widths", type=float, nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    device, budget = hn.open_device(asked.device), parse_budget(asked.max_latency)
    results = json.loads(asked.out.read_text()) if asked.out.is_file() else {"rows": []}
    results |= {"command": shlex.join(sys.argv), "date": time.strftime("%Y-%m-%d")}
    given = {
        "device": device.name,
        "preset": asked.preset,
        "depth": asked.depth,
        "image_size": asked.image_size,
        "budget_ms": budget,
    }

    def at(width: float) -> hn.SearchSpace:
        return hn.preset(
            asked.preset, image_size=asked.image_size, classes=10, width=width, depth=asked.depth
        )

    def kept(name: str, wanted: dict[str, Any], find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        rows = results.setdefault(name, [])
        found = next((row for row in rows if wanted.items() <= row.items()), None)
        if found is None:
            found = {**wanted, **find(), "facts": dict(device.facts())}
            rows.append(found)
            write_json(asked.out, results)
        return found

    singles = kept("alone", given, lambda: {"single": alone(device, at, budget)})["single"]
    best = max((row for row in singles.values() if row), key=lambda row: row["mixing_macs"], default=None)
    if best is None:
        raise SystemExit("no single operator keeps the budget at any width")
    print(f"alone: {best['mixing_macs'] / 1e6:.1f} million at width {best['width']:g}", flush=True)
    around = [round(round(share * best["width"] / STEP) * STEP, 2) for share in AROUND]
    for width in asked.widths or around:
        row = kept("rows", {**given, "width": width}, lambda width=width: bought(device, at(width), budget))
        print(f"width {width:g}: {row['mixing_macs'] / 1e6:.1f} million, {row['architecture']}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except HurricaneError as error:
        raise SystemExit(str(error)) from error
