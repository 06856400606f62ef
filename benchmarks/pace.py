"""How a processor's pace wanders, and what that asks of a measurement: whole networks on one device, four figures.

    python benchmarks/pace.py --device "onnxruntime:cpu?threads=1" --out benchmarks/results/pace.json

- *first runs*: how much slower a network's runs are after another network has run, by number (median of many switches).
- *blocks*: deviation of the medians of consecutive blocks of one running network, by length of the block. Where longer
  blocks are no steadier, the pace of the machine moves more slowly than they last.
- *correlation* of two runs so many milliseconds apart.
- *repeated*: five networks measured again and again, as whole networks were in 9 long turns and are in 25 short ones
  (which take up to twice as long, warm-up and all: the seconds are told): deviation of their medians, and of their
  ratios to the fifth one, a witness.

Results are added to the file by device. Nothing else should be running; the load is recorded.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import hurricane as hn
from hurricane.devices import Session, load_architectures, measure
from hurricane.latency import Floats
from hurricane.runs import write_json

RUNS_OF_A_TURN = 16
BLOCKS_MS = (10.0, 25.0, 50.0, 100.0, 400.0)
LAGS_MS = (10.0, 50.0, 200.0, 1000.0, 5000.0)
TURNS = {"3 x 3 turns of 50 ms": (9, 0.05), "5 x 5 turns of 20 ms": (25, 0.02)}


def main() -> None:
    """Measure, add to the file, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", required=True)
    parser.add_argument("--preset", choices=("tiny", "mobile"), default="mobile")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--switches", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=15.0, help="that one network runs without a pause")
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    device = hn.open_device(asked.device)
    space = hn.preset(asked.preset, image_size=asked.image_size, classes=100)
    sessions = load_architectures(device, space, space.random(5, np.random.default_rng(3)))
    for session in sessions:
        session.time(20)
    found = {
        "command": " ".join(sys.argv),
        "preset": asked.preset,
        "image_size": asked.image_size,
        "facts": device.facts(),
        "date": time.strftime("%Y-%m-%d"),
        "load": os.getloadavg(),
        "first_runs": first_runs(sessions, asked.switches),
        **alone(sessions[0], asked.seconds),
        "repeated": {name: repeated(sessions, asked.repeats, *turns) for name, turns in TURNS.items()},
    }
    results: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.is_file() else {}
    results[f"{asked.preset} {device.name}"] = found
    write_json(asked.out, results)
    for name in ("first_runs", "blocks", "correlation", "repeated"):
        print(name, json.dumps(found[name]))


def first_runs(sessions: Sequence[Session], switches: int) -> list[float]:
    """Time of the first, second... run after a switch, as a factor of the runs after the eighth."""
    turns = np.array([[session.time(RUNS_OF_A_TURN) for session in sessions] for _ in range(switches)])
    usual = np.median(turns[:, :, RUNS_OF_A_TURN // 2 :], axis=2, keepdims=True)
    return [round(float(factor), 4) for factor in np.median(turns / usual, axis=(0, 1))]


def alone(session: Session, seconds: float) -> dict[str, dict[str, float]]:
    """Blocks and correlation of one network that runs without a pause."""
    each = float(np.median(session.time(20)))
    runs = np.array(session.time(int(seconds * 1e3 / each)))
    blocks = {}
    for length in BLOCKS_MS:
        count = max(1, round(length / each))
        medians = np.median(runs[: len(runs) // count * count].reshape(-1, count), axis=1)
        blocks[f"{length:g} ms"] = round(float(medians.std() / np.median(runs)), 4)
    low, high = np.quantile(runs, [0.02, 0.98])
    centred = np.clip(runs, low, high) - np.clip(runs, low, high).mean()
    lags = {lag: max(1, round(lag / each)) for lag in LAGS_MS}
    power = float((centred**2).mean())
    correlation = {
        f"{lag:g} ms": round(float((centred[:-n] * centred[n:]).mean()) / power, 2) for lag, n in lags.items()
    }
    return {"blocks": blocks, "correlation": correlation}


def repeated(sessions: Sequence[Session], repeats: int, rounds: int, seconds: float) -> dict[str, float]:
    """Deviation of medians from repeat to repeat, alone and against the last session, and what a repeat takes."""
    started = time.perf_counter()
    medians = np.log(
        [[one.median_ms for one in measure(sessions, rounds=rounds, seconds=seconds)] for _ in range(repeats)]
    )
    taken = (time.perf_counter() - started) / repeats

    def deviation(values: Floats) -> float:
        return round(float(values.std(axis=0, ddof=1).mean()), 4)

    against = medians[:, :-1] - medians[:, -1:]
    return {"alone": deviation(medians), "against": deviation(against), "seconds": round(taken, 2)}


if __name__ == "__main__":
    main()
