"""What a finished run has to beat: random networks of the same budget and a MobileNetV2-like one, same recipe.

    python benchmarks/rivals.py RUN [--random 3] [--threads 1]

Draws random networks of the full space that cost 90 to 98 % of the run's budget by its table, measures them whole on
the run's device and keeps those that keep the budget; fits the width of a network with mb_k3_e6 everywhere to the same
measured latency. Each is trained from scratch for as many epochs as the winner was retrained, on the same pictures,
exported, measured, and judged on the test split. The winner itself is trained from scratch, too: what is left then of
its lead is owed to its architecture and not to inherited weights. Results go to RUN/rivals.json one by one; those that
are there are not done again. The run's report shows them when it is written again (`hurricane report RUN`).
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hurricane import config as config_file
from hurricane import export
from hurricane.devices import measure
from hurricane.latency_model import fit_latency
from hurricane.nn import FixedNetwork
from hurricane.runs import Run, write_json
from hurricane.search import Sampler
from hurricane.space import SearchSpace
from hurricane.steps import profile, verify
from hurricane.steps.feasibility import measured_ms
from hurricane.steps.job import Job
from hurricane.train.loop import Recipe, train
from hurricane.train.scoring import calibration_batches, recalibrate


def random_rivals(job: Job, count: int) -> list[tuple[str, SearchSpace]]:
    """Random networks of the full space whose measured latency keeps the budget and uses 85 % of it."""
    space, table = job.full_space, profile.load(job)
    points = job.run.record("space")["networks"]
    small = job.small_space
    archs = np.array([small.indices(point["architecture"]) for point in points])
    model = fit_latency(small, archs, [point["measured_ms"] for point in points], prior=table)
    # The correction of the narrow space carried over to the full one: only to aim, each is measured below.
    ratio = float(np.median(model.predict(small, archs) / table.predict(small, archs)))
    found: list[tuple[str, SearchSpace]] = []
    rng = np.random.default_rng(job.config.run.seed + 100)
    costs = table.costs(space)
    sampler = Sampler(space, costs, 0.98 * job.budget_ms / ratio, 0.9 * job.budget_ms / ratio)
    for _ in range(50):
        arch = sampler.draw(1, rng)
        cost = float(measured_ms(job, space, arch)[0])
        if 0.85 * job.budget_ms <= cost <= job.budget_ms:
            names = space.names(arch[0])
            found.append((f"random network {len(found) + 1}", space.narrow([(name,) for name in names])))
        if len(found) == count:
            break
    return found


def mobilenet_like(job: Job) -> tuple[str, SearchSpace]:
    """mb_k3_e6 everywhere at the largest width whose measured latency keeps the budget."""
    best: tuple[str, SearchSpace] | None = None
    for width in np.arange(0.1, 2.01, 0.05):
        full = job.space_at(round(float(width), 2))
        space = full.narrow([("mb_k3_e6",)] * len(full.layers))
        if best is not None and best[1] == space:
            continue
        if float(measured_ms(job, space, np.zeros((1, len(space.layers)), int))[0]) > job.budget_ms:
            break
        best = (f"MobileNetV2-like (mb_k3_e6, width {width:.2f})", space)
    if best is None:
        raise SystemExit("even the narrowest MobileNetV2-like network misses the budget")
    return best


def trained(job: Job, name: str, space: SearchSpace) -> dict[str, Any]:
    """Train from scratch by the run's recipe, export, measure, judge on the test split."""
    record, section = job.run.record("retrain"), job.config.retrain
    pictures = job.pictures
    torch.manual_seed(job.config.run.seed * 1000 + 9)
    network = FixedNetwork(space, pictures.mean, pictures.std)
    images = np.concatenate([pictures.train.images, pictures.rank.images])
    labels = np.concatenate([pictures.train.labels, pictures.rank.labels])
    recipe = Recipe(
        epochs=record["epochs"],
        batch_size=min(section.batch_size, max(2, len(labels) // 4)),
        learning_rate=0.1,
        momentum=section.momentum,
        weight_decay=section.weight_decay,
        label_smoothing=section.label_smoothing,
        precision="fp32",
        flip=job.flip,
        seed=job.config.run.seed,
    )
    started = time.monotonic()
    train(network, images, labels, recipe, lambda steps, rng: np.zeros((steps, 0), int))
    statistics = calibration_batches(pictures.train.images, 4096, np.random.default_rng(job.config.run.seed))
    recalibrate(network, (), statistics)
    network.eval()
    specs = space.specs((0,) * len(space.layers))
    content = job.device.export(export.Network(specs, network.folded(), pictures.mean, pictures.std))
    session = job.device.load(content)
    samples = measure([session], rounds=5, seconds=0.2)[0]
    test = pictures.test
    right = 0
    for start in range(0, len(test.labels), 256):
        batch = test.images[start : start + 256].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        logits = session.run(np.ascontiguousarray(batch))
        right += int((logits.argmax(1) == test.labels[start : start + 256]).sum())
    return {
        "name": name,
        "measured_ms": samples.median_ms,
        "p90_ms": samples.p90_ms,
        "top1": right / len(test.labels),
        "epochs": record["epochs"],
        "how": f"from scratch, {record['epochs']} epochs, the winner's recipe",
        "architecture": [layer.choices[0] for layer in space.layers],
        "seconds": round(time.monotonic() - started),
        "facts": dict(job.device.facts()),
    }


def main() -> None:
    """Do what is missing and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--random", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    run = Run.open(arguments.run)
    job = Job(run, config_file.load(run.path("config.toml")))
    out = run.path("rivals.json")
    done = json.loads(out.read_text()) if out.is_file() else []
    verdict = run.record(verify.NAME)["verdict"]
    small = job.small_space
    same = small.narrow([(name,) for name in verdict["architecture"]])
    rivals = [
        mobilenet_like(job),
        *random_rivals(job, arguments.random),
        ("the winner, trained from scratch", same),
    ]
    for name, space in rivals:
        if any(row["name"].split(" (")[0] == name.split(" (")[0] for row in done):
            continue
        done.append(trained(job, name, space))
        write_json(out, done)
        print(f"{name}: {done[-1]['top1']:.2%} at {done[-1]['measured_ms']:.4g} ms", flush=True)
    print(f"{'Hurricane':<45} {verdict['measured_ms']:>10.4g} ms {verdict['top1']:>8.2%}")
    for row in done:
        print(f"{row['name']:<45} {row['measured_ms']:>10.4g} ms {row['top1']:>8.2%}")


if __name__ == "__main__":
    main()
