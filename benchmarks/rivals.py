"""What a finished run has to beat: hand-made and random networks at the same latency, by the same recipe.

    python benchmarks/rivals.py RUN --rivals MobileNetV2 "random 1" --epochs 40 --seeds 0 1 2

Hand-made networks (`hand_made.py`) and "one operator" (mb_k3_e3 or another one everywhere) are as wide as their
measured latency allows. A "random N" network comes from the full pool, at the width at which random networks cost the
budget, an "aware N" one from the run's hardware-aware space; both are kept where their measured latency is 90 to 100 %
of the budget. "winner" is the run's own architecture: what is left of its lead is owed to its architecture and not to
inherited weights. "inherited N" is an "aware N" network that starts like the winner, from the supernet's weights: what
is left of the winner's lead is owed to the choice. "inherited winner" is the winner's training again, with other seeds
or another share of inherited weights (`--inherited`). "at WIDTH: OPERATOR OPERATOR ..." is any network, layer by layer.

Each is trained on the pictures that the winner was retrained on, exported, and judged on the test split; all files and
the winner's are then measured together. Networks are fitted first, with nothing else running, and then trained two at
once, one thread each. Fitted networks are kept in RUN/rivals_fitted.json, results go to RUN/rivals.json one by one;
those that are there are not done again. The run's report shows them when it is written again (`hurricane report RUN`).
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hand_made import BLOCKS, at_depth

from hurricane import config as config_file
from hurricane import export
from hurricane.devices import measure
from hurricane.nn import FixedNetwork
from hurricane.ops import OPERATORS
from hurricane.runs import Run, write_json
from hurricane.search import sample
from hurricane.space import SearchSpace
from hurricane.steps import retrain, supernet, verify
from hurricane.steps.feasibility import measured_ms, middle_width
from hurricane.steps.job import Job
from hurricane.train.loop import Recipe, train
from hurricane.train.scoring import calibration_batches, recalibrate

STEP = 0.05
WIDEST = 4.0
JUST_UNDER = 0.9
RANDOM = 8
DEFAULT = (*BLOCKS, "mb_k3_e3", *(f"random {number}" for number in (1, 2, 3)), "winner")


def opened(folder: Path) -> Job:
    """The job of a finished run."""
    run = Run.open(folder)
    return Job(run, config_file.load(run.path("config.toml")))


def fitted(job: Job, names: Sequence[str]) -> dict[str, SearchSpace]:
    """The networks that names stand for, each as a space of one architecture; SystemExit for an unknown name."""
    spaces: dict[str, SearchSpace] = {}
    drawn: dict[bool, list[SearchSpace]] = {}
    for name in names:
        kind, _, number = name.partition(" ")
        if name in ("winner", "inherited winner"):
            verdict = job.run.record(verify.NAME)["verdict"]
            spaces[name] = job.small_space.narrow([(choice,) for choice in verdict["architecture"]])
        elif name in BLOCKS or name in OPERATORS:
            spaces[name] = widest(job, BLOCKS.get(name, (name,)))
        elif kind == "at":
            width, _, operators = number.partition(": ")
            spaces[name] = job.space_at(float(width)).narrow([(each,) for each in operators.split()])
        elif kind in ("random", "aware", "inherited") and number.isdigit():
            full_pool = kind == "random"
            if full_pool not in drawn:
                drawn[full_pool] = random_networks(job, full_pool)
            spaces[name] = drawn[full_pool][int(number) - 1]
        else:
            known = f"{', '.join(BLOCKS)}, winner, an operator, random 1, aware 1 or inherited 1"
            raise SystemExit(f"there is no rival {name!r}; there are {known}")
    return spaces


def random_networks(job: Job, full_pool: bool) -> list[SearchSpace]:
    """Random networks whose measured latency is just under the budget."""
    if full_pool:
        space = job.space_at(middle_width(job))
        archs = space.random(300, np.random.default_rng(job.config.run.seed + 100))
    else:
        space, least = job.small_space, JUST_UNDER * job.budget_ms
        archs = sample(space, 300, seed=7, cost=job.latency_model, max_ms=job.budget_ms, min_ms=least)
    found: list[SearchSpace] = []
    for arch in archs:
        if JUST_UNDER * job.budget_ms <= float(measured_ms(job, space, arch[None])[0]) <= job.budget_ms:
            found.append(space.narrow([(name,) for name in space.names(arch)]))
        if len(found) == RANDOM:
            return found
    raise SystemExit(f"fewer than {RANDOM} random networks just under the budget were found")


def widest(job: Job, blocks: tuple[str, ...]) -> SearchSpace:
    """A table of blocks at the largest width whose measured latency keeps the budget."""
    best, low, high = None, 2, round(WIDEST / STEP)
    while low <= high:
        middle = (low + high) // 2
        full = job.space_at(round(STEP * middle, 2))
        space = full.narrow([(kind,) for kind in at_depth(blocks, len(full.layers))])
        arch = np.zeros((1, len(space.layers)), int)
        # A slow spell of the device must not pass for a network that is too slow.
        if any(float(measured_ms(job, space, arch)[0]) <= job.budget_ms for _ in range(3)):
            best, low = space, middle + 1
        else:
            high = middle - 1
    if best is None:
        raise SystemExit(f"even the narrowest network of {', '.join(sorted(set(blocks)))} misses the budget")
    return best


def trained(
    folder: Path, space: SearchSpace, name: str, seed: int, epochs: int, inherited: float | None
) -> dict[str, Any]:
    """Train on one thread by the run's recipe, export, judge the file on the test split."""
    torch.set_num_threads(1)
    job = opened(folder)
    section, pictures = job.config.retrain, job.pictures
    torch.manual_seed(seed * 1000 + 9)
    network = FixedNetwork(space, pictures.mean, pictures.std)
    share = (inherited or section.inherited) if name.startswith("inherited") else 0.0
    if share:
        network.inherit(supernet.load(job), share)
    images = np.concatenate([pictures.train.images, pictures.rank.images])
    labels = np.concatenate([pictures.train.labels, pictures.rank.labels])
    recipe = Recipe(
        epochs=epochs,
        batch_size=min(section.batch_size, max(2, len(labels) // 4)),
        learning_rate=retrain.LEARNING_RATE,
        momentum=section.momentum,
        weight_decay=section.weight_decay,
        label_smoothing=section.label_smoothing,
        precision="fp32",
        flip=job.flip,
        seed=seed,
    )
    started = time.monotonic()
    train(network, images, labels, recipe, lambda steps, rng: np.zeros((steps, 0), int))
    seconds = time.monotonic() - started
    recalibrate(network, (), calibration_batches(pictures.train.images, 4096, np.random.default_rng(seed)))
    network.eval()
    specs = space.specs((0,) * len(space.layers))
    content = job.device.export(export.Network(specs, network.folded(), pictures.mean, pictures.std))
    session, test, right = job.device.load(content), pictures.test, 0
    for start in range(0, len(test.labels), 256):
        batch = test.images[start : start + 256].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        logits = session.run(np.ascontiguousarray(batch))
        right += int((logits.argmax(1) == test.labels[start : start + 256]).sum())
    origin = f"from {share:g} of the supernet's weights" if share else "from scratch"
    return {
        "name": name,
        "seed": seed,
        "epochs": epochs,
        "pictures": epochs * len(labels),
        "inherited": share,
        "top1": right / len(test.labels),
        "how": f"{origin}, {epochs} epochs, the winner's recipe, seed {seed}",
        "seconds": round(seconds),
        "facts": dict(job.device.facts()),
        "space": space.to_json(),
        "architecture": [layer.choices[0] for layer in space.layers],
        "macs": int(space.macs(np.zeros((1, len(space.layers)), int))[0]),
    }


def measured(job: Job, rows: list[dict[str, Any]]) -> tuple[float, ...]:
    """Milliseconds of the winner's file and of all rivals, in one session; fills in the rivals'."""
    model = job.run.record(verify.NAME)["verdict"]["model"]
    spaces = {row["name"]: SearchSpace.from_json(row["space"]) for row in rows}
    sessions = [job.device.load(job.run.path(*model.split("/")))]
    for space in spaces.values():
        network = export.random_architecture(space, (0,) * len(space.layers))
        sessions.append(job.device.load(job.device.export(network)))
    samples = measure(sessions, rounds=9, seconds=0.1)
    for name, sample_of in zip(spaces, samples[1:], strict=True):
        for row in (row for row in rows if row["name"] == name):
            row |= {"measured_ms": sample_of.median_ms, "p90_ms": sample_of.p90_ms}
    return tuple(each.median_ms for each in samples)


def main() -> None:
    """Do what is missing and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--rivals", nargs="*", default=list(DEFAULT))
    parser.add_argument("--epochs", type=int, default=None, help="the winner's where not given")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--inherited", type=float, default=None, help="the run's share where not given")
    parser.add_argument("--processes", type=int, default=2, help="trainings side by side, one thread each")
    asked = parser.parse_args()
    job = opened(asked.run)
    epochs = asked.epochs or int(job.run.record(retrain.NAME)["epochs"])
    out = job.run.path("rivals.json")
    rows: list[dict[str, Any]] = json.loads(out.read_text()) if out.is_file() else []
    done = {
        (row["name"], row["seed"], row["epochs"])
        for row in rows
        if not asked.inherited or row["inherited"] in (0.0, asked.inherited)
    }
    fits = job.run.path("rivals_fitted.json")
    known: dict[str, Any] = json.loads(fits.read_text()) if fits.is_file() else {}
    new = fitted(job, [name for name in asked.rivals if name not in known])
    known |= {name: space.to_json() for name, space in new.items()}
    write_json(fits, known)
    spaces = {name: SearchSpace.from_json(known[name]) for name in asked.rivals}
    wanted = [
        (name, seed) for seed in asked.seeds for name in asked.rivals if (name, seed, epochs) not in done
    ]
    with ProcessPoolExecutor(asked.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [
            pool.submit(trained, asked.run, spaces[name], name, seed, epochs, asked.inherited)
            for name, seed in wanted
        ]
        for future in as_completed(waiting):
            rows.append({**future.result(), "measured_ms": None, "p90_ms": None})
            write_json(out, rows)
            row = rows[-1]
            print(f"{row['name']}, seed {row['seed']}: {row['top1']:.2%}, {row['seconds']} s", flush=True)
    winner_ms = measured(job, rows)[0]
    write_json(out, rows)
    verdict = job.run.record(verify.NAME)["verdict"]
    print(f"{'Hurricane':<36} {winner_ms * 1e3:8.1f} us {verdict['top1']:>8.2%}")
    for row in rows:
        name = f"{row['name']}, {row['epochs']} epochs, seed {row['seed']}"
        print(f"{name:<36} {row['measured_ms'] * 1e3:8.1f} us {row['top1']:>8.2%}")


if __name__ == "__main__":
    main()
