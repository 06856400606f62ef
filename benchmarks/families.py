"""One latency, many ways to spend it: fixed families of operators, each on the widest skeleton that keeps the budget.

    python benchmarks/families.py TRAIN.parquet --max-latency 180us --epochs 12 --out FILE.json

A family puts given operators at the earlier and the later layers of a preset; hand-made networks (`hand_made.py`) and
other skeletons (`skeletons.py`) are families, too. Its width is the largest whose measured latency keeps the budget.
Beside them stand random networks of the hardware-aware space at some widths. Each network is trained from scratch by
one recipe on the first rows of the file and judged on the rows that come after: no test split is opened. Networks are
trained side by side, one thread each; results are written one by one, and those that are there are not done again.
"""

import argparse
import json
import multiprocessing
import shlex
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import skeletons
import torch
from hand_made import NAMES, hand_made
from one_network import channels, learn, recognised, rows, settle
from widths import widest

import hurricane as hn
from hurricane.config import parse_budget
from hurricane.nn import FixedNetwork
from hurricane.runs import write_json
from hurricane.train.loop import Recipe

# What rows on file that do not tell were trained with.
BEFORE = {"weight_decay": 1e-4, "erased": 0.0}
# Widths are tried in steps of this, between these.
STEP = 0.025
WIDTHS = (0.1, 5.0)
# One operator everywhere.
SINGLE = ("sep_k3", "sep_k5", "mb_k3_e3", "mb_k5_e3", "mb_k3_e6", "mb_k3_e3_se", "choice_k3")
# earlier half, later half
HALVES = {"sep_k3, mb_k3_e3": ("sep_k3", "mb_k3_e3"), "mb_k3_e3, sep_k3": ("mb_k3_e3", "sep_k3")}
FAMILIES = {**{kind: (kind, kind) for kind in hn.OPERATORS}, **HALVES}


def member(name: str, preset: str, size: int, classes: int, width: float, depth: float) -> hn.SearchSpace:
    """The one network of a family at a width, as a space of one architecture.

    name : one operator everywhere, a known name, or operators layer by layer with spaces between; SpaceError where
        these are not as many as there are layers.
    """
    if name in skeletons.NAMES:
        return skeletons.shaped(name, width, size, classes)
    space = hn.preset(preset, image_size=size, classes=classes, width=width, depth=depth)
    if name in NAMES:
        return hand_made(name, space, width)
    if name not in FAMILIES:
        return space.narrow([(kind,) for kind in name.split()])
    half = len(space.layers) // 2
    return space.narrow([(FAMILIES[name][number >= half],) for number in range(len(space.layers))])


def fitted(
    arguments: argparse.Namespace, name: str, size: int, classes: int
) -> tuple[float, hn.SearchSpace, float]:
    """Width, network and measured milliseconds of the widest member that keeps the budget."""
    device, budget = hn.open_device(arguments.device), parse_budget(arguments.max_latency)

    def at(width: float) -> hn.SearchSpace:
        return member(name, arguments.preset, size, classes, width, arguments.depth)

    def cost(space: hn.SearchSpace) -> float:
        return hn.measure_architecture(device, space, [0] * len(space.layers)).median_ms

    try:
        return widest(at, cost, budget, WIDTHS, STEP)
    except hn.InfeasibleBudget as error:
        raise SystemExit(f"{name}: {error}") from error


def random_members(
    arguments: argparse.Namespace, size: int, classes: int, width: float
) -> list[tuple[hn.SearchSpace, float]]:
    """Random networks, with measured milliseconds, of the hardware-aware space at a width, just under the budget."""
    device, budget = hn.open_device(arguments.device), parse_budget(arguments.max_latency)
    space = hn.preset(arguments.preset, image_size=size, classes=classes, width=width, depth=arguments.depth)
    table = hn.profile(device, space)
    archs = hn.sample(space, 6, seed=1, cost=table, max_ms=budget)
    model = hn.fit_latency(
        space, archs, [hn.measure_architecture(device, space, arch).median_ms for arch in archs], prior=table
    )
    small = hn.specialize(space, model, keep=5, max_ms=budget)
    found = []
    for arch in hn.sample(small, 40, seed=2, cost=model, max_ms=budget, min_ms=0.93 * budget):
        cost = hn.measure_architecture(device, small, arch).median_ms
        if 0.92 * budget <= cost <= budget:
            found.append((small.narrow([(name,) for name in small.names(arch)]), cost))
        if len(found) == arguments.random:
            break
    return found


def trained(
    space: hn.SearchSpace, parquet: Path, split: tuple[int, int], recipe: Recipe, learned: int | None = None
) -> dict[str, Any]:
    """Train from scratch on one thread; the share recognised of the pictures that come after.

    split : rows up to which pictures may be learned from, and the number of rows after them to judge by.
    learned : rows that are, where not all.
    """
    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    images, labels = rows(parquet, 0, learned or split[0])
    others, truth = rows(parquet, split[0], split[0] + split[1])
    network = FixedNetwork(space, *channels(images))
    started = time.monotonic()
    learn(network, images, labels, recipe)
    seconds = time.monotonic() - started
    settle(network, images, recipe.seed)
    return {"top1": recognised(network, others, truth), "seconds": round(seconds)}


def members(
    arguments: argparse.Namespace, size: int, classes: int, done: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """What tells apart, width, network (`space`) and measured milliseconds of everything that is not done yet."""
    same = {name: getattr(arguments, name) for name in ("depth", "epochs", "weight_decay", "erased")}

    def missing(name: str, seeds: int) -> list[dict[str, Any]]:
        rows = [{"family": name, "seed": seed, **same} for seed in range(seeds)]
        return [row for row in rows if not any(row.items() <= {**BEFORE, **other}.items() for other in done)]

    for width in arguments.widths:
        wanted = missing(f"random, width {width:g}", arguments.random)
        if wanted:
            found = random_members(arguments, size, classes, width)
            for row in wanted:
                if row["seed"] < len(found):
                    space, cost = found[row["seed"]]
                    yield {**row, "width": width, "space": space, "measured_ms": cost}
    for name in arguments.families:
        wanted = missing(name, arguments.seeds)
        if wanted:
            width, space, cost = fitted(arguments, name, size, classes)
            yield from ({**row, "width": width, "space": space, "measured_ms": cost} for row in wanted)


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """A parser that asks for pictures, those to train on first, then those to judge by."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parquet", type=Path, help="train.parquet of CIFAR-10, or the like")
    parser.add_argument("--train-rows", type=int, default=10_000)
    parser.add_argument("--judge-rows", type=int, default=10_000)
    return parser


def family(name: str) -> str:
    """A name that `member` knows; ValueError for any other."""
    known = (*FAMILIES, *NAMES, *skeletons.NAMES)
    if name not in known and (not name.split() or not set(name.split()) <= set(hn.OPERATORS)):
        raise ValueError(name)
    return name


def main() -> None:
    """Do what is missing and print a table."""
    parser = parser_of(__doc__)
    parser.add_argument("--device", default="onnxruntime:cpu?threads=1")
    parser.add_argument("--max-latency", default="180us")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--depth", type=float, default=1.0)
    parser.add_argument("--families", nargs="*", type=family, default=[*SINGLE, *HALVES])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--weight-decay", type=float, default=BEFORE["weight_decay"])
    parser.add_argument(
        "--erased", type=float, default=BEFORE["erased"], help="pictures with a hidden square"
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--widths", type=float, nargs="*", default=[0.85, 1.4, 2.0])
    parser.add_argument("--random", type=int, default=3, help="random networks at each of the widths")
    parser.add_argument("--processes", type=int, default=2, help="trainings side by side, one thread each")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    images, labels = rows(arguments.parquet, 0, 1000)
    size, classes = images.shape[1], int(labels.max()) + 1
    results = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {"networks": []}
    results["command"] = shlex.join(
        word.replace(str(arguments.parquet), "TRAIN.parquet") for word in sys.argv
    )
    results["facts"] = dict(hn.open_device(arguments.device).facts())
    split = (arguments.train_rows, arguments.judge_rows)
    # All are measured before the first is trained.
    wanted = list(members(arguments, size, classes, results["networks"]))
    with ProcessPoolExecutor(arguments.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {}
        for row in wanted:
            space = row.pop("space")
            arch = np.zeros((1, len(space.layers)), np.int64)
            row["macs"], row["params"] = int(space.macs(arch)[0]), int(space.params(arch)[0])
            row["mixing_macs"] = int(space.mixing_macs(arch)[0])
            row["architecture"] = [layer.choices[0] for layer in space.layers]
            decay, erased = row["weight_decay"], row["erased"]
            recipe = Recipe(row["epochs"], 64, 0.1, 0.9, decay, 0.1, seed=row["seed"], erased=erased)
            waiting[pool.submit(trained, space, arguments.parquet, split, recipe)] = row
        for future in as_completed(waiting):
            results["networks"].append({**waiting[future], **future.result()})
            write_json(arguments.out, results)
            row = results["networks"][-1]
            print(
                f"{row['family']:<32} width {row['width']:.2f} {row['measured_ms']:.3f} ms {row['top1']:.2%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
