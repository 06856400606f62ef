"""Does the supernet rank networks as their own trainings do? Kendall's tau over networks near the budget.

    python benchmarks/ranking.py RUN TRAIN.parquet --networks 24 --epochs 20 --out FILE.json

Random networks of the last stage's space, between 90 and 100 % of the budget by the run's latency model. Each is
scored by the run's supernet, with batch-norm statistics recalibrated (as the search does) and without, and trained from
scratch by the run's recipe on its training pictures, one thread each, two at once. All are judged on rows of the
parquet file that the run has never seen. Beside the supernet stand scores that need no training: MACs, parameters and
the capacity that chose the space. Results are written one by one; those that are there are not done again.
"""

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch
from families import rows
from scipy.stats import kendalltau

import hurricane as hn
from hurricane import config as config_file
from hurricane import ops
from hurricane.runs import Run, write_json
from hurricane.specialization import capacities
from hurricane.steps import retrain, stage_search, supernet
from hurricane.steps.job import Job
from hurricane.train.batches import evaluation_batches, tensor_of
from hurricane.train.loop import Recipe, train
from hurricane.train.scoring import calibration_batches, logits_of, recalibrate

WINDOW = 0.9


def opened(folder: Path) -> Job:
    """The job of a finished run."""
    run = Run.open(folder)
    return Job(run, config_file.load(run.path("config.toml")))


def trained(
    folder: Path, names: tuple[str, ...], parquet: Path, judge: tuple[int, int], epochs: int, seed: int
) -> float:
    """Share of unseen pictures that a network recognises after a training of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    job = opened(folder)
    network, section, pictures = retrain.network_of(job, list(names)), job.config.retrain, job.pictures
    recipe = Recipe(
        epochs=epochs,
        batch_size=section.batch_size,
        learning_rate=retrain.LEARNING_RATE,
        momentum=section.momentum,
        weight_decay=section.weight_decay,
        label_smoothing=section.label_smoothing,
        flip=job.flip,
        seed=seed,
    )
    split = pictures.train
    train(network, split.images, split.labels, recipe, lambda steps, rng: np.zeros((steps, 0), int))
    recalibrate(network, (), calibration_batches(split.images, 4096, np.random.default_rng(seed)))
    others, truth = rows(parquet, *judge)
    batches = [batch for batch, _ in evaluation_batches(others, truth, 256)]
    return float((logits_of(network, (), batches).argmax(1).numpy() == truth).mean())


def scored(job: Job, archs: Any) -> list[dict[str, float]]:
    """What the supernet and the scores without training say of each network."""
    model, space = supernet.load(job), supernet.last_stage(job).space
    precision = job.run.record(supernet.NAME)["precision"]
    calibrated = stage_search.scorer_of(job, model, space, precision)(archs)
    model = supernet.load(job)
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
    figures = zip(calibrated, raw, space.macs(archs), space.params(archs), capacity, strict=True)
    names = ("supernet", "supernet without recalibration", "macs", "params", "capacity")
    return [dict(zip(names, map(float, each), strict=True)) for each in figures]


def main() -> None:
    """Do what is missing and print the taus, with an interval by bootstrap over networks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("parquet", type=Path, help="pictures to judge by")
    parser.add_argument("--judge", type=int, nargs=2, default=[10_000, 20_000], help="its rows: from, to")
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    job = opened(asked.run)
    space, budget = supernet.last_stage(job).space, job.budget_ms
    bounds = {"max_ms": budget, "min_ms": WINDOW * budget}
    drawn = hn.sample(space, 20 * asked.networks, seed=asked.seed, cost=job.latency_model, **bounds)
    archs = np.unique(drawn, axis=0)
    archs = np.random.default_rng(asked.seed).permutation(archs)[: asked.networks]
    found: list[dict[str, Any]] = json.loads(asked.out.read_text()) if asked.out.is_file() else []
    done = {(tuple(row["architecture"]), row["epochs"], row["seed"]) for row in found}
    wanted = [
        (space.names(arch), figures)
        for arch, figures in zip(archs, scored(job, archs), strict=True)
        if (space.names(arch), asked.epochs, asked.seed) not in done
    ]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {
            pool.submit(
                trained, asked.run, names, asked.parquet, tuple(asked.judge), asked.epochs, asked.seed
            ): (names, figures)
            for names, figures in wanted
        }
        for future in as_completed(waiting):
            names, figures = waiting[future]
            row = {"architecture": list(names), "epochs": asked.epochs, "seed": asked.seed, **figures}
            found.append({**row, "top1": future.result()})
            write_json(asked.out, found)
            print(
                f"{len(found)}: supernet {figures['supernet']:.1%}, alone {found[-1]['top1']:.2%}", flush=True
            )
    told(found)


def told(found: list[dict[str, Any]]) -> None:
    """Print the spread of the networks and the tau of every score."""
    truth = [row["top1"] for row in found]
    print(f"{len(found)} networks: {min(truth):.2%} to {max(truth):.2%}, deviation {np.std(truth):.2%}")
    rng = np.random.default_rng(0)
    for name in ("supernet", "supernet without recalibration", "macs", "params", "capacity"):
        values = [row[name] for row in found]
        drawn = [rng.integers(0, len(found), len(found)) for _ in range(500)]
        taus = [kendalltau([values[i] for i in one], [truth[i] for i in one])[0] for one in drawn]
        low, high = np.nanquantile(taus, [0.05, 0.95])
        print(f"{name:<32} tau {kendalltau(values, truth)[0]:+.2f} ({low:+.2f} to {high:+.2f})")


if __name__ == "__main__":
    main()
