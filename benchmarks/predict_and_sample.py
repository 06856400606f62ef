"""How fast architectures are priced and drawn: a million by a table, a hundred thousand under a tight budget.

    python benchmarks/predict_and_sample.py --out benchmarks/results/predict_and_sample.json

The space is `mobile` (20 layers, 32 operators each, 224 pixels), its costs are made up from a seed. Bars: one million
architectures priced within 1 s; 100,000 drawn within 2 s at a budget that less than 0.1 % of the space meets, what the
draw prepares included. Run it on a quiet machine; the load before and after is recorded.
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import hurricane as hn
from hurricane.search import share_within

PRICED, DRAWN = 1_000_000, 100_000


def main() -> None:
    """Time, print, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    load_before = os.getloadavg()
    space = hn.preset("mobile", image_size=224, classes=1000)
    rng = np.random.default_rng(asked.seed)
    table = hn.LatencyTable.from_costs(space, [rng.gamma(2, 0.1, count).tolist() for count in space.counts])
    archs = space.random(PRICED, rng)
    budgets = {"share 5e-4": float(np.quantile(table.predict(space, archs), 5e-4))}
    cheapest = table.costs(space).cheapest_ms
    budgets["share tiny"] = cheapest + 0.35 * (budgets["share 5e-4"] - cheapest)
    figures: dict[str, Any] = {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "load_before": load_before,
        "predict": {
            "architectures": PRICED,
            "bar_s": 1.0,
            **timed(lambda: table.predict(space, archs), asked.repeats),
        },
    }
    for name, budget in budgets.items():
        figures[f"sample, {name}"] = {
            "architectures": DRAWN,
            "bar_s": 2.0,
            "budget_ms": budget,
            "share_within": share_within(space, table, budget),
            **timed(lambda budget=budget: drawn(space, table, budget), asked.repeats),
        }
    figures["load_after"] = os.getloadavg()
    text = json.dumps(figures, indent=2)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(text + "\n", encoding="utf-8")
    print(text)


def drawn(space: hn.SearchSpace, table: hn.LatencyTable, budget: float) -> None:
    """One draw, checked against the budget (the check is timed, too)."""
    archs = hn.sample(space, DRAWN, cost=table, max_ms=budget)
    assert (table.predict(space, archs) <= budget).all()


def timed(work: Callable[[], object], repeats: int) -> dict[str, Any]:
    """Seconds of `repeats` calls: median, least and most."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return {
        "median_s": statistics.median(seconds),
        "least_s": min(seconds),
        "most_s": max(seconds),
        "repeats": repeats,
    }


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
