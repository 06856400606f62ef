"""What makes a supernet rank better: other ways to train it, on the same number of pictures.

    python benchmarks/ranking_remedies.py TRAIN.parquet --near benchmarks/results/ranking_cifar10.json --out FILE.json

A space of inverted bottlenecks (kernels 3, 5, 7, expansions 3, 6, and the gates that the networks of `--near` have) on
the skeleton of these networks. They all nearly use up one budget; beside them stand as many "spread" ones, each with
its own mixture of operators, which differ more. These are trained from scratch for six epochs on the first 8,000 rows
and judged on rows 10,000 to 20,000; those of `--near` were before, by `ranking.py`, on 8,000 of the first 10,000. One
supernet is trained in each way; a picture counts once for each path that sees it, so several paths a step make fewer
steps, at the same rate, on the mean of their losses. Paths near the budget compute a sixth more than others. Each
supernet scores all networks on rows 8,000 to 10,000 as a search does, with recalibration; MACs stand beside it. Results
are written one by one; what is there is not done again.
"""

import argparse
import json
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from families import trained
from one_network import channels, rows
from ranking import interval
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.nn import functional as F

import hurricane as hn
from hurricane import ops
from hurricane.latency import Floats
from hurricane.nn import Supernet
from hurricane.runs import write_json
from hurricane.space import Archs
from hurricane.train.batches import training_batches
from hurricane.train.loop import Recipe
from hurricane.train.scoring import path_scorer

WIDTH = 0.9  # of the skeleton of the networks in ranking_cifar10.json
EPOCHS = 6
LEARNED, JUDGED = 8_000, (10_000, 20_000)
OPERATORS = tuple(f"mb_k{kernel}_e{expansion}" for kernel in (3, 5, 7) for expansion in (3, 6))
BATCH, RATE, WARM_UP = 64, 0.1, 1.0
# What the networks of `--near` compute, multiply-accumulates.
WINDOW = (12.2e6, 14.6e6)
NEAR, SPREAD = "near the budget", "spread"
MACS, MIXING = "none: MACs", "none: MACs that mix channels"
# What a deviation of MACs may count beside one of the score.
WEIGHTS = (0.25, 0.5, 1, 2, 4)

Draw = Callable[[hn.SearchSpace, int, np.random.Generator], list[Archs]]
"""Paths of each step: (space, steps, generator) -> arrays (paths, layers)."""


@dataclass(frozen=True)
class Way:
    """How a supernet is trained. passes: epochs of one path each that it costs. distilled: from a step's first path."""

    draw: Draw
    paths: int = 1
    share: bool = False
    distilled: bool = False
    passes: int = 20


def uniform(space: hn.SearchSpace, steps: int, rng: np.random.Generator) -> list[Archs]:
    """One path a step, as SPOS draws it."""
    return [arch[None] for arch in space.random(steps, rng)]


def fair(space: hn.SearchSpace, steps: int, rng: np.random.Generator) -> list[Archs]:
    """One path a step, so that every operator of a layer is drawn once before any is again (after FairNAS)."""
    columns = []
    for layer in space.layers:
        count = len(layer.choices)
        turns = [rng.permutation(count) for _ in range(math.ceil(steps / count))]
        columns.append(np.concatenate(turns)[:steps])
    return [arch[None] for arch in np.stack(columns, 1)]


def within_budget(space: hn.SearchSpace, steps: int, rng: np.random.Generator) -> list[Archs]:
    """One path a step, of those only that compute as much as the networks near the budget."""
    found: list[Archs] = []
    while len(found) < steps:
        archs = space.random(20 * steps, rng)
        macs = space.macs(archs)
        found += [arch[None] for arch in archs[(macs >= WINDOW[0]) & (macs <= WINDOW[1])]]
    return found[:steps]


def sandwich(space: hn.SearchSpace, steps: int, rng: np.random.Generator) -> list[Archs]:
    """The largest network, two random ones and the smallest in each step (arXiv 1903.05134)."""
    costs = [[ops.graph(layer.spec(name)).macs for name in layer.choices] for layer in space.layers]
    ends = np.array([[pick(cost) for cost in costs] for pick in (np.argmax, np.argmin)])
    return [
        np.stack([ends[0], *pair, ends[1]]) for pair in space.random(2 * steps, rng).reshape(steps, 2, -1)
    ]


WAYS = {
    "single paths, as SPOS": Way(uniform),
    "twice as long": Way(uniform, passes=40),
    "fair sampling": Way(fair),
    "paths near the budget only": Way(within_budget),
    "sandwich": Way(sandwich, paths=4),
    "sandwich, distilled from the largest": Way(sandwich, paths=4, distilled=True),
    "shared weights": Way(uniform, share=True),
    "shared weights, fair sampling": Way(fair, share=True),
    "shared weights, sandwich": Way(sandwich, paths=4, share=True),
    "shared weights, sandwich, distilled": Way(sandwich, paths=4, share=True, distilled=True),
}


def networks_of(
    near: Path, count: int
) -> tuple[hn.SearchSpace, dict[tuple[str, ...], float], list[tuple[str, ...]]]:
    """The space, the networks near the budget with their own accuracy, and the spread ones."""
    known = {
        tuple(row["architecture"]): row["top1"]
        for row in json.loads(near.read_text())["trainings"]
        if row["epochs"] == EPOCHS
    }
    whole = hn.preset("tiny", image_size=32, classes=10, width=WIDTH)
    gated = [sorted({arch[number] for arch in known}) for number in range(len(whole.layers))]
    space = whole.narrow([tuple(dict.fromkeys([*OPERATORS, *names])) for names in gated])
    rng = np.random.default_rng(0)
    mixtures = rng.dirichlet([0.5] * len(OPERATORS), size=count)
    drawn = [rng.choice(OPERATORS, size=len(space.layers), p=mixture) for mixture in mixtures]
    return space, known, [tuple(map(str, names)) for names in drawn]


def supernet(name: str, space: hn.SearchSpace, parquet: Path, archs: Archs, seed: int) -> dict[str, Any]:
    """Train a supernet in one way on one thread; its score of each network, and what it cost."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    way = WAYS[name]
    images, labels = rows(parquet, 0, LEARNED)
    ranked = rows(parquet, LEARNED, JUDGED[0])
    model = Supernet(space, *channels(images), share=way.share)
    started = time.monotonic()
    losses = list(epochs(model, way, images, labels, seed))
    seconds = time.monotonic() - started
    few = {"recalibration_pictures": 256, "rank_pictures": len(ranked[1]), "seed": seed}
    scores = path_scorer(model, space, images, ranked, **few)(archs)
    return {
        "way": name,
        "seed": seed,
        "pictures": way.passes * len(labels),
        "seconds": round(seconds),
        "loss": losses[-1],
        "scores": scores.tolist(),
    }


def epochs(model: Supernet, way: Way, images: Any, labels: Any, seed: int) -> Iterator[float]:
    """Train, and give the mean loss of each epoch of the pictures."""
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    free = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 4e-5}, {"params": free, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=RATE, momentum=0.9, nesterov=True)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    steps, count = len(labels) // BATCH, way.passes // way.paths
    for epoch in range(count):
        rng = np.random.default_rng((seed, epoch))
        paths, losses = way.draw(model.space, steps + 1, rng), []
        model.train()
        for step, batch in enumerate(training_batches(images, labels, BATCH, flip=True, rng=rng)):
            for group in optimizer.param_groups:
                group["lr"] = rate_at(epoch + step / steps, count)
            losses.append(one_step(model, optimizer, batch, paths[step], way.distilled))
        yield float(np.mean(losses))


def rate_at(epoch: float, count: int) -> float:
    """Linear warm-up, then half a cosine down to zero, as in a run."""
    if epoch < WARM_UP:
        return RATE * (epoch + 0.1) / (WARM_UP + 0.1)
    return RATE * 0.5 * (1 + math.cos(math.pi * min(1.0, (epoch - WARM_UP) / (count - WARM_UP))))


def one_step(
    model: Supernet,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor],
    paths: Archs,
    distilled: bool,
) -> float:
    """One step on all paths, of which the first teaches the others where they are distilled; its loss."""
    images, targets = batch
    optimizer.zero_grad(set_to_none=True)
    taught, total = None, 0.0
    for path in paths.tolist():
        logits = model(images, path)
        if taught is None:
            loss = F.cross_entropy(logits, targets, label_smoothing=0.1)
            taught = logits.detach().softmax(1) if distilled else None
        else:
            loss = F.cross_entropy(logits, taught)
        (loss / len(paths)).backward()
        total += float(loss.detach()) / len(paths)
    nn.utils.clip_grad_norm_([weight for weight in model.parameters() if weight.grad is not None], 5.0)
    optimizer.step()
    return total


def taus(
    figures: dict[str, Any], truth_of: dict[tuple[str, ...], float], kinds: dict[str, list[int]]
) -> list[Any]:
    """Kendall's tau of each supernet's scores with the networks' own accuracies, by kind of network.

    Beside it the same where MACs count, too, in standard deviations of either over all of the networks, by several
    weights, and what the best three by each are better than the mean of all.
    """
    truth = [truth_of[tuple(names)] for names in figures["networks"]]
    found = []
    counts = [
        {"way": MACS, "seed": 0, "scores": figures["macs"]},
        {"way": MIXING, "seed": 0, "scores": figures["mixing_macs"]},
    ]
    for row in [*figures["supernets"], *counts]:
        for kind, members in kinds.items():
            values, own = ([all_of[i] for i in members] for all_of in (row["scores"], truth))
            low, high = interval(values, own)
            tau = float(kendalltau(values, own)[0])
            found.append({"way": row["way"], "seed": row["seed"], "kind": kind, "networks": len(members)})
            found[-1] |= {"tau": tau, "low": low, "high": high, "lead": lead(values, own)}
            if row not in counts:
                computed = deviations(np.log([figures["macs"][i] for i in members]))
                counted = {f"{weight:g}": deviations(values) + weight * computed for weight in WEIGHTS}
                found[-1]["with_macs"] = {
                    weight: {"tau": float(kendalltau(both, own)[0]), "lead": lead(both, own)}
                    for weight, both in counted.items()
                }
    return found


def deviations(values: Sequence[float] | Floats) -> Floats:
    """Values in standard deviations from their mean."""
    given = np.asarray(values)
    scaled: Floats = (given - given.mean()) / given.std()
    return scaled


def lead(values: Sequence[float] | Floats, own: Sequence[float]) -> float:
    """What the networks with the three highest values are better than the mean of all."""
    best = np.argsort(values)[-3:]
    return float(np.mean([own[i] for i in best]) - np.mean(own))


def main() -> None:
    """Do what is missing and print the taus, with an interval by bootstrap over networks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parquet", type=Path, help="train.parquet of CIFAR-10")
    parser.add_argument("--near", type=Path, required=True, help="what ranking.py wrote")
    parser.add_argument("--networks", type=int, default=24, help="spread ones")
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--seeds", type=int, default=1, help="supernets of each way")
    parser.add_argument("--processes", type=int, default=2, help="trainings side by side, one thread each")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    space, known, spread = networks_of(asked.near, asked.networks)
    networks = [*known, *spread]
    figures: dict[str, Any] = {"trainings": [], "supernets": []}
    if asked.out.is_file():
        figures = json.loads(asked.out.read_text())
    if figures.get("networks", [list(names) for names in networks]) != [list(names) for names in networks]:
        raise SystemExit(f"{asked.out} is about other networks; give another file")
    figures |= {"networks": [list(names) for names in networks], "date": time.strftime("%Y-%m-%d")}
    archs = np.array([space.indices(names) for names in networks])
    figures["macs"], figures["mixing_macs"] = space.macs(archs).tolist(), space.mixing_macs(archs).tolist()
    recipe = Recipe(EPOCHS, BATCH, RATE, 0.9, 5e-4, 0.1)
    own = {tuple(row["architecture"]) for row in figures["trainings"]}
    there = {(row["way"], row["seed"]) for row in figures["supernets"]}
    with ProcessPoolExecutor(asked.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting: dict[Future[dict[str, Any]], tuple[str, ...] | None] = {}
        for names in [names for names in spread if names not in own]:
            alone, judged = space.narrow([(name,) for name in names]), (JUDGED[0], JUDGED[1] - JUDGED[0])
            waiting[pool.submit(trained, alone, asked.parquet, judged, recipe, LEARNED)] = names
        for seed in range(asked.seeds):
            for way in [way for way in asked.ways if (way, seed) not in there]:
                waiting[pool.submit(supernet, way, space, asked.parquet, archs, seed)] = None
        for future in as_completed(waiting):
            names, row = waiting[future], future.result()
            if names is None:
                figures["supernets"].append(row)
                print(f"{row['way']}: {row['seconds']} s, scores {np.mean(row['scores']):.2%}", flush=True)
            else:
                figures["trainings"].append({"architecture": list(names), **row})
                print(f"{len(figures['trainings'])} networks: {row['top1']:.2%}", flush=True)
            write_json(asked.out, figures)
    truth = known | {tuple(row["architecture"]): row["top1"] for row in figures["trainings"]}
    near = list(range(len(known)))
    kinds = {NEAR: near, SPREAD: list(range(len(known), len(networks))), "all": list(range(len(networks)))}
    for kind, members in kinds.items():
        values = [truth[networks[i]] for i in members]
        print(f"{kind}: {min(values):.2%} to {max(values):.2%}, deviation {np.std(values):.2%}")
    figures["taus"] = taus(figures, truth, kinds)
    for row in figures["taus"]:
        print(
            f"{row['way']:<38} {row['kind']:<16} {row['tau']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"
        )
    write_json(asked.out, figures)


if __name__ == "__main__":
    main()
