"""Does the supernet rank networks as their own trainings do? Kendall's tau over networks near the budget.

    python benchmarks/ranking.py RUN TRAIN.parquet --also OTHER_RUN --networks 24 --epochs 20 --out FILE.json

Random networks between 90 and 100 % of the budget by the run's latency model, half of them from the space of its first
stage and half from that of its second. Each is scored by the supernet of the run, and of others in the same space: as
the search does (batch-norm statistics recalibrated on a few training pictures), with as many pictures as SPOS's code
takes, and without recalibration (statistics of random paths, as training with running ones would leave them). Each is
then trained from scratch by the run's recipe on its training pictures, one thread each, two at once. All are judged on
rows of the parquet file that the run has never seen. Beside the supernets stand scores that need no training (MACs,
parameters and the capacity that chose the space) and, where the command was run with fewer epochs before, those shorter
trainings: what successive halving would go by. Results are written one by one; those that are there are not done
again.
"""

import argparse
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from one_network import learn, opened, recognised, rows, settle
from scipy.stats import kendalltau
from torch import nn

import hurricane as hn
from hurricane import ops
from hurricane.nn import Supernet
from hurricane.runs import write_json
from hurricane.specialization import capacities
from hurricane.steps import retrain, stage_search, stages, supernet
from hurricane.steps.job import Job
from hurricane.train.batches import tensor_of
from hurricane.train.place import CPU
from hurricane.train.scoring import logits_of

WINDOW = 0.9
# As many training pictures as SPOS's code recalibrates on; every ranking picture counts there.
SPOS_RECALIBRATION = 25_600
SHARED_BATCHES = 200
NAMES = (
    "supernet",
    "supernet at SPOS's settings",
    "supernet without recalibration",
    "macs",
    "params",
    "capacity",
)


def trained(
    folder: Path, names: tuple[str, ...], parquet: Path, judge: tuple[int, int], epochs: int, seed: int
) -> float:
    """Share of unseen pictures that a network recognises after a training of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    job = opened(folder)
    network = retrain.network_of(job, list(names))
    split, precision = job.pictures.train, job.run.record(supernet.NAME)["precision"]
    recipe = replace(retrain.recipe_of(job, epochs, precision), seed=seed, workers=1, place=CPU)
    learn(network, split.images, split.labels, recipe)
    settle(network, split.images, seed)
    return recognised(network, *rows(parquet, *judge))


def scored(job: Job, space: hn.SearchSpace, archs: Any) -> list[dict[str, float]]:
    """What a run's supernet and the scores without training say of each network."""
    model = supernet.load(job)
    precision = job.run.record(supernet.NAME)["precision"]
    calibrated = stage_search.scorer_of(job, model, space, precision)(archs)
    many = {"recalibration_pictures": SPOS_RECALIBRATION, "rank_pictures": len(job.pictures.rank.labels)}
    asked = job.config.model_copy(update={"search": job.config.search.model_copy(update=many)})
    as_spos = stage_search.scorer_of(replace(job, config=asked), model, space, precision)(archs)
    shared_statistics(model, space, job.pictures.train.images)
    ranking = job.pictures.rank
    raw = []
    for path in model.space.translate(archs, space).tolist():
        logits = logits_of(model, path, [tensor_of(ranking.images)], precision)
        raw.append(float((logits.argmax(1).numpy() == ranking.labels).mean()))
    graphs = [
        [ops.graph(layer.spec(layer.choices[i])) for layer, i in zip(space.layers, arch, strict=True)]
        for arch in archs
    ]
    capacity = capacities(graphs, job.config.specialize.capacity)
    figures = zip(calibrated, as_spos, raw, space.macs(archs), space.params(archs), capacity, strict=True)
    return [dict(zip(NAMES, map(float, each), strict=True)) for each in figures]


def shared_statistics(model: Supernet, space: hn.SearchSpace, images: Any) -> None:
    """Batch-norm statistics averaged over random paths, each on a batch of training pictures."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    rng = np.random.default_rng(0)
    paths = model.space.translate(space.random(SHARED_BATCHES, rng), space).tolist()
    with torch.no_grad():
        for path in paths:
            model(tensor_of(images[rng.integers(0, len(images), 64)]), path)
    model.eval()


def networks_of(job: Job, count: int, seed: int) -> dict[tuple[str, ...], str]:
    """Random networks just under the budget, half of them from each stage's space: their names and their stage."""
    parts = list({part.space: part for part in (stages.first(job), supernet.last_stage(job))}.values())
    found: dict[tuple[str, ...], str] = {}
    for part in parts:
        bounds = {"max_ms": job.budget_ms, "min_ms": WINDOW * job.budget_ms}
        drawn = hn.sample(part.space, 20 * count, seed=seed, cost=job.latency_model, **bounds)
        archs = np.random.default_rng(seed).permutation(np.unique(drawn, axis=0))[: count // len(parts)]
        found |= {part.space.names(arch): stages.LABELS[part.name] for arch in archs}
    return found


def main() -> None:
    """Do what is missing and print the taus, with an interval by bootstrap over networks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a finished run; networks are those of its stages")
    parser.add_argument("parquet", type=Path, help="pictures to judge by")
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="runs in the same space to score by")
    parser.add_argument("--judge", type=int, nargs=2, default=[10_000, 20_000], help="its rows: from, to")
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2, help="trainings side by side, one thread each")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    job = opened(asked.run)
    networks = networks_of(job, asked.networks, asked.seed)
    figures: dict[str, Any] = {"trainings": [], "scores": {}}
    if asked.out.is_file():
        figures = json.loads(asked.out.read_text())
    folders = {str(path): path.name for path in (asked.run, *asked.also, asked.parquet, asked.out)}
    figures["command"] = " ".join(folders.get(word, word) for word in sys.argv)
    figures |= {"date": time.strftime("%Y-%m-%d"), "facts": dict(job.device.facts())}
    space = job.small_space
    archs = np.array(
        [
            [layer.choices.index(name) for layer, name in zip(space.layers, names, strict=True)]
            for names in networks
        ]
    )
    if len({folder.name for folder in (asked.run, *asked.also)}) <= len(asked.also):
        raise SystemExit("two of the runs have one name; scores are told by it")
    for folder in (asked.run, *asked.also):
        known = figures["scores"].get(folder.name, [])
        if [tuple(row["architecture"]) for row in known] == list(networks):
            continue
        scores = scored(opened(folder), space, archs)
        figures["scores"][folder.name] = [
            {"architecture": list(names), **row} for names, row in zip(networks, scores, strict=True)
        ]
    judge = tuple(asked.judge)
    setting = {"epochs": asked.epochs, "seed": asked.seed, "judge": list(judge), "run": asked.run.name}
    mine = of_setting(figures["trainings"], setting)
    done = {tuple(row["architecture"]) for row in mine}
    wanted, failed = [names for names in networks if names not in done], []
    with ProcessPoolExecutor(asked.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {
            pool.submit(trained, asked.run, names, asked.parquet, judge, asked.epochs, asked.seed): names
            for names in wanted
        }
        for future in as_completed(waiting):
            names = waiting[future]
            row = {"architecture": list(names), "stage": networks[names], **setting}
            try:
                row["top1"] = future.result()
            except Exception as error:  # the others go on
                failed.append(f"{', '.join(names)}: {error}")
                continue
            figures["trainings"].append(row)
            mine.append(row)
            write_json(asked.out, figures)
            print(f"{len(mine)}, {row['stage']}: {row['top1']:.2%}", flush=True)
    shorter = {}
    for fewer in sorted({row["epochs"] for row in figures["trainings"] if row["epochs"] < asked.epochs}):
        same = of_setting(figures["trainings"], {**setting, "epochs": fewer})
        if set(networks) <= {tuple(row["architecture"]) for row in same}:
            shorter[f"trained for {fewer} epochs"] = same
    ranked = [row for row in mine if tuple(row["architecture"]) in networks]
    figures["taus"], figures["effects"] = taus(ranked, figures["scores"], shorter), effects(ranked)
    write_json(asked.out, figures)
    for row in figures["taus"]:
        print(
            f"{row['stage']:<8} {row['networks']} networks, {row['by']:<24} {row['score']:<32} "
            f"tau {row['tau']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"
        )
    for row in figures["effects"]:
        print(f"a layer with {row['trait']}: {row['points']:+.2f} points (standard error {row['error']:.2f})")
    if failed:
        raise SystemExit("\n".join(["these trainings failed:", *failed]))


def of_setting(trainings: list[dict[str, Any]], setting: dict[str, Any]) -> list[dict[str, Any]]:
    """The trainings done in this way."""
    return [row for row in trainings if setting.items() <= row.items()]


def taus(
    trainings: list[dict[str, Any]], scores_of: dict[str, Any], shorter: dict[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """The tau of every score, for the networks of each stage and for all; low and high: see `interval`."""
    judges = {
        (run, name): {tuple(row["architecture"]): row[name] for row in scores}
        for run, scores in scores_of.items()
        for name in NAMES
    }
    for name, same in shorter.items():
        judges["", name] = {tuple(row["architecture"]): row["top1"] for row in same}
    found = []
    for stage in (*dict.fromkeys(row["stage"] for row in trainings), "all"):
        rows = [row for row in trainings if stage in (row["stage"], "all")]
        truth = [row["top1"] for row in rows]
        print(f"{stage}, {len(rows)} networks: {min(truth):.2%} to {max(truth):.2%}, {np.std(truth):.2%}")
        for (run, name), known in judges.items():
            values = [known[tuple(row["architecture"])] for row in rows]
            low, high = interval(values, truth)
            tau = float(kendalltau(values, truth)[0])
            found.append(
                {
                    "stage": stage,
                    "networks": len(rows),
                    "by": run,
                    "score": name,
                    "tau": tau,
                    "low": low,
                    "high": high,
                }
            )
    return found


def effects(trainings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a layer with a larger kernel, a gate or a smaller expansion is worth, in points (least squares)."""
    traits = {"a kernel of 5": "_k5", "a kernel of 7": "_k7", "a gate": "_se", "an expansion of 3": "_e3"}
    counts = np.array(
        [
            [sum(trait in name for name in row["architecture"]) for trait in traits.values()]
            for row in trainings
        ]
    )
    varied = np.flatnonzero(counts.std(0) > 0)
    design = np.column_stack([np.ones(len(trainings)), counts[:, varied]])
    truth = 100 * np.array([row["top1"] for row in trainings])
    if len(trainings) <= design.shape[1]:
        return []
    worth, *_ = np.linalg.lstsq(design, truth, rcond=None)
    left = truth - design @ worth
    variance = left @ left / (len(truth) - design.shape[1])
    errors = np.sqrt(np.diag(variance * np.linalg.pinv(design.T @ design)))
    return [
        {"trait": list(traits)[one], "points": float(worth[place]), "error": float(errors[place])}
        for place, one in enumerate(varied, 1)
    ]


def interval(values: list[float], truth: list[float]) -> tuple[float, float]:
    """Where nine of ten taus of networks drawn anew from these lie."""
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, len(truth), len(truth)) for _ in range(500)]
    taus = [kendalltau([values[i] for i in one], [truth[i] for i in one])[0] for one in drawn]
    low, high = np.nanquantile(taus, [0.05, 0.95])
    return float(low), float(high)


if __name__ == "__main__":
    main()
