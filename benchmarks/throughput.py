"""How fast a supernet trains and is searched, beside a plain faithful SPOS loop, in one run.

    python benchmarks/throughput.py --preset tiny --image-size 32 --out benchmarks/results/throughput.json

Training: both train the same supernet on the same pictures, one uniformly drawn path a step, batches of 64. The plain
loop is what SPOS's own code does, on a processor, in fp32: the same augmented pictures, contiguous, one forward and
backward pass with torch's own threads, momentum, clipping, rectifiers in place. Ours is `hurricane.train.loop.train`
in each precision, and with shared weights (the default), on the torch threads that a run has. The plain loop and the
one called so take torch's own gradients of wide depthwise kernels, others those of `hurricane.nn.convolution`. Each has
a process of its own, and they take turns in a random order; medians over the rounds, and their ratio round by round.
`--space RUN/space/space.json` takes the hardware-aware space of a run instead of the preset's full pool.

Search: what one candidate costs at SPOS's settings (batch-norm statistics from 20,000 training pictures, ranked on all
ranking pictures) and at ours (`search.recalibration_pictures`, `search.rank_pictures`), by the same code and threads;
"ours, stage 1" has the earlier 60 % of the layers fixed, as there, so that they are computed once for all candidates.
What both rankings are worth is for `benchmarks/ranking.py` to say.
"""

import argparse
import json
import multiprocessing
import random
import resource
import shlex
import statistics
import sys
import time
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import hurricane as hn
from hurricane.config import Config
from hurricane.nn import Supernet, convolution
from hurricane.runs import write_json
from hurricane.space import Archs
from hurricane.train.batches import Labels, Pictures, training_batches
from hurricane.train.loop import Recipe, train
from hurricane.train.scoring import path_scorer

BATCH = 64
# SPOS's searcher recalibrates with 200 batches of 128 pictures; its paper says 20,000 pictures.
SPOS_RECALIBRATION = 20_000


def torchs_gradients() -> None:
    """Let this process take torch's own gradients of wide depthwise kernels."""
    convolution.STRIP = sys.maxsize


class PlainLoop:
    """SPOS's loop on a supernet of its own: an epoch of a path a step, the same augmented batches, contiguous."""

    def __init__(self, asked: argparse.Namespace, space: hn.SearchSpace) -> None:
        torchs_gradients()
        self.pictures, self.labels = noise(asked, space)
        self.model = Supernet(space)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9, weight_decay=4e-5)

    def __call__(self, paths: Archs) -> None:
        self.model.train()
        rng = np.random.default_rng(0)
        batches = training_batches(self.pictures, self.labels, BATCH, flip=True, rng=rng)
        for path, (images, targets) in zip(paths.tolist(), batches, strict=True):
            self.optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(self.model(images.contiguous(), path), targets, label_smoothing=0.1)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
            self.optimizer.step()


class OurLoop:
    """`hurricane.train.loop.train` on a supernet of its own, an epoch."""

    def __init__(
        self,
        asked: argparse.Namespace,
        space: hn.SearchSpace,
        precision: str = "fp32",
        *,
        share: bool = False,
        strips: bool = True,
    ) -> None:
        if not strips:
            torchs_gradients()
        self.pictures, self.labels = noise(asked, space)
        self.model = Supernet(space, share=share)
        self.recipe = Recipe(1, BATCH, 0.05, 0.9, 4e-5, 0.1, precision, workers=asked.threads)

    def __call__(self, paths: Archs) -> None:
        train(self.model, self.pictures, self.labels, self.recipe, lambda steps, rng: paths)


LOOPS = {
    "plain": PlainLoop,
    "fp32": OurLoop,
    "bf16": partial(OurLoop, precision="bf16"),
    "fp32, shared weights": partial(OurLoop, share=True),
    "fp32, shared weights, torch's gradients": partial(OurLoop, share=True, strips=False),
}


def epochs_of(name: str, asked: argparse.Namespace, there: Connection) -> None:
    """What a process does: an epoch of its loop for each number that comes; gives pictures a second."""
    # A run gives torch one thread: its workers share out the work.
    torch.set_num_threads(asked.threads if name == "plain" else 1)
    space = space_of(asked)
    epoch = LOOPS[name](asked, space)
    while (number := there.recv()) is not None:
        paths = space.random(asked.steps, np.random.default_rng(number))
        started = time.perf_counter()
        epoch(paths)
        there.send(asked.steps * BATCH / (time.perf_counter() - started))
    there.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def space_of(asked: argparse.Namespace) -> hn.SearchSpace:
    """The space that is trained: the full pool in a preset, or one of a file."""
    if asked.space:
        return hn.SearchSpace.from_json(json.loads(asked.space.read_text()))
    return hn.preset(asked.preset, image_size=asked.image_size, classes=asked.classes)


def noise(asked: argparse.Namespace, space: hn.SearchSpace) -> tuple[Pictures, Labels]:
    """Pictures and labels at random, for one epoch of so many steps."""
    rng = np.random.default_rng(0)
    n = asked.steps * BATCH
    pictures = rng.integers(0, 256, (n, asked.image_size, asked.image_size, 3), dtype=np.uint8)
    return pictures, rng.integers(0, space.classes, n)


def training(asked: argparse.Namespace) -> dict[str, Any]:
    """Pictures a second of each loop, in turns; each has a process of its own and its number of threads."""
    context = multiprocessing.get_context("spawn")
    names = list(dict.fromkeys(["plain", *asked.loops]))
    rates: dict[str, list[float]] = {name: [] for name in names}
    pipes, processes = {}, []
    for name in names:
        pipes[name], there = context.Pipe()
        processes.append(context.Process(target=epochs_of, args=(name, asked, there), daemon=True))
        processes[-1].start()
        there.close()  # so that a process that ends too early is noticed
    for number in range(asked.rounds + 1):
        # In another order each round, so that no loop always comes after the same one.
        for name in random.Random(number).sample(names, len(names)):
            pipes[name].send(number)
            rate = pipes[name].recv()
            if number:  # the first round warms up
                rates[name].append(rate)
    for here in pipes.values():
        here.send(None)
    memory = {name: here.recv() for name, here in pipes.items()}
    ratios = {
        name: [mine / theirs for mine, theirs in zip(rates[name], rates["plain"], strict=True)]
        for name in names
        if name != "plain"
    }
    return {"pictures_a_second": rates, "ratio_to_plain": ratios, "memory_gib": memory}


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
    parser.add_argument("--space", type=Path, help="a run's space/space.json; it knows size and classes")
    parser.add_argument("--name", help="of this row in the file; preset and size where not given")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=40, help="of 64 pictures, a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ranking", type=int, default=2000, help="ranking pictures at SPOS's settings")
    parser.add_argument(
        "--loops", nargs="*", choices=list(LOOPS), default=list(LOOPS), help="beside the plain one"
    )
    parser.add_argument("--training-only", action="store_true", help="do not time candidates")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    space = space_of(asked)
    asked.image_size, asked.classes = space.image_size, space.classes
    name = asked.name or f"{asked.preset} {asked.image_size} px"
    torch.set_num_threads(1)
    figures = {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "facts": dict(hn.open_device("onnxruntime:cpu").facts()),
        "torch": torch.__version__,
        "training": training(asked),
    }
    if not asked.training_only:
        figures["search"] = scoring(asked, space)
    known = json.loads(asked.out.read_text()) if asked.out.is_file() else {}
    known[name] = figures
    write_json(asked.out, known)
    for loop, rates in figures["training"]["pictures_a_second"].items():
        print(f"training, {loop:<39} {statistics.median(rates):7.0f} pictures a second")
    for loop, ratios in figures["training"]["ratio_to_plain"].items():
        print(f"training, {loop:<39} {in_words(ratios)} of the plain loop")
    if asked.training_only:
        return
    for settings, seconds in figures["search"]["seconds_a_candidate"].items():
        print(f"search, {settings:<14} {statistics.median(seconds):.3f} s a candidate")
    for settings, ratios in figures["search"]["ratio_to_spos"].items():
        print(f"search, {settings} {in_words(ratios)} of SPOS's settings")


def in_words(ratios: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
