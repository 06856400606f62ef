"""Whole networks measured to correct a table: chosen to tell much, predicted before they are measured.

Used by the step `specialize` and by `benchmarks/latency.py`, so that what is judged there is what a run does.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from hurricane.devices import WITNESS_TURNS, Device, Session, Watched, beside, load_architectures
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
# a single turn is 2 to 3 % off the pace of its round.
TURNS = 5
# Slow networks have fewer turns, so that a batch takes about so long; their turns have so many runs.
LONGEST_SECONDS = 30.0
RUNS_OF_A_TURN = 6
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

    def told_at(self, factor: float, measured_ms: float) -> "HeldOut":
        """The same with the prediction moved to another pace of the machine, and what was measured at that one."""
        names = ("predicted_ms", "low_ms", "high_ms")
        moved = {name: factor * getattr(self, name) for name in names}
        return replace(self, measured_ms=measured_ms, **moved)

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


class Batches:
    """Whole networks of a space, measured batch by batch beside a witness (`devices.Watched`), told at its usual pace.

    witness : the architecture beside which all are measured; where none is given, the first one of all.
    """

    def __init__(
        self,
        device: Device,
        space: SearchSpace,
        plan: Plan,
        witness: Sequence[int] | None = None,
    ) -> None:
        self.device, self.space, self.plan = device, space, plan
        self.witness = None if witness is None else list(witness)
        self.watched = Watched(self._measured)
        self._batches: list[Archs] = []

    @property
    def archs(self) -> Archs:
        """All networks so far: (n, layers)."""
        none = np.empty((0, len(self.space.layers)), dtype=np.int64)
        return np.concatenate([none, *self._batches])

    def medians(self, batch: Archs) -> Floats:
        """Milliseconds of a batch and of all before it, measured again where that turned out to be due: (n,)."""
        self._batches.append(batch)
        self.watched.add()
        self.watched.settle()
        every = range(len(self.watched))
        return np.array([one.median_ms for number in every for one in self.watched.samples(number)])

    @property
    def usual_ms(self) -> float | None:
        """Median of the witness at the pace at which networks are told; None before any is measured."""
        return self.watched.usual_ms if len(self.watched) else None

    @property
    def paces(self) -> Floats:
        """How much slower than usual the machine was beside each network, factors: (n,)."""
        each = [np.full(len(batch), self.watched.pace(n)) for n, batch in enumerate(self._batches)]
        return np.concatenate([np.empty(0), *each])

    @cached_property
    def _witness(self) -> Session:
        assert self.witness is not None
        return load_architectures(self.device, self.space, np.array([self.witness]))[0]

    def _measured(self, number: int) -> tuple[list[Samples], Samples]:
        batch = self._batches[number]
        if self.witness is None:
            self.witness = batch[0].tolist()
        sessions = load_architectures(self.device, self.space, batch)
        each = float(np.median(self._witness.time(3))) / 1e3
        most = int(LONGEST_SECONDS / (RUNS_OF_A_TURN * (len(sessions) + WITNESS_TURNS) * each))
        rounds = max(self.plan.rounds, min(TURNS * self.plan.rounds, most))
        return beside(self._witness, sessions, rounds=rounds, seconds=self.plan.seconds)


def fitted(batches: Batches, table: CostModel, archs: Archs) -> LatencyModel:
    """The table corrected by given networks, measured now: a first model to choose others by."""
    medians = batches.medians(archs)
    return fit_latency(batches.space, batches.archs, medians, prior=table)


def corrected(
    batches: Batches,
    table: CostModel,
    first: LatencyModel,
    candidates: Candidates,
    on_measured: Callable[[int], None] = lambda done: None,
) -> tuple[LatencyModel, tuple[HeldOut, ...]]:
    """The table corrected by networks of the space, batch by batch, and every prediction made before measuring.

    Parameters
    ----------
    batches : measures; what it has measured already is used, too.
    first : a model that prices the space and chooses the first batch, of this space or a wider one (networks of
        another space are not fitted on: they did not carry over, 9 % off on a narrower one).
    candidates : architectures like those that will have to be predicted, given the model so far.
    on_measured : told how many networks are measured by now.
    """
    space, plan, model = batches.space, batches.plan, first
    held_out: list[HeldOut] = []
    usual_ms = batches.usual_ms
    while len(batches.archs) < plan.networks and not _good_enough(held_out, plan.error):
        fresh = _new(candidates(model), batches.archs)
        if len(fresh) == 0:
            break
        batch = informative(model, space, fresh, min(BATCH, plan.networks - len(batches.archs)))
        predicted, summed = model.predict(space, batch), table.predict(space, batch)
        bounds, known = model.interval(space, batch), len(model.archs)
        medians = batches.medians(batch)
        rows = zip(batch, summed, predicted, bounds, strict=True)
        held_out += [
            HeldOut(space.names(arch), float(t), float(p), float(low), float(high), np.nan, known)
            for arch, t, p, (low, high) in rows
        ]
        # Predictions were made at the pace that was the usual one then.
        moved = 1.0 if usual_ms is None else batches.watched.usual_ms / usual_ms
        usual_ms = batches.usual_ms
        last = medians[-len(held_out) :]
        held_out = [one.told_at(moved, float(ms)) for one, ms in zip(held_out, last, strict=True)]
        model = fit_latency(space, batches.archs, medians, prior=table)
        on_measured(len(batches.archs))
    return model, tuple(held_out)


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
