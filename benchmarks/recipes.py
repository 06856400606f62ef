"""What the recipe of the last training is worth: one network, trained from scratch by several recipes.

    python benchmarks/recipes.py TRAIN.parquet --epochs 60 --out FILE.json

The network is one operator everywhere at a given width. It is trained on the first rows of the file and judged on the
rows that come after: no test split is opened. Trainings run two at once, one thread each; results are written one by
one, and those that are there are not done again.
"""

import argparse
import json
import multiprocessing
import shlex
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from families import FAMILIES, member, parser_of
from one_network import channels, learn, recognised, rows, settle

from hurricane.nn import FixedNetwork
from hurricane.runs import write_json
from hurricane.train.loop import Recipe

BASE = Recipe(
    epochs=0, batch_size=64, learning_rate=0.1, momentum=0.9, weight_decay=1e-4, label_smoothing=0.1
)
RECIPES = {
    "weight decay 1e-4": BASE,
    "weight decay 5e-4": replace(BASE, weight_decay=5e-4),
    "weight decay 1e-3": replace(BASE, weight_decay=1e-3),
    "weight decay 5e-4, rate 0.05": replace(BASE, weight_decay=5e-4, learning_rate=0.05),
    "weight decay 5e-4, rate 0.2": replace(BASE, weight_decay=5e-4, learning_rate=0.2),
    "weight decay 5e-4, batch 128, rate 0.2": replace(
        BASE, weight_decay=5e-4, learning_rate=0.2, batch_size=128
    ),
    "weight decay 5e-4, squares hidden in half": replace(BASE, weight_decay=5e-4, erased=0.5),
    "weight decay 5e-4, parts of others in half": replace(BASE, weight_decay=5e-4, mixed=0.5),
}


def trained(asked: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """Train on one thread; the share recognised of the pictures that come after, and of the training pictures."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    images, labels = rows(asked.parquet, 0, asked.train_rows)
    others, truth = rows(asked.parquet, asked.train_rows, asked.train_rows + asked.judge_rows)
    space = member(asked.family, asked.preset, images.shape[1], int(labels.max()) + 1, asked.width, 1.0)
    network = FixedNetwork(space, *channels(images))
    recipe = replace(RECIPES[name], epochs=asked.epochs, seed=seed)
    started = time.monotonic()
    learn(network, images, labels, recipe)
    seconds = time.monotonic() - started
    settle(network, images, seed)
    known, new = recognised(network, images, labels), recognised(network, others, truth)
    return {"top1": new, "training_top1": known, "seconds": round(seconds)}


def main() -> None:
    """Do what is missing and print what was found."""
    parser = parser_of(__doc__)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--family", default="mb_k3_e3", choices=list(FAMILIES))
    parser.add_argument("--width", type=float, default=0.85)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    results = json.loads(asked.out.read_text()) if asked.out.is_file() else {"trainings": []}
    results["command"] = shlex.join(word.replace(str(asked.parquet), "TRAIN.parquet") for word in sys.argv)
    results["date"] = time.strftime("%Y-%m-%d")
    setting = {"family": asked.family, "width": asked.width, "epochs": asked.epochs}
    done = [{**row, "top1": None, "training_top1": None, "seconds": None} for row in results["trainings"]]
    with ProcessPoolExecutor(asked.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {}
        for seed in range(asked.seeds):
            for name in asked.recipes:
                row = {**setting, "recipe": name, "seed": seed, "train_rows": asked.train_rows}
                if {**row, "top1": None, "training_top1": None, "seconds": None} not in done:
                    waiting[pool.submit(trained, asked, name, seed)] = row
        for future in as_completed(waiting):
            row = {**waiting[future], **future.result()}
            results["trainings"].append(row)
            write_json(asked.out, results)
            print(
                f"{row['recipe']:<42} seed {row['seed']}: {row['top1']:.2%} "
                f"(training pictures {row['training_top1']:.1%}), {row['seconds']} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
