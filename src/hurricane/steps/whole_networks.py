"""Whole networks measured to correct a table: chosen to tell much, predicted before they are measured.

Used by the step `specialize` and by `benchmarks/latency.py`, so that what is judged there is what a run does.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from hurricane.devices import Device, Watched, measure_architectures
from hurricane.errors import InfeasibleBudget
from hurricane.latency import CostModel, Floats, Samples
from hurricane.latency_model import LatencyModel, fit_latency, informative
from hurricane.search import sample
from hurricane.space import Archs, SearchSpace

# Measured at once; each batch is predicted by all before it.
BATCH = 4
# Stopped by error at the earliest after so many, judged by the last so many.
FEWEST = 8
CANDIDATES = 400
# Turns that a whole network has, for each of an operator's: making and loading it takes longer than running it, and
# noise of some runtimes (OpenVINO int8: 4 % from second to second) is averaged out over turns.
TURNS = 3
# Whole networks are measured in this part of the budget: the correction must hold where it is used.
NEAR_BUDGET = (0.75, 1.15)

Candidates = Callable[[LatencyModel], Archs]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A network predicted, then measured, milliseconds. known : networks that the prediction was fitted on.

    architecture : choice names. low_ms, high_ms : between which 9 of 10 were expected.
    """

    architecture: tuple[str, ...]
    table_ms: float
    predicted_ms: float
    low_ms: float
    high_ms: float
    measured_ms: float
    known: int

    @property
    def error(self) -> float:
        """How far the prediction was off, a fraction of what was measured."""
        return abs(self.predicted_ms / self.measured_ms - 1.0)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "architecture": list(self.architecture)}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: at most so many networks, fewer once the held-out error is low enough.

    error : mean held-out error, a fraction, at which no more are measured. rounds, seconds : see `measure`.
    """

    networks: int
    error: float
    rounds: int
    seconds: float


def fitted(device: Device, space: SearchSpace, table: CostModel, archs: Archs, plan: Plan) -> LatencyModel:
    """The table corrected by given networks, measured now: a first model to choose others by."""
    samples = measure_architectures(device, space, archs, rounds=plan.rounds, seconds=plan.seconds)
    return fit_latency(space, archs, [one.median_ms for one in samples], prior=table)


def corrected(
    device: Device,
    space: SearchSpace,
    table: CostModel,
    first: LatencyModel,
    candidates: Candidates,
    plan: Plan,
    on_measured: Callable[[int], None] = lambda done: None,
) -> tuple[LatencyModel, tuple[HeldOut, ...]]:
    """The table corrected by networks of the space, batch by batch, and every prediction made before measuring.

    Parameters
    ----------
    first : a model that prices the space and chooses the first batch; its networks are used where it is of this very
        space, for those of another did not carry over (9 % off on a narrower one).
    candidates : architectures like those that will have to be predicted, given the model so far.
    on_measured : told how many networks are measured by now.
    """
    model, batches = first, Batches(device, space, plan)
    held_out: list[HeldOut] = []
    archs, before = np.empty((0, len(space.layers)), dtype=np.int64), np.empty(0)
    if first.space == space:
        archs, before = np.array(first.archs), np.array(first.measured_ms)
    while len(archs) < plan.networks and not _good_enough(held_out, plan.error):
        fresh = _new(candidates(model), archs)
        if len(fresh) == 0:
            break
        batch = informative(model, space, fresh, min(BATCH, plan.networks - len(archs)))
        predicted, summed = model.predict(space, batch), table.predict(space, batch)
        bounds, known = model.interval(space, batch), len(model.archs)
        medians = batches.medians(batch)
        rows = zip(batch, summed, predicted, bounds, strict=True)
        held_out += [
            HeldOut(space.names(arch), float(t), float(p), float(low), float(high), np.nan, known)
            for arch, t, p, (low, high) in rows
        ]
        held_out = [replace(one, measured_ms=float(ms)) for one, ms in zip(held_out, medians, strict=True)]
        archs = np.concatenate([archs, batch])
        model = fit_latency(space, archs, np.concatenate([before, medians]), prior=table)
        on_measured(len(archs))
    return model, tuple(held_out)


class Batches:
    """Whole networks measured batch by batch, beside a witness, the first network of all (`devices.Watched`)."""

    def __init__(self, device: Device, space: SearchSpace, plan: Plan) -> None:
        self._device, self._space, self._plan = device, space, plan
        self._batches: list[Archs] = []
        self._watched = Watched(self._measured)

    def medians(self, batch: Archs) -> Floats:
        """Milliseconds of a batch and of all before it, measured again where that turned out to be due: (n,)."""
        self._batches.append(batch)
        self._watched.add()
        self._watched.settle()
        every = range(len(self._watched))
        return np.array([one.median_ms for number in every for one in self._watched.samples(number)])

    def _measured(self, number: int) -> tuple[list[Samples], Samples]:
        *samples, witness = measure_architectures(
            self._device,
            self._space,
            np.concatenate([self._batches[number], self._batches[0][:1]]),
            rounds=TURNS * self._plan.rounds,
            seconds=self._plan.seconds,
        )
        return samples, witness


def near(space: SearchSpace, budget_ms: float, seed: int) -> Candidates:
    """Candidates near a budget, or of the whole space where none lie there."""
    low, high = NEAR_BUDGET

    def drawn(model: LatencyModel) -> Archs:
        bounds = {"max_ms": high * budget_ms, "min_ms": low * budget_ms}
        try:
            return sample(space, CANDIDATES, seed=seed, cost=model, **bounds)
        except InfeasibleBudget:
            return space.random(CANDIDATES, np.random.default_rng(seed))

    return drawn


def _new(candidates: Archs, archs: Archs) -> Archs:
    """Candidates that are not measured yet, each once, in a fixed order."""
    gone = {tuple(arch) for arch in archs.tolist()}
    left = [arch for arch in np.unique(candidates, axis=0).tolist() if tuple(arch) not in gone]
    return np.array(left, dtype=np.int64).reshape(len(left), archs.shape[1])


def _good_enough(held_out: list[HeldOut], error: float) -> bool:
    """Whether the last predictions were right enough; the first batch was predicted by another space's networks."""
    last = [one.error for one in held_out[-FEWEST:]]
    return len(held_out) >= FEWEST + BATCH and float(np.mean(last)) <= error
