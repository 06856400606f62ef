"""Latency learned without a table, on real phones and servers: `fit_latency` against one-hot ridge.

    OMP_NUM_THREADS=1 python benchmarks/fbnet_latency.py --data FOLDER --out benchmarks/results/fbnet_latency.json

The data: 5,000 networks of the FBNet space measured on six devices (HW-NAS-Bench and HELP, MIT), rows in order of
measurement. Both learn from 300 networks (and from 100) and predict all others; taken at random, or as one block of
consecutive rows ("by time", six blocks). The rival's strength is chosen by leave-one-out cross-validation
in closed form. pixel3, raspi4 and eyeriss are sums of a table of their own: exactly additive, without noise.
The floor is what a fit on 2,500 networks leaves on the other half, with the outliers that no network explains.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet

import hurricane as hn
from hurricane import plugins
from hurricane.latency import Floats
from hurricane.latency_model.components import one_hot
from hurricane.ops import GraphBuilder, OpSpec
from hurricane.space import Archs

FILE = "fbnet_latency.parquet"
DEVICES = ("pixel3", "raspi4", "eyeriss", "gold_6226", "titan_rtx_1", "samsung_s7")
LOOK_UPS = DEVICES[:3]
REPEATS, FLOOR = 6, 2500
STRENGTHS = 10.0 ** np.arange(-6, 4.1, 0.5)


@dataclass(frozen=True, slots=True)
class Block:
    """FBNet's block: expand, shuffle where grouped, depthwise, project. `kind` as k3_e6 or k3_e1_g2."""

    kind: str

    def unsupported(self, spec: OpSpec) -> str | None:
        return None

    def write(self, spec: OpSpec, b: GraphBuilder) -> None:
        kernel, expansion, groups = (int(part[1:]) for part in (*self.kind.split("_"), "g1")[:3])
        y = b.relu(b.conv(b.input, spec.cin * expansion, groups=groups))
        y = b.shuffle(y, groups) if groups > 1 else y
        y = b.conv(b.relu(b.depthwise(y, kernel, spec.stride)), spec.cout, groups=groups)
        if spec.stride == 1 and spec.cin == spec.cout:
            b.add(b.input, y)


KINDS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6")


def fbnet() -> hn.SearchSpace:
    """The space of the data: 22 layers of nine choices at 32 pixels."""
    # What an installed plug-in would offer by its entry point.
    plugins.load("hurricane.operators").update({kind: Block(kind) for kind in KINDS})
    stages = zip((1, 4, 4, 4, 4, 4, 1), (16, 24, 32, 64, 112, 184, 352), (1, 1, 2, 2, 1, 2, 1), strict=True)
    layers, channels, size = [], 16, 32
    for count, width, first in stages:
        for stride in (first, *(1,) * (count - 1)):
            layers.append(hn.LayerSpec(channels, width, stride, size, (*KINDS, "skip")))
            channels, size = width, -(-size // stride)
    return hn.SearchSpace(tuple(layers), 32, 100, stem_channels=16, stem_stride=1, head_channels=1504)


def main() -> None:
    """Fit, predict, print, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help=f"folder that holds {FILE}")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    asked = parser.parse_args()
    if not (asked.data / FILE).is_file():
        print(
            f"skipped: {asked.data} holds no {FILE}; it is made from HELP's data/fbnet (github.com/HayeonLee/HELP)"
        )
        return
    data = pyarrow.parquet.read_table(asked.data / FILE)
    archs, space = np.array(data["arch"].to_pylist()), fbnet()
    devices: dict[str, Any] = {}
    for name in DEVICES:
        measured = data[name].to_numpy()
        devices[name] = {"look_up": name in LOOK_UPS, "floor": floor(space, archs, measured)}
        for n in (300, 100):
            for way in ("random", "by time"):
                devices[name][f"{way}, {n}"] = row = compared(space, archs, measured, n, way)
                print(
                    f"{name:12} {way:8} {n}: ours {said(row['ours'])} | ridge {said(row['ridge'])}",
                    flush=True,
                )
        print(f"{name:12} floor: {said(devices[name]['floor'])}", flush=True)
    figures = {
        "command": f"python {sys.argv[0]} --data FOLDER --out {asked.out}",
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "load": os.getloadavg(),
        "repeats": REPEATS,
        "devices": devices,
    }
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def compared(space: hn.SearchSpace, archs: Archs, measured: Floats, n: int, way: str) -> dict[str, Any]:
    """Errors of both, over six splits."""
    ours, ridge, covered, took = [], [], [], []
    for repeat in range(REPEATS):
        known = np.zeros(len(archs), dtype=bool)
        if way == "random":
            known[np.random.default_rng(repeat).permutation(len(archs))[:n]] = True
        else:
            start = repeat * (len(archs) - n) // (REPEATS - 1)
            known[start : start + n] = True
        started = time.perf_counter()
        model = hn.fit_latency(space, archs[known], measured[known])
        took.append(time.perf_counter() - started)
        truth = measured[~known]
        ours.append(model.predict(space, archs[~known]) / truth - 1)
        ridge.append(ridge_predictions(space, archs[known], measured[known], archs[~known]) / truth - 1)
        low, high = model.interval(space, archs[~known]).T
        covered.append(float(np.mean((low <= truth) & (truth <= high))))
    return {
        "ours": errors(ours),
        "ridge": errors(ridge),
        "splits_won": sum(bool(abs(a).mean() < abs(b).mean()) for a, b in zip(ours, ridge, strict=True)),
        "interval_coverage": float(np.mean(covered)),
        "fit_seconds_median": float(np.median(took)),
    }


def floor(space: hn.SearchSpace, archs: Archs, measured: Floats) -> dict[str, float]:
    """What is left where there is more to learn from than there are costs: ridge on half of the data."""
    half = np.random.default_rng(0).permutation(len(archs))
    known, rest = half[:FLOOR], half[FLOOR:]
    # Robust, as ours is: networks that are off by more than three times the median are left out of a second fit.
    for _ in range(3):
        fitted = ridge_predictions(space, archs[known], measured[known], archs[half[:FLOOR]])
        size = np.abs(fitted / measured[half[:FLOOR]] - 1)
        known = half[:FLOOR][size <= 3 * np.median(size) + 1e-9]
    predicted = ridge_predictions(space, archs[known], measured[known], archs[rest])
    return errors([predicted / measured[rest] - 1])


def ridge_predictions(space: hn.SearchSpace, archs: Archs, measured: Floats, asked: Archs) -> Floats:
    """One cost for each (layer, choice), shrunk by the strength that predicts left-out networks best."""
    design = one_hot(space, archs)[:, :-1]
    mean, centre = measured.mean(), design.mean(axis=0)
    rows, target = design - centre, measured - mean
    values, vectors = np.linalg.eigh(rows @ rows.T)
    values, turned = np.maximum(values, 0), vectors.T @ target
    losses = []
    for strength in STRENGTHS:
        kept = values / (values + strength)
        leverage = (vectors**2) @ kept + 1 / len(archs)
        losses.append(np.mean(((target - vectors @ (kept * turned)) / (1 - leverage)) ** 2))
    strength = STRENGTHS[int(np.argmin(losses))]
    dual = vectors @ (turned / (values + strength))
    predicted: Floats = mean + (one_hot(space, asked)[:, :-1] - centre) @ (rows.T @ dual)
    return predicted


def errors(relative: list[Floats]) -> dict[str, float]:
    """Of all splits together; spread: of the mean error between splits."""
    size = [np.abs(one) for one in relative]
    every = np.concatenate(size)
    return {
        "mean": float(every.mean()),
        "median": float(np.median(every)),
        "within_5_percent": float((every <= 0.05).mean()),
        "within_10_percent": float((every <= 0.10).mean()),
        "mean_of_each_split": [float(one.mean()) for one in size],
    }


def said(row: dict[str, Any]) -> str:
    """Errors for people."""
    return f"mean {row['mean']:.3%}, median {row['median']:.3%}, within 10 % {row['within_10_percent']:.0%}"


if __name__ == "__main__":
    main()
