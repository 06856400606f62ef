"""What a finished run has to beat: hand-made and random networks at the same latency, by the same recipe.

    python benchmarks/rivals.py RUN --rivals MobileNetV2 "random 1" --epochs 40 --seeds 0 1 2

Hand-made networks (`hand_made.py`: "MobileNetV2" on the preset's skeleton at the depth that it has without a fit,
"MobileNetV2 as published" on its own) and single operators (mb_k3_e3 or another one everywhere, at the depth of the
run) are as wide as their measured latency allows. A "random N" network comes from the full pool, at the width at
which random networks cost the budget, an "aware N" one from the run's hardware-aware space; both are kept where their
measured latency is 90 to 100 % of the budget. "winner" is the run's own architecture: what is left of its lead is
owed to its architecture and not to inherited weights. "inherited N" is an "aware N" network that starts like the
winner, from the supernet's weights: what is left of the winner's lead is owed to the choice. "inherited winner" is
the winner's training again, with other seeds or another share of inherited weights (`--inherited`). "at WIDTH:
OPERATOR OPERATOR ..." is any network, layer by layer. With `--slower 1.49` hand-made networks and single operators may
take 1.49 times the budget: does the run's network, which is that much faster, recognise as much? Their results go to
RUN/rivals_slower.json, which no report shows.

Each is trained on the pictures that the winner was retrained on, by its recipe but for the threads (two trainings at
once, one thread each: compare with the "winner" row where the run had two), exported as the winner was, and judged on
the test split. At the end the winner's file and the rivals' networks (with random weights, which take the same time)
are measured together. Networks are fitted first, with nothing else running, and kept in RUN/rivals_fitted.json; results
go to RUN/rivals.json one by one. What is there is not done again, unless it belongs to another verdict of the run. The
run's report shows them when it is written again (`hurricane report RUN`).
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hand_made import NAMES, NETWORKS, hand_made
from one_network import learn, opened, settle
from widths import widest

from hurricane.devices import measure
from hurricane.errors import HurricaneError, InfeasibleBudget
from hurricane.export import random_architecture
from hurricane.nn import FixedNetwork
from hurricane.ops import OPERATORS
from hurricane.runs import write_json
from hurricane.search import sample
from hurricane.space import SearchSpace, Shape
from hurricane.steps import export, retrain, supernet, verify
from hurricane.steps.feasibility import depths, measured_ms, middle_shape
from hurricane.steps.job import Job
from hurricane.train.place import CPU

STEP = 0.05
WIDTHS = (0.1, 4.0)
JUST_UNDER = 0.9
DRAWN = 300
DEFAULT = (*NETWORKS, "mb_k3_e3", *(f"random {number}" for number in (1, 2, 3)), "winner")
OWN = "this run, measured beside these"

Row = dict[str, Any]


def verdict_of(job: Job) -> Any:
    """What became of the run; SystemExit where it is not finished."""
    record = job.run.record(verify.NAME)
    if record is None:
        raise SystemExit("the run has no verdict yet; finish it with `hurricane run`")
    return record["verdict"]


def fitted(job: Job, name: str, budget_ms: float) -> SearchSpace:
    """The network that a name stands for, as a space of one architecture; SystemExit for an unknown name."""
    kind, _, rest = name.partition(" ")
    if kind in ("aware", "inherited") and not job.searches:
        raise SystemExit(f"there is no {name!r} beside a run without a search")
    if name in ("winner", "inherited winner"):
        return job.small_space.narrow([(choice,) for choice in verdict_of(job)["architecture"]])
    if name in NAMES:
        usual = depths(job)[0]
        return hand_fitted(
            job, lambda width: hand_made(name, job.space_at(Shape(width, usual)), width), budget_ms
        )
    if name in OPERATORS:
        fitted_depth = job.shape.depth
        return widest(
            job, lambda width: everywhere(name, job.space_at(Shape(width, fitted_depth))), budget_ms
        )
    if kind in ("random", "aware", "inherited") and rest.isdigit() and int(rest) > 0:
        return random_network(job, int(rest), full_pool=kind == "random")
    if kind == "at":
        width, _, operators = rest.partition(":")
        try:
            return job.space_at(replace(job.shape, width=float(width))).narrow(
                [(each,) for each in operators.split()]
            )
        except (ValueError, HurricaneError) as error:
            raise SystemExit(f"{name!r} is no network: {error}") from error
    known = f"{', '.join(NAMES)}, winner, an operator, random 1, aware 1 or inherited 1"
    raise SystemExit(f"there is no rival {name!r}; there are {known}")


def random_network(job: Job, number: int, *, full_pool: bool) -> SearchSpace:
    """A random network whose measured latency is just under the budget; SystemExit where none is found.

    The number is the seed.
    """
    if full_pool:
        space = job.space_at(middle_shape(job))
        archs = space.random(DRAWN, np.random.default_rng((job.config.run.seed, number)))
    else:
        space, least = job.small_space, JUST_UNDER * job.budget_ms
        archs = sample(space, DRAWN, seed=number, cost=job.latency_model, max_ms=job.budget_ms, min_ms=least)
    for arch in archs:
        if JUST_UNDER * job.budget_ms <= float(measured_ms(job, space, arch[None])[0]) <= job.budget_ms:
            return space.narrow([(name,) for name in space.names(arch)])
    raise SystemExit(f"none of {DRAWN} random networks is measured just under the budget")


def everywhere(kind: str, space: SearchSpace) -> SearchSpace:
    """One operator at each layer."""
    return space.narrow([(kind,) for _ in space.layers])


def hand_fitted(job: Job, at: Callable[[float], SearchSpace], budget_ms: float) -> SearchSpace:
    """A network at the largest width whose measured latency keeps a budget; InfeasibleBudget where none does."""
    return widest(at, lambda space: alone(job, space), budget_ms, WIDTHS, STEP)[1]


def alone(job: Job, space: SearchSpace) -> float:
    """Measured milliseconds of the only network of a space."""
    return float(measured_ms(job, space, np.zeros((1, len(space.layers)), int))[0])


def called(name: str, slower: float) -> str:
    """The name of a rival in the files; one that may be slower than the budget has another."""
    return name if slower == 1.0 else f"{name}, {slower:g} times the budget"


def inherited_by(job: Job, name: str, asked: float | None, epochs: int) -> float:
    """The share of the supernet's weights that a rival starts with."""
    if not name.startswith("inherited"):
        return 0.0
    return retrain.inherited_share(job, epochs) if asked is None else asked


def trained(
    folder: Path, space: SearchSpace, name: str, seed: int, epochs: int, inherited: float
) -> dict[str, Any]:
    """Train on one thread by the run's recipe, export, judge the file on the test split."""
    torch.set_num_threads(1)
    job = opened(folder)
    torch.manual_seed(seed * 1000 + 9)
    network = FixedNetwork(space, job.pictures.mean, job.pictures.std)
    if inherited:
        network.inherit(supernet.load(job), inherited)
    images, labels = retrain.learned(job)
    precision = job.run.record(supernet.NAME)["precision"]
    recipe = replace(retrain.recipe_of(job, epochs, precision), seed=seed, workers=1, place=CPU)
    started = time.monotonic()
    learn(network, images, labels, recipe)
    seconds = time.monotonic() - started
    settle(network, job.pictures.train.images, seed)
    top1 = top1_of(job, network)
    origin = f"from {inherited:g} of the supernet's weights" if inherited else "from scratch"
    return {
        "name": name,
        "seed": seed,
        "epochs": epochs,
        "inherited": inherited,
        "pictures": epochs * len(labels),
        "top1": top1,
        "how": f"{origin}, {epochs} epochs, the winner's recipe, seed {seed}",
        "seconds": round(seconds),
        "facts": dict(job.device.facts()),
        "space": space.to_json(),
        "architecture": [layer.choices[0] for layer in space.layers],
        "macs": int(space.macs(np.zeros((1, len(space.layers)), int))[0]),
        "measured_ms": None,
        "p90_ms": None,
    }


def top1_of(job: Job, network: FixedNetwork) -> float:
    """The share of the test split that a trained network recognises once it is exported as the winner was."""
    network.eval()
    content = job.device.export(export.exportable(job, network), export.calibration(job))
    session, test, right = job.device.load(content), job.pictures.test, 0
    for start in range(0, len(test.labels), 256):
        batch = test.images[start : start + 256].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        logits = session.run(np.ascontiguousarray(batch))
        right += int((logits.argmax(1) == test.labels[start : start + 256]).sum())
    return right / len(test.labels)


def measured(job: Job, rows: list[Row]) -> None:
    """Fill in milliseconds of all rows, measured together: the winner's file, the rivals with random weights."""
    spaces = {row["name"]: SearchSpace.from_json(row["space"]) for row in rows if row["name"] != OWN}
    sessions = [job.device.load(job.run.path(*verdict_of(job)["model"].split("/")))]
    for space in spaces.values():
        content = job.device.export(random_architecture(space, (0,) * len(space.layers)))
        sessions.append(job.device.load(content))
    samples = measure(sessions, rounds=9, seconds=0.1)
    for name, sample_of in zip((OWN, *spaces), samples, strict=True):
        for row in (row for row in rows if row["name"] == name):
            row |= {"measured_ms": sample_of.median_ms, "p90_ms": sample_of.p90_ms}


def own_row(job: Job) -> Row:
    """The run itself, to stand beside what is measured with it."""
    verdict, trained_how = verdict_of(job), job.run.record(retrain.NAME)
    epochs = trained_how["epochs"]
    given = job.config.retrain.inherited if trained_how["start"] == "supernet" else 0.0
    inherited = trained_how.get("inherited", given)  # runs before 2026-11-28 do not tell
    return {
        "name": OWN,
        "seed": job.config.run.seed,
        "epochs": epochs,
        "inherited": inherited,
        "pictures": epochs * len(retrain.learned(job)[1]),
        "top1": verdict["top1"],
        "how": "what the run delivered; its supernet and search come on top of these epochs",
        "macs": verdict["macs"],
    }


def of_this_verdict(path: Path, verdict_key: str) -> Any:
    """What a file holds for this verdict of the run; nothing where it is of another one or of another make."""
    content = json.loads(path.read_text()) if path.is_file() else None
    if not isinstance(content, list):
        return {} if content is None or content.get("verdict") != verdict_key else content["networks"]
    return [row for row in content if row.get("verdict") == verdict_key]


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
    parser.add_argument("--slower", type=float, default=1.0, help="how many times the budget they may take")
    parser.add_argument("--processes", type=int, default=2, help="trainings side by side, one thread each")
    asked = parser.parse_args()
    job = opened(asked.run)
    verdict_of(job)
    if asked.slower != 1.0 and (
        others := [name for name in asked.rivals if name not in (*NAMES, *OPERATORS)]
    ):
        parser.error(f"only hand-made networks and single operators may be slower, not {', '.join(others)}")
    key = job.run.record(verify.NAME)["key"]
    epochs = asked.epochs or int(job.run.record(retrain.NAME)["epochs"])
    out = job.run.path("rivals.json" if asked.slower == 1.0 else "rivals_slower.json")
    fits = job.run.path("rivals_fitted.json")
    networks: dict[str, Any] = of_this_verdict(fits, key) or {}
    failed = []
    names = [called(rival, asked.slower) for rival in asked.rivals]
    for name, rival in zip(names, asked.rivals, strict=True):
        if name not in networks:
            try:
                networks[name] = fitted(job, rival, asked.slower * job.budget_ms).to_json()
            except InfeasibleBudget as error:  # the others are worth a comparison, too
                failed.append(f"{name}: {error}")
                continue
            write_json(fits, {"verdict": key, "networks": networks})
    rows: list[Row] = [row for row in of_this_verdict(out, key) or [] if row["name"] != OWN]
    done = {(row["name"], row["seed"], row["epochs"], row["inherited"]) for row in rows}
    wanted = [
        (name, seed, epochs, inherited_by(job, name, asked.inherited, epochs))
        for seed in asked.seeds
        for name in names
        if name in networks
    ]
    with ProcessPoolExecutor(asked.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {
            pool.submit(trained, asked.run, SearchSpace.from_json(networks[each[0]]), *each): each
            for each in wanted
            if each not in done
        }
        for future in as_completed(waiting):
            name, seed, *_ = waiting[future]
            try:
                rows.append({"verdict": key, **future.result()})
            except Exception as error:  # the others go on
                failed.append(f"{name}, seed {seed}: {error}")
                continue
            write_json(out, rows)
            print(f"{name}, seed {seed}: {rows[-1]['top1']:.2%}, {rows[-1]['seconds']} s", flush=True)
    rows.insert(0, {"verdict": key, **own_row(job)})
    measured(job, rows)
    write_json(out, rows)
    for row in rows:
        name = f"{row['name']}, {row['epochs']} epochs, seed {row['seed']}"
        print(f"{name:<50} {row['measured_ms'] * 1e3:8.1f} us {row['top1']:>8.2%}")
    if failed:
        raise SystemExit("\n".join(["these are missing:", *failed]))


if __name__ == "__main__":
    main()
