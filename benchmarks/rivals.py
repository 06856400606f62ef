"""What a finished run has to beat: random networks of the same budget and a MobileNetV2-like one, same recipe.

    python benchmarks/rivals.py RUN [--random 3]

Random networks come from the full pool, on the skeleton at the width at which random networks cost the budget, and are
kept where their measured latency is 90 to 100 % of the budget. Networks with one operator everywhere, mb_k3_e6
(MobileNetV2-like) and sep_k3, are as wide as their measured latency allows. Each is trained from scratch for as many
epochs as the winner was retrained, on the same pictures, exported, measured, and judged on the test split. The winner
itself is trained from scratch, too: what is left then of its lead is owed to its architecture and not to inherited
weights. Results go to RUN/rivals.json one by one; those that are there are not done again. The run's report shows them
when it is written again (`hurricane report RUN`).
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
from hurricane.nn import FixedNetwork
from hurricane.runs import Run, write_json
from hurricane.space import SearchSpace
from hurricane.steps import verify
from hurricane.steps.feasibility import measured_ms, middle_width
from hurricane.steps.job import Job
from hurricane.train.loop import Recipe, train
from hurricane.train.place import placed
from hurricane.train.scoring import calibration_batches, recalibrate


def random_rivals(job: Job, count: int) -> list[tuple[str, SearchSpace]]:
    """Random networks of the full pool whose measured latency is just under the budget."""
    width = middle_width(job)
    space, rng = job.space_at(width), np.random.default_rng(job.config.run.seed + 100)
    found: list[tuple[str, SearchSpace]] = []
    for _ in range(300):
        arch = space.random(1, rng)
        if 0.9 * job.budget_ms <= float(measured_ms(job, space, arch)[0]) <= job.budget_ms:
            names = space.names(arch[0])
            name = f"random network {len(found) + 1}, width {width:.2f}"
            found.append((name, space.narrow([(name,) for name in names])))
        if len(found) == count:
            break
    return found


def mobilenet_like(job: Job) -> tuple[str, SearchSpace]:
    """mb_k3_e6 everywhere at the largest width whose measured latency keeps the budget."""
    name, space = widest_uniform(job, "mb_k3_e6")
    return f"MobileNetV2-like ({name})", space


def widest_uniform(job: Job, kind: str) -> tuple[str, SearchSpace]:
    """One operator everywhere at the largest width whose measured latency keeps the budget."""
    best, low, high = None, 2, 60  # in steps of 0.05
    while low <= high:
        middle = (low + high) // 2
        full = job.space_at(round(0.05 * middle, 2))
        space = full.narrow([(kind,)] * len(full.layers))
        if float(measured_ms(job, space, np.zeros((1, len(space.layers)), int))[0]) <= job.budget_ms:
            best, low = (f"{kind} everywhere, width {0.05 * middle:.2f}", space), middle + 1
        else:
            high = middle - 1
    if best is None:
        raise SystemExit(f"even the narrowest network of {kind} misses the budget")
    return best


def trained(job: Job, name: str, space: SearchSpace, workers: int) -> dict[str, Any]:
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
        workers=workers,
        place=job.place,
    )
    started = time.monotonic()
    train(network, images, labels, recipe, lambda steps, rng: np.zeros((steps, 0), int))
    statistics = calibration_batches(pictures.train.images, 4096, np.random.default_rng(job.config.run.seed))
    with placed(network, job.place):
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


def same_rival(one: str, other: str) -> bool:
    """Whether two names are of one rival, whatever width was fitted."""
    return one.split(" width")[0] == other.split(" width")[0]


def main() -> None:
    """Do what is missing and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--random", type=int, default=3)
    parser.add_argument("--most", type=int, default=None, help="only the first so many rivals")
    parser.add_argument(
        "--workers", type=int, default=None, help="threads for training; the run's where not given"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
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
        widest_uniform(job, "sep_k3"),
        ("the winner, trained from scratch", same),
    ][: arguments.most]
    for name, space in rivals:
        if any(same_rival(row["name"], name) for row in done):
            continue
        done.append(trained(job, name, space, arguments.workers or job.threads))
        write_json(out, done)
        print(f"{name}: {done[-1]['top1']:.2%} at {done[-1]['measured_ms']:.4g} ms", flush=True)
    print(f"{'Hurricane':<45} {verdict['measured_ms']:>10.4g} ms {verdict['top1']:>8.2%}")
    for row in done:
        print(f"{row['name']:<45} {row['measured_ms']:>10.4g} ms {row['top1']:>8.2%}")


if __name__ == "__main__":
    main()
