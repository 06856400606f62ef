"""Retrain: the winner trained to the end, from a share of the supernet's weights (or from scratch)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hurricane.config import Auto
from hurricane.nn import FixedNetwork
from hurricane.runs import append_row, digest, read_rows
from hurricane.space import Archs
from hurricane.steps import plan, recipes, search, supernet
from hurricane.steps.job import Job
from hurricane.steps.lengths import MINIMUM
from hurricane.train.batches import Labels, Pictures
from hurricane.train.loop import Epoch, Recipe, epochs_in, train
from hurricane.train.place import named, placed
from hurricane.train.scoring import calibration_batches, recalibrate
from hurricane.train.weights import load_weights, save_tensors

NAME = "retrain"
FILES = ("retrain/model.safetensors",)
STATISTICS_PICTURES = 4096
LEARNING_RATE = 0.1
# What was learned before gives a short training a start and keeps a long one from its best: all of it helped at 26
# epochs, this share of it at 59 (docs/RESULTS.md, shared weights, where the winner's weights come from).
SHORT = 45
INHERITED_BY_LONG = 0.4
# A long training recognises all of its pictures long before it ends, unless parts of them are exchanged.
MIXED_BY_LONG = 0.5


def key(job: Job) -> str | None:
    """Hash of the chosen architecture, the supernet, pictures and settings."""
    finalist, record = search.chosen(job), job.run.record(search.NAME)
    if finalist is None or record is None or record["key"] != search.key(job):
        return None
    settings = job.config.retrain.deciding()
    return digest([record["key"], finalist["architecture"], settings, job.data_key, job.flip])


def perform(job: Job) -> None:
    """Train the chosen finalist on training and ranking pictures; the test split stays closed."""
    finalist, key_now = search.chosen(job), key(job)
    assert finalist is not None
    assert key_now is not None
    plan.seeded(job, 3)
    network = network_of(job, finalist["architecture"])
    big = supernet.load(job)
    lengths, speed = plan.prepare(job, big, plan.typical_archs(job))
    stage = supernet.last_stage(job).name
    recent = supernet.last_epochs(job, stage, supernet.RECENT) if job.searches else []
    spent = plan.spent_seconds(job, plan.BEFORE_RETRAINING)
    lengths = plan.revised(job, lengths, speed, recent, spent, ("retrain",))
    section = job.config.retrain
    start = section.start if job.searches else "scratch"
    inherited = inherited_share(job, lengths.retrain) if start == "supernet" else 0.0
    if inherited:
        network.inherit(big, inherited)
    elif section.init:
        supernet.start_from(job, network, Path(section.init))
    del big
    images, labels = learned(job)
    folder = job.run.path(NAME)
    checkpoint = folder / f"{key_now}.safetensors"
    for path in folder.glob("*.safetensors"):
        if path not in (checkpoint, folder / "model.safetensors"):
            path.unlink()

    def told(epoch: Epoch) -> None:
        append_row(folder / "curve.jsonl", {"key": key_now, **supernet.epoch_row(epoch)})
        if epoch.number % max(1, lengths.retrain // 5) == 0:
            job.view.say(
                f"epoch {epoch.number} of {lengths.retrain}: loss {epoch.loss:.3f}, "
                f"{epoch.accuracy:.1%} of the augmented training pictures recognised"
            )

    def train_on(until: int, label: str) -> None:
        with job.view.bar(label, max(0, until - epochs_in(checkpoint)) * len(labels)) as bar:
            train(
                network,
                images,
                labels,
                recipe_of(job, lengths.retrain, speed.precision),
                _only_path,
                until=until,
                checkpoint=checkpoint,
                on_epoch=told,
                on_step=bar.advance,
            )

    def last_epoch() -> list[dict[str, Any]]:
        return [row for row in read_rows(folder / "curve.jsonl") if row.get("key") == key_now][-1:]

    label = "retraining the winner" if job.searches else "training the network"
    if not job.searches and job.config.run.time_limit_s and section.epochs == "auto":
        # No supernet has told yet how fast training is here.
        if not last_epoch():
            train_on(min(epochs_in(checkpoint) + 1, lengths.retrain), f"{label}, first epoch")
        lengths = plan.revised(job, lengths, speed, last_epoch(), spent, ("retrain",))
    if (done := epochs_in(checkpoint)) > lengths.retrain:
        # Planned longer before: the learning rate has yet to come down.
        lengths = replace(lengths, retrain=done + MINIMUM["retrain"])
    train_on(lengths.retrain, label)
    statistics = calibration_batches(
        job.pictures.train.images, STATISTICS_PICTURES, np.random.default_rng(job.config.run.seed)
    )
    with placed(network, job.place):
        recalibrate(network, (), statistics)
    save_tensors(folder / "model.safetensors", network.state_dict())
    made = {"epochs": lengths.retrain, "start": start, "inherited": inherited, "trainer": named(job.place)}
    job.run.finish(NAME, key_now, finalist=finalist, **made)
    checkpoint.unlink(missing_ok=True)


def inherited_share(job: Job, epochs: int) -> float:
    """The share of the supernet's weights that a training of so many epochs starts from."""
    return _by_length(job.config.retrain.inherited, epochs, short=1.0, long=INHERITED_BY_LONG)


def _by_length(given: float | Auto, epochs: int, *, short: float, long: float) -> float:
    """A setting, where it is "auto" by whether the training is a short or a long one."""
    if given != "auto":
        return given
    return short if epochs <= SHORT else long


def learned(job: Job) -> tuple[Pictures, Labels]:
    """What is learned from: candidates are ranked no more, so that is training and ranking pictures."""
    train_split, rank_split = job.pictures.train, job.pictures.rank
    images = np.concatenate([train_split.images, rank_split.images])
    return images, np.concatenate([train_split.labels, rank_split.labels])


def recipe_of(job: Job, epochs: int, precision: str) -> Recipe:
    """How the winner is trained, and whatever is compared with it."""
    section, rate = job.config.retrain, job.config.retrain.learning_rate
    recipe = recipes.recipe_of(
        job,
        section,
        epochs=epochs,
        pictures=len(job.pictures.train.labels) + len(job.pictures.rank.labels),
        learning_rate=LEARNING_RATE if rate == "auto" else rate,
        precision=precision,
    )
    mixed = _by_length(section.mixed, epochs, short=0.0, long=MIXED_BY_LONG)
    return replace(recipe, erased=section.erased, mixed=mixed)


def load(job: Job) -> FixedNetwork:
    """The retrained network, in evaluation mode."""
    record = job.run.record(NAME)
    assert record is not None
    network = network_of(job, record["finalist"]["architecture"])
    load_weights(job.run.path(NAME, "model.safetensors"), network)
    network.eval()
    return network


def network_of(job: Job, names: list[str]) -> FixedNetwork:
    """An untrained network of an architecture given by choice names."""
    space = job.small_space.narrow([(name,) for name in names])
    return FixedNetwork(space, job.pictures.mean, job.pictures.std)


def _only_path(steps: int, rng: np.random.Generator) -> Archs:
    # A fixed network knows its path: an empty one stands for it.
    return np.zeros((steps, 0), dtype=np.int64)
