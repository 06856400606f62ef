"""Two stages against SPOS: same space, budget, pictures and recipe; what training costs and what winners are worth.

    python benchmarks/against_spos.py DATA --max-latency 180us --seeds 3 --epochs 30 --runs runs/spos --out FILE.json

Each way and seed is a whole `hurricane run`, by the same code and with the same number of architectures scored; all
ways of a seed share one profile and one hardware-aware space. SPOS trains all layers at once for twice the epochs that
each of the two stages has; "two stages" is also run at 70 % of them. Retraining is the same for all but the last way:
there the pictures that a short supernet training spares go to the winner's. The cost of the supernet is told in
pictures, in multiply-accumulates (a backward pass counts twice its forward pass) and in seconds. Runs are trained and
searched side by side, one thread each (so finalists are measured while the other core works), and verified one after
the other at the end. What is done is not done again.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from hurricane import config as config_file
from hurricane.errors import InfeasibleBudget
from hurricane.runs import Run, read_rows, write_json
from hurricane.search import sample
from hurricane.steps import search, stages, supernet, verify
from hurricane.steps.job import Job

# Every operator with weights of its own, as in SPOS; winners start from these shrunk.
OWN = ("supernet.share=false", "retrain.inherited=0.4")
# name: settings, share of the epochs of two stages, whether the winner is trained on what that spares
WAYS: dict[str, tuple[tuple[str, ...], float, bool]] = {
    "SPOS": ((*OWN, "supernet.stages=1", "supernet.warm_up=0"), 2.0, False),
    "one stage, warmed up and grown": ((*OWN, "supernet.stages=1"), 2.0, False),
    "two stages, no warm-up, not grown": ((*OWN, "supernet.warm_up=0", "supernet.grow=false"), 1.0, False),
    "two stages": (OWN, 1.0, False),
    "two stages, 70 %": (OWN, 0.7, False),
    "two stages, 30 %, the winner longer": (OWN, 0.3, True),
    "two stages, shared weights, 40 %": ((), 0.4, False),
    "two stages, shared weights, 30 %, the winner longer": ((), 0.3, True),
}
# Of the training pictures; the rest is ranked on, and learned from in the last training.
SUPERNET_PICTURES = 0.8


def folder_of(asked: argparse.Namespace, way: str, seed: int) -> Path:
    """Where a run lives."""
    name = "".join(letter if letter.isalnum() else "_" for letter in way)
    folder: Path = asked.runs / f"{name}_{asked.epochs}_{seed}"
    return folder


def run(asked: argparse.Namespace, way: str, seed: int, until: str) -> None:
    """One run, in the space that all ways share with this seed."""
    folder, (settings, share, longer) = folder_of(asked, way, seed), WAYS[way]
    if not folder.is_dir():
        scratch = folder.with_name(f".{folder.name}")
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(asked.runs / f"space_{seed}", scratch).rename(folder)
    spared = 2 * asked.epochs * (1 - share) * SUPERNET_PICTURES if longer else 0.0
    lengths = (
        f"supernet.epochs={round(asked.epochs * share)}",
        f"retrain.epochs={asked.retrain_epochs + round(spared)}",
        f"search.evaluations={asked.evaluations * (2 if share == 2.0 else 1)}",
        "search.random_evaluations=0",
        "verify.candidates=1",
    )
    call(asked, folder, seed=seed, until=until, settings=(*settings, *lengths))


def call(
    asked: argparse.Namespace, folder: Path, *, seed: int, until: str, settings: tuple[str, ...]
) -> None:
    """`hurricane run`, as a user would."""
    data = [str(asked.data)] if asked.data else []
    command = [sys.executable, "-m", "hurricane", "run", *data, "--device", asked.device]
    command += [
        "--max-latency",
        asked.max_latency,
        "--seed",
        str(seed),
        "--out",
        str(folder),
        "--until",
        until,
    ]
    for setting in (f"run.threads={2 // asked.workers}", *settings):
        command += ["--set", setting]
    with (asked.runs / f"{folder.name}.log").open("a") as log:
        subprocess.run(command, check=until != "verify", stdout=log, stderr=log)


def row_of(asked: argparse.Namespace, way: str, seed: int) -> dict[str, Any]:
    """What a finished run cost and gave."""
    opened = Run.open(folder_of(asked, way, seed))
    job = Job(opened, config_file.load(opened.path("config.toml")))
    pictures, seconds, macs = 0, 0.0, 0.0
    record, verdict = opened.record(supernet.NAME), opened.record(verify.NAME)["verdict"]
    parts = [stages.Stage(stages.WARM_UP, stages.representatives(job)), stages.first(job)]
    if record["later"] is not None:
        parts.append(stages.second(job, record["later"]))
    for part in parts:
        try:
            archs = sample(part.space, 500, cost=job.latency_model, max_ms=job.budget_ms)
        except InfeasibleBudget:  # a warm-up of dear operators, which is no candidate
            archs = part.space.random(500, np.random.default_rng(0))
        mean_macs = float(part.space.macs(archs).mean())
        epochs = read_rows(opened.path(*part.name.split("/"), "curve.jsonl"))
        if epochs:
            # The median epoch stands for all: one beside which the machine did something else is not training's cost.
            seconds += len(epochs) * statistics.median_low(row["seconds"] for row in epochs)
        pictures += sum(row["pictures"] for row in epochs)
        macs += 3 * mean_macs * sum(row["pictures"] for row in epochs)
    names = ("top1", "measured_ms", "predicted_ms", "within", "architecture", "facts")
    finalist = search.chosen(job)
    scores = [row["score"] for row in read_rows(opened.path(search.NAME, "scored.jsonl"))]
    cost = {
        "pictures": pictures,
        "macs": macs,
        "seconds": seconds,
        "retrained_pictures": sum(
            row["pictures"] for row in read_rows(opened.path("retrain", "curve.jsonl"))
        ),
        "score": None if finalist is None else finalist["score"],
        "score_deviation": statistics.stdev(scores),
    }
    return {
        "way": way,
        "seed": seed,
        "epochs": asked.epochs,
        **cost,
        **{name: verdict[name] for name in names},
    }


def main() -> None:
    """Do what is missing and print a table of means and deviations over seeds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?", help="pictures; digits where not given")
    parser.add_argument("--device", default="onnxruntime:cpu?threads=1")
    parser.add_argument("--max-latency", default="180us")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30, help="of each of the two stages")
    parser.add_argument("--retrain-epochs", type=int, default=30)
    parser.add_argument("--evaluations", type=int, default=100, help="of each stage's search")
    parser.add_argument("--workers", type=int, default=2, choices=(1, 2), help="runs trained side by side")
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--runs", type=Path, required=True, help="a folder for the runs")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.runs.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = json.loads(asked.out.read_text()) if asked.out.is_file() else []
    done = {(row["way"], row["seed"], row["epochs"]) for row in rows}
    wanted = [(way, seed) for seed in range(asked.seeds) for way in asked.ways]
    wanted = [(way, seed) for way, seed in wanted if (way, seed, asked.epochs) not in done]
    for seed in sorted({seed for _, seed in wanted}):
        call(asked, asked.runs / f"space_{seed}", seed=seed, until="specialize", settings=())
    with ThreadPoolExecutor(asked.workers) as pool:
        list(pool.map(lambda one: run(asked, *one, "retrain"), wanted))
    for way, seed in wanted:
        run(asked, way, seed, "verify")
        rows.append(row_of(asked, way, seed))
        write_json(asked.out, rows)
    for way in asked.ways:
        told([row for row in rows if row["way"] == way and row["epochs"] == asked.epochs])


def told(rows: list[dict[str, Any]]) -> None:
    """One line: the way, its cost, and its winners' accuracy."""
    if not rows:
        return
    top1 = [row["top1"] for row in rows]
    spread = f" +- {statistics.stdev(top1):.2%}" if len(top1) > 1 else ""
    cost = {name: statistics.mean(row[name] for row in rows) for name in ("pictures", "macs", "seconds")}
    print(
        f"{rows[0]['way']:<36} {cost['pictures'] / 1e3:7.0f} k pictures {cost['macs'] / 1e12:7.1f} TMAC "
        f"{cost['seconds']:6.0f} s   top-1 {statistics.mean(top1):.2%}{spread} ({len(top1)} seeds)"
    )


if __name__ == "__main__":
    main()
