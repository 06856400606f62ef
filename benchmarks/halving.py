"""Successive halving over real trainings: choosing among networks without a supernet, at what a search costs.

    python benchmarks/halving.py RUN --networks 8 --rungs 1 2 4 --epochs 26 --seeds 0 --out FILE.json

Random networks of the hardware-aware space of a finished run, measured just under the budget (the "aware N" of
`rivals.py`), begin the run's last training, each from scratch by the winner's recipe. After each rung, an epoch, those
that recognise fewest ranking pictures are given up, half of those that are left; the last one trains on to the end, on
the ranking pictures, too, as a winner does. It is exported and judged on the test split. With the defaults that is 16
epochs to choose and 22 more for the one that is chosen: 38 epochs, which is what a short search costs in all. Networks
are trained one after the other on one thread; a killed command begins its seed again.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from one_network import learn, opened, recognised, settle
from rivals import alone, fitted, top1_of

from hurricane.nn import FixedNetwork
from hurricane.runs import write_json
from hurricane.space import SearchSpace
from hurricane.steps import retrain, supernet
from hurricane.steps.job import Job
from hurricane.train.batches import Labels, Pictures
from hurricane.train.loop import Epoch, Recipe
from hurricane.train.place import CPU


@dataclass(slots=True)
class Contender:
    """A network on its way: its training so far, and what it recognised of the ranking pictures at each rung."""

    name: str
    network: FixedNetwork
    checkpoint: Path
    seen: int = 0
    top1: tuple[float, ...] = ()


def train_on(each: Contender, images: Pictures, labels: Labels, recipe: Recipe, epochs: int) -> None:
    """Train on to the end of an epoch of the recipe's schedule."""

    def told(epoch: Epoch) -> None:
        each.seen += epoch.pictures

    learn(each.network, images, labels, recipe, until=epochs, checkpoint=each.checkpoint, on_epoch=told)


def halved(
    job: Job, spaces: dict[str, SearchSpace], rungs: list[int], epochs: int, seed: int, scratch: Path
) -> dict[str, Any]:
    """Choose by rungs and train the last network to the end: what became of each."""
    precision = job.run.record(supernet.NAME)["precision"]
    recipe = replace(retrain.recipe_of(job, epochs, precision), seed=seed, workers=1, place=CPU)
    contenders = []
    for number, (name, space) in enumerate(spaces.items()):
        torch.manual_seed(seed * 1000 + number)
        network = FixedNetwork(space, job.pictures.mean, job.pictures.std)
        contenders.append(Contender(name, network, scratch / f"{number}.safetensors"))
    left, started = list(contenders), time.monotonic()
    split = job.pictures.train
    for rung in rungs:
        for each in left:
            train_on(each, split.images, split.labels, recipe, rung)
            settle(each.network, job.pictures.train.images, seed)
            ranking = job.pictures.rank
            each.top1 += (recognised(each.network, ranking.images, ranking.labels),)
        left.sort(key=lambda each: -each.top1[-1])
        print(
            f"seed {seed}, epoch {rung}: " + ", ".join(f"{e.name} {e.top1[-1]:.2%}" for e in left), flush=True
        )
        left = left[: max(1, len(left) // 2)]
    last = left[0]
    train_on(last, *retrain.learned(job), recipe, epochs)
    seconds = time.monotonic() - started
    settle(last.network, job.pictures.train.images, seed)
    return {
        "data": data_of(job),
        "seed": seed,
        "rungs": rungs,
        "epochs": epochs,
        "pictures": sum(each.seen for each in contenders),
        "seconds": round(seconds),
        "chosen": last.name,
        "top1": top1_of(job, last.network),
        "contenders": {each.name: each.top1 for each in contenders},
        "facts": dict(job.device.facts()),
    }


def data_of(job: Job) -> str:
    """The name of the pictures."""
    return Path(job.identity["data"]).name


def main() -> None:
    """Do what is missing and print what was chosen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--networks", type=int, default=8)
    parser.add_argument("--rungs", type=int, nargs="*", default=[1, 2, 4], help="epochs after which half go")
    parser.add_argument(
        "--epochs", type=int, default=26, help="of the network that is chosen, rungs included"
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    if asked.networks > 2 ** len(asked.rungs):
        parser.error(f"{len(asked.rungs)} rungs leave more than one of {asked.networks} networks")
    if sorted({*asked.rungs, asked.epochs}) != [*asked.rungs, asked.epochs]:
        parser.error("rungs have to rise and to end before the last epoch")
    torch.set_num_threads(1)
    job = opened(asked.run)
    # Each seed has networks of its own; all are measured before the first is trained.
    results = json.loads(asked.out.read_text()) if asked.out.is_file() else {"runs": []}
    same = {"data": data_of(job), "rungs": asked.rungs, "epochs": asked.epochs}
    done = [
        row["seed"]
        for row in results["runs"]
        if same.items() <= row.items() and len(row["contenders"]) == asked.networks
    ]
    missing = [seed for seed in asked.seeds if seed not in done]
    networks, costs = {}, {}
    for seed in missing:
        names = [f"aware {asked.networks * seed + number}" for number in range(1, asked.networks + 1)]
        networks[seed] = {name: fitted(job, name, job.budget_ms) for name in names}
        costs[seed] = {name: alone(job, space) for name, space in networks[seed].items()}
    results["command"] = " ".join(["benchmarks/halving.py", "RUN", *sys.argv[2:]])
    for seed in missing:
        with tempfile.TemporaryDirectory() as scratch:
            row = halved(job, networks[seed], asked.rungs, asked.epochs, seed, Path(scratch))
        space = networks[seed][row["chosen"]]
        row["measured_ms"] = costs[seed][row["chosen"]]
        row["macs"] = int(space.macs(np.zeros((1, len(space.layers)), int))[0])
        row["architecture"] = [layer.choices[0] for layer in space.layers]
        results["runs"].append(row)
        write_json(asked.out, results)
        print(
            f"seed {seed}: {row['chosen']}, {row['measured_ms'] * 1e3:.0f} us, {row['top1']:.2%}", flush=True
        )


if __name__ == "__main__":
    main()
