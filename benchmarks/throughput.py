"""How fast a supernet trains and is searched, beside a plain faithful SPOS loop, in one run.

    python benchmarks/throughput.py --preset tiny --image-size 32 --out benchmarks/results/throughput.json

Training: both train the same supernet on the same pictures, one uniformly drawn path a step, batches of 64. The plain
loop is what SPOS's own code does, on a processor, in fp32: the same augmented pictures, contiguous, one forward and
backward pass with torch's own threads, momentum, clipping. Ours is `hurricane.train.loop.train` in each precision. They
take turns; medians over the rounds, and their ratio round by round.

Search: what one candidate costs at SPOS's settings (batch-norm statistics from 20,000 training pictures, ranked on all
ranking pictures) and at ours (`search.recalibration_pictures`, `search.rank_pictures`), by the same code and threads;
"ours, stage 1" has the earlier 60 % of the layers fixed, as there, so that they are computed once for all candidates.
What both rankings are worth is for `benchmarks/ranking.py` to say.
"""

import argparse
import json
import resource
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import hurricane as hn
from hurricane.config import Config
from hurricane.nn import Supernet
from hurricane.runs import write_json
from hurricane.space import Archs
from hurricane.train.batches import Labels, Pictures, training_batches
from hurricane.train.loop import PRECISIONS, Recipe, train
from hurricane.train.scoring import path_scorer

BATCH = 64
# SPOS's searcher recalibrates with 200 batches of 128 pictures; its paper says 20,000 pictures.
SPOS_RECALIBRATION = 20_000


def plain_epoch(
    model: Supernet, optimizer: torch.optim.Optimizer, pictures: Pictures, labels: Labels, paths: Archs
) -> None:
    """One epoch of the plain loop: a path a step, the same augmented batches, contiguous."""
    model.train()
    batches = training_batches(pictures, labels, BATCH, flip=True, rng=np.random.default_rng(0))
    for path, (images, targets) in zip(paths.tolist(), batches, strict=True):
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(images.contiguous(), path), targets, label_smoothing=0.1)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()


def training(asked: argparse.Namespace, space: hn.SearchSpace) -> dict[str, Any]:
    """Pictures a second of the plain loop and of ours at each precision, in turns."""
    rng = np.random.default_rng(0)
    n = asked.steps * BATCH
    pictures = rng.integers(0, 256, (n, asked.image_size, asked.image_size, 3), dtype=np.uint8)
    labels = rng.integers(0, space.classes, n)
    plain = Supernet(space)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, weight_decay=4e-5)
    ours = {precision: Supernet(space) for precision in PRECISIONS}
    rates: dict[str, list[float]] = {"plain": [], **{precision: [] for precision in PRECISIONS}}
    for number in range(asked.rounds + 1):
        paths = space.random(asked.steps, np.random.default_rng(number))
        torch.set_num_threads(asked.threads)
        started = time.perf_counter()
        plain_epoch(plain, optimizer, pictures, labels, paths)
        seconds = {"plain": time.perf_counter() - started}
        for precision, model in ours.items():
            recipe = Recipe(1, BATCH, 0.05, 0.9, 4e-5, 0.1, precision, workers=asked.threads)
            started = time.perf_counter()
            train(model, pictures, labels, recipe, lambda steps, rng, paths=paths: paths)
            seconds[precision] = time.perf_counter() - started
        if number:  # the first round warms up
            for name, taken in seconds.items():
                rates[name].append(n / taken)
    ratios = {
        name: [mine / theirs for mine, theirs in zip(rates[name], rates["plain"], strict=True)]
        for name in PRECISIONS
    }
    return {"pictures_a_second": rates, "ratio_to_plain": ratios}


def scoring(asked: argparse.Namespace, space: hn.SearchSpace) -> dict[str, Any]:
    """Seconds that one candidate costs at SPOS's settings, at ours, and at ours with the earlier layers fixed."""
    rng = np.random.default_rng(1)
    shape = (asked.image_size, asked.image_size, 3)
    section = Config(device="-").search
    pictures = rng.integers(0, 256, (asked.ranking, *shape), dtype=np.uint8)
    labels = rng.integers(0, space.classes, asked.ranking)
    few = pictures[rng.integers(0, asked.ranking, SPOS_RECALIBRATION)]
    ours = (section.recalibration_pictures, section.rank_pictures)
    settings = {"SPOS": (SPOS_RECALIBRATION, asked.ranking), "ours": ours, "ours, stage 1": ours}
    earlier = round(0.6 * len(space.layers))
    choices = [la.choices[:1] if number < earlier else la.choices for number, la in enumerate(space.layers)]
    spaces = {name: space.narrow(choices) if name == "ours, stage 1" else space for name in settings}
    model, seconds = Supernet(space), {name: [] for name in settings}
    scorers = {
        name: path_scorer(
            model,
            spaces[name],
            few,
            (pictures, labels),
            recalibration_pictures=recalibrated,
            rank_pictures=ranked,
            seed=0,
            workers=asked.threads,
        )
        for name, (recalibrated, ranked) in settings.items()
    }
    for number in range(asked.rounds + 1):
        for name, scorer in scorers.items():
            archs = spaces[name].random(2 * asked.threads, np.random.default_rng(number))
            started = time.perf_counter()
            scorer(archs)
            if number:
                seconds[name].append((time.perf_counter() - started) / len(archs))
    ratios = {
        name: [mine / theirs for mine, theirs in zip(seconds[name], seconds["SPOS"], strict=True)]
        for name in settings
        if name != "SPOS"
    }
    return {"settings": settings, "seconds_a_candidate": seconds, "ratio_to_spos": ratios}


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=("tiny", "mobile"), default="tiny")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=40, help="of 64 pictures, a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ranking", type=int, default=2000, help="ranking pictures at SPOS's settings")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    space = hn.preset(asked.preset, image_size=asked.image_size, classes=asked.classes)
    figures = {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "facts": dict(hn.open_device("onnxruntime:cpu").facts()),
        "torch": torch.__version__,
        "training": training(asked, space),
        "search": scoring(asked, space),
        "memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    known = json.loads(asked.out.read_text()) if asked.out.is_file() else {}
    known[f"{asked.preset} {asked.image_size} px"] = figures
    write_json(asked.out, known)
    for name, rates in figures["training"]["pictures_a_second"].items():
        print(f"training, {name:<6} {statistics.median(rates):7.0f} pictures a second")
    for name, ratios in figures["training"]["ratio_to_plain"].items():
        print(f"training, {name:<6} {in_words(ratios)} of the plain loop")
    for name, seconds in figures["search"]["seconds_a_candidate"].items():
        print(f"search, {name:<14} {statistics.median(seconds):.3f} s a candidate")
    for name, ratios in figures["search"]["ratio_to_spos"].items():
        print(f"search, {name} {in_words(ratios)} of SPOS's settings")


def in_words(ratios: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
