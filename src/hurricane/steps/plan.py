"""How long to train and search: lengths that follow from data and settings, fitted to a time limit when there is one.

Without a limit nothing here looks at a clock, so equal settings give equal lengths. With one, the run measures
its own speed first, and the lengths are recorded before they are used.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from hurricane.nn import Supernet
from hurricane.runs import digest
from hurricane.search import sample
from hurricane.space import Archs
from hurricane.steps import specialize as space_step
from hurricane.steps.job import Job
from hurricane.steps.lengths import MINIMUM, Lengths, fitted, stretched
from hurricane.train.batches import tensor_of
from hurricane.train.loop import PRECISIONS, Epoch, Recipe, train
from hurricane.train.place import CPU, moved, named, passed_over, placed, workers_at
from hurricane.train.scoring import logits_of

# Training on two cores does about this much (forward multiply-accumulates of a picture, all passes counted in):
# only used to size small data sets without a limit, so that they end within half an hour (see docs/measuring.md).
ASSUMED_MACS_PER_S = 3.0e9
ASSUMED_PICTURES_PER_S = 1200.0
SMALL_DATA = 2000
SMALL_DATA_SECONDS = 20 * 60.0
# bf16 must be this much faster than fp32 before it is worth its lost digits.
WORTHWHILE = 1.2
# Where no more than this share of the winner's training is left, one network without a search becomes better: a search
# of 0.28 of the usual lengths was 2.4 and 1.2 points behind (docs/RESULTS.md, without a search).
TOO_SHORT = 0.5
ADVICE = "so short a training is likely worth more to one network than to a search: --no-search"
# What is left is lengthened where that makes it so much longer; less is the jitter of the machine.
WORTH_LENGTHENING = 1.1
# An epoch as it stands in a curve.
Row = Mapping[str, Any]
# Steps by the names of their commands.
BEFORE_TRAINING = ("profile", "specialize")
BEFORE_RETRAINING = (*BEFORE_TRAINING, "train", "search")


@dataclass(frozen=True, slots=True)
class Speed:
    """Measured on a place: pictures trained and scored per second, and the precision that was faster."""

    train: float
    score: float
    precision: str
    place: str = CPU


def default_lengths(job: Job, mean_macs: float) -> Lengths:
    """Lengths from the number of pictures alone; without a limit, small data sets end within half an hour."""
    pictures = len(job.pictures.train.labels)
    # The winner gets most: what a supernet's pictures buy is less than what they are worth to the winner
    # (docs/RESULTS.md, what a search costs).
    lengths = Lengths(
        stage1=int(np.clip(90_000 // pictures, 6, 60)),
        stage2=int(np.clip(60_000 // pictures, 4, 40)),
        retrain=int(np.clip(930_000 // pictures, 20, 150)),
        evaluations=60,
        random_evaluations=40,
    )
    if not job.searches:
        lengths = Lengths(0, 0, lengths.stage1 + lengths.stage2 + lengths.retrain, 0, 0)
    if pictures <= SMALL_DATA and not job.config.run.time_limit_s:
        per_s = min(ASSUMED_PICTURES_PER_S, ASSUMED_MACS_PER_S / mean_macs)
        lengths = fitted(lengths, SMALL_DATA_SECONDS, lambda plan: total_seconds(job, plan, per_s, 3 * per_s))
    return _overridden(job, lengths)


def _overridden(job: Job, lengths: Lengths) -> Lengths:
    """Lengths that the settings give stand as given; without a search there is one training only."""
    config = job.config
    given: dict[str, Any] = {
        "stage1": config.supernet.epochs,
        "stage2": config.supernet.epochs,
        "retrain": config.retrain.epochs,
        "evaluations": config.search.evaluations,
        "random_evaluations": config.search.random_evaluations,
    }
    lengths = replace(lengths, **{name: value for name, value in given.items() if value != "auto"})
    if not job.searches:
        return replace(lengths, stage1=0, stage2=0, evaluations=0, random_evaluations=0)
    return replace(lengths, stage2=0) if config.supernet.stages == 1 else lengths


def unit_seconds(job: Job, train_per_s: float, score_per_s: float) -> dict[str, float]:
    """Expected seconds of an epoch of each training and of one scored architecture, at pictures a second."""
    training = len(job.pictures.train.labels)
    section = job.config.search
    scored = min(section.rank_pictures, len(job.pictures.rank.labels)) + min(
        section.recalibration_pictures, training
    )
    return {
        "stage1": training / train_per_s,
        "stage2": training / train_per_s,
        "retrain": (training + len(job.pictures.rank.labels)) / train_per_s,
        "evaluations": scored / score_per_s,
        "random_evaluations": scored / score_per_s,
    }


def step_seconds(job: Job, lengths: Lengths, train_per_s: float, score_per_s: float) -> dict[str, float]:
    """Expected seconds of each step at these speeds (pictures a second)."""
    units = unit_seconds(job, train_per_s, score_per_s)
    searches = 1 if lengths.stage2 == 0 else 2
    searched = searches * lengths.evaluations + lengths.random_evaluations
    return {
        "supernet stage 1": lengths.stage1 * units["stage1"],
        "supernet stage 2": lengths.stage2 * units["stage2"],
        "search": searched * units["evaluations"],
        "retrain": lengths.retrain * units["retrain"],
    }


def total_seconds(job: Job, lengths: Lengths, train_per_s: float, score_per_s: float) -> float:
    """Sum of `step_seconds`."""
    return sum(step_seconds(job, lengths, train_per_s, score_per_s).values())


def prepare(job: Job, model: Supernet, archs: Archs) -> tuple[Lengths, Speed]:
    """The plan of this run: recorded before it is used, measured once, reused on resume.

    On another trainer, or where the speed on file cannot be read, the lengths stand; speed and precision are measured
    again.
    """
    key_now = key(job)
    known = job.run.decision("plan")
    if known is not None and known["key"] != key_now:
        known = None
    before = None if known is None else _speed_in(known)
    if known is not None and before is not None and before.place == job.place:
        return Lengths(**known["lengths"]), before
    if reason := passed_over(job.config.run.trainer):
        job.view.say(f"training on the CPU: torch sees a GPU but cannot use it ({reason})")
    with job.view.bar("measuring the speed of training here", 1) as bar:
        speed = measure_speed(job, model, archs)
        bar.advance(1)
    if known is not None:
        job.run.decide("plan", {**known, "speed": asdict(speed)})
        job.view.say(_told(speed) if before is None else _told_of_another(speed, job.config.run.time_limit_s))
        return Lengths(**known["lengths"]), speed
    mean_macs = float(model.space.macs(archs).mean())
    wanted = default_lengths(job, mean_macs)
    lengths = wanted
    limit = job.config.run.time_limit_s
    if limit:
        room = _room(limit, spent_seconds(job, BEFORE_TRAINING))

        def seconds(plan: Lengths) -> float:
            return total_seconds(job, _overridden(job, plan), speed.train, speed.score)

        lengths = _overridden(job, stretched(wanted, room, seconds))
    estimate = step_seconds(job, lengths, speed.train, speed.score)
    job.run.decide(
        "plan",
        {
            "key": key_now,
            "lengths": asdict(lengths),
            "wanted": asdict(wanted),
            "speed": asdict(speed),
            "estimate_s": estimate,
        },
    )
    _say(job, wanted, lengths, speed, estimate)
    return lengths, speed


def _speed_in(known: Mapping[str, Any]) -> Speed | None:
    """The speed in a plan on file; None where an accident or another version left something else there."""
    try:
        speed = Speed(**known["speed"])
        sound = speed.train > 0 and speed.score > 0 and speed.precision in PRECISIONS
    except (KeyError, TypeError):
        return None
    return speed if sound else None


def revised(
    job: Job, lengths: Lengths, speed: Speed, epochs: Sequence[Row], spent_s: float, left: Sequence[str]
) -> Lengths:
    """Lengths of what is left, planned again where training turned out slower or faster; recorded, once for each.

    A speed measured in seconds says little of the next half hour of a shared machine: what was cut in a busy minute
    is lengthened again when the machine is free.

    Parameters
    ----------
    epochs : rows of the last trained epochs, which tell the speed now unless another trainer did them.
    spent_s : seconds of the run so far.
    left : names of the lengths that are still to come, in order.
    """
    known, limit = job.run.decision("plan"), job.config.run.time_limit_s
    if not limit or not epochs or known is None or left[0] in known.get("revised", ()):
        return lengths
    here = [row for row in epochs if row.get("trainer", CPU) == speed.place]
    rate, instead = speed.train, ""
    if here:
        rate = sum(row["pictures"] for row in here) / sum(row["seconds"] for row in here)
        instead = f" instead of {speed.train:.0f}"
    units = unit_seconds(job, rate, speed.score * rate / speed.train)

    def seconds(plan: Lengths) -> float:
        return sum(units[name] * float(getattr(plan, name)) for name in left)

    room = _room(limit, spent_s)
    wanted = Lengths(**known["wanted"])
    again = _overridden(job, stretched(wanted, room, seconds))
    if seconds(lengths) > room or seconds(again) > WORTH_LENGTHENING * seconds(lengths):
        new = replace(lengths, **{name: getattr(again, name) for name in left})
    else:
        new = lengths
    changed = [
        f"{name} {getattr(lengths, name)} -> {getattr(new, name)}"
        for name in left
        if getattr(new, name) != getattr(lengths, name)
    ]
    if changed:
        job.view.say(
            f"training runs at {rate:.0f} pictures/s{instead}; "
            f"planned again for the time limit: {', '.join(changed)}"
        )
    if job.searches and _too_short(wanted, new) and not _too_short(wanted, lengths):
        job.view.say(ADVICE)
    revisions = [*known.get("revised", ()), left[0]]
    job.run.decide("plan", {**known, "lengths": asdict(new), "revised": revisions})
    return new


def _room(limit_s: float, spent_s: float) -> float:
    """Seconds left for training and search: a twentieth and 20 seconds go to measuring, exporting and verifying."""
    return max(0.0, limit_s * 0.95 - 20.0 - spent_s)


def key(job: Job) -> str:
    """Hash of everything that lengths follow from: settings, pictures, and the space that a budget led to."""
    config, record = job.config, job.run.record(space_step.NAME)
    sections = [config.supernet.deciding(), config.search.deciding()]
    space = None if record is None else record["key"]
    return digest([*sections, config.run.deciding(), config.retrain.epochs, job.data_key, space])


def spent_seconds(job: Job, commands: Sequence[str]) -> float:
    """Seconds that these steps of this run took, as far as they are finished."""
    taken = job.run.facts().get("seconds", {})
    return float(sum(taken.get(command, 0.0) for command in commands))


def _say(job: Job, wanted: Lengths, lengths: Lengths, speed: Speed, estimate: dict[str, float]) -> None:
    steps = ", ".join(f"{name} {seconds / 60:.1f} min" for name, seconds in estimate.items() if seconds)
    job.view.say(f"{_told(speed)}; expected: {steps}")
    for word, sign in (("cut to keep the time limit", 1), ("lengthened, the time limit leaves room", -1)):
        changed = [
            f"{name} {getattr(wanted, name)} -> {getattr(lengths, name)}"
            for name in MINIMUM
            if sign * getattr(lengths, name) < sign * getattr(wanted, name)
        ]
        if changed:
            job.view.say(f"{word}: {', '.join(changed)}")
    if job.searches and _too_short(wanted, lengths):
        job.view.say(ADVICE)


def _too_short(wanted: Lengths, lengths: Lengths) -> bool:
    """Whether little is left of the winner's training, by share or because less is not to be had."""
    least = max(TOO_SHORT * wanted.retrain, MINIMUM["retrain"])
    return lengths.retrain < wanted.retrain and lengths.retrain <= least


def _told(speed: Speed) -> str:
    where = "here" if speed.place == CPU else f"on {named(speed.place)}"
    return (
        f"speed {where}: {speed.train:.0f} pictures/s training, {speed.score:.0f} scoring ({speed.precision})"
    )


def _told_of_another(speed: Speed, limit_s: float) -> str:
    told = f"another trainer than before: {_told(speed)}"
    if limit_s:
        told += (
            "; what is at hand keeps its length and may break the time limit, what follows is planned again"
        )
    return told


def measure_speed(job: Job, model: Supernet, archs: Archs) -> Speed:
    """Train and score a few batches with a copy of the model, in fp32 and, where unsettled, in bf16."""
    section = job.config.supernet
    choices = PRECISIONS if section.precision == "auto" else (section.precision,)
    rates = {precision: _training_rate(job, model, archs, precision) for precision in choices}
    precision = "fp32" if "fp32" in rates else choices[0]
    if rates.get("bf16", 0.0) > WORTHWHILE * rates[precision]:
        precision = "bf16"
    with placed(model, job.place):
        images = moved(tensor_of(job.pictures.train.images[:128]), job.place)
        started, seen = time.perf_counter(), 0
        for path in archs[:6].tolist():
            logits_of(model, path, [images], precision)
            seen += len(images)
        seconds = time.perf_counter() - started
    # Every worker scores a candidate of its own.
    workers = workers_at(job.place, job.threads)
    return Speed(rates[precision], workers * seen / seconds, precision, job.place)


def _training_rate(job: Job, model: Supernet, archs: Archs, precision: str) -> float:
    section = job.config.supernet
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    n = min(len(job.pictures.train.labels), 8 * section.batch_size)
    recipe = Recipe(
        1, section.batch_size, 1e-4, 0.0, 0.0, 0.0, precision, workers=job.threads, place=job.place
    )
    pictures = job.pictures.train
    epochs: list[Epoch] = []
    # The first pass also pays for choosing kernels; the second one is the figure.
    for _ in range(2):
        train(
            model,
            pictures.images[:n],
            pictures.labels[:n],
            recipe,
            lambda steps, rng: archs[np.arange(steps) % len(archs)],
            on_epoch=epochs.append,
        )
    model.load_state_dict(state)
    return epochs[-1].pictures / epochs[-1].seconds


def typical_archs(job: Job, seed: int = 0) -> Archs:
    """Some architectures of the hardware-aware space within the budget; the one that there is without a search."""
    if not job.searches:
        return np.zeros((1, len(job.small_space.layers)), np.int64)
    return sample(job.small_space, 16, seed=seed, cost=job.latency_model, max_ms=job.budget_ms)


def seeded(job: Job, salt: int) -> None:
    """Make torch's initial weights follow from the run's seed."""
    torch.set_num_threads(1)  # workers share out the work, see train.loop
    torch.manual_seed(job.config.run.seed * 1000 + salt)
