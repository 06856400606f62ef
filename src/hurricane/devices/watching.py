"""Batches measured beside a witness: where that one is slower or faster than usual, the machine is.

The pace of a shared machine changes by some percent from minute to minute, and other work slows everything by a tenth
to a half for longer than all rounds of one batch last, so rounds that agree with each other prove nothing. What is
measured beside a witness is told at the witness's usual pace. Used for operators (`profiling`) and for whole networks
(`steps.whole_networks`).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from hurricane.devices.measuring import measure
from hurricane.devices.protocol import Session
from hurricane.latency import Samples

# A batch beside which the witness was so much slower than at its best is measured again: what slows a machine down
# that much does not slow everything alike.
SLOW = 1.15
PAUSE_SECONDS = 1.0
# What the witness is off, the whole batch is.
WITNESS_TURNS = 3

Measure = Callable[[int], tuple[Sequence[Samples], Samples]]
"""Batch number -> samples of the batch, and those of the witness, measured beside it.

A median of NaN stands for a batch without a witness, one of infinity for a second time that does not count.
"""


def beside(
    witness: Session, sessions: Sequence[Session], *, rounds: int, seconds: float
) -> tuple[list[Samples], Samples]:
    """Samples of sessions and of a witness measured among them; it has several turns in every round.

    rounds, seconds : see `measure`.
    """
    last = len(sessions)
    places = {round(last * turn / WITNESS_TURNS) + turn for turn in range(WITNESS_TURNS)}
    waiting = iter(sessions)
    mixed = [witness if place in places else next(waiting) for place in range(last + WITNESS_TURNS)]
    samples = measure(mixed, rounds=rounds, seconds=seconds)
    values = [value for place in sorted(places) for value in samples[place].values_ms]
    return [one for place, one in enumerate(samples) if place not in places], Samples(tuple(values))


class Watched:
    """Measures batches by number, again where that turns out to be due, and tells all at one pace of the machine.

    measure : measures one batch and the witness, the same one every time.
    most : times that a batch is measured at most; the time at which the witness was fastest counts.
    """

    def __init__(self, measure: Measure, most: int = 3) -> None:
        self._measure, self._most = measure, most
        self._samples: list[list[Samples]] = []
        self._times: list[int] = []
        self.witness_ms: list[float] = []

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def usual_ms(self) -> float:
        """Median of the witness at the pace at which everything is told: the middle one of all batches so far."""
        return float(np.nanmedian(self.witness_ms))

    def pace(self, number: int) -> float:
        """How much slower than usual the machine was beside a batch, a factor; 1 where no witness was there."""
        beside_it = self.witness_ms[number]
        return 1.0 if np.isnan(beside_it) else beside_it / self.usual_ms

    def samples(self, number: int) -> list[Samples]:
        """The samples of a batch, as far as is known by now, at the usual pace."""
        pace = self.pace(number)
        return [
            replace(one, values_ms=tuple(value / pace for value in one.values_ms))
            for one in self._samples[number]
        ]

    def add(self) -> None:
        """Measure the next batch."""
        samples, witness = self._measure(len(self._samples))
        self._samples.append(list(samples))
        self.witness_ms.append(witness.median_ms)
        self._times.append(1)

    def settle(self) -> None:
        """Measure again what was measured in a slow spell, until the machine is quiet or `most` is reached."""
        pause = False
        while due := self.due():
            if pause and len(self._samples) - 1 in due:
                time.sleep(PAUSE_SECONDS)
            for number in due:
                self.again(number)
            pause = True

    def due(self) -> list[int]:
        """Numbers of the batches that were measured in a slow spell and may be measured again."""
        best = min((ms for ms in self.witness_ms if not np.isnan(ms)), default=np.inf)
        return [
            number
            for number, witness in enumerate(self.witness_ms)
            if witness > SLOW * best and self._times[number] < self._most
        ]

    def again(self, number: int) -> None:
        """Measure a batch once more."""
        samples, witness = self._measure(number)
        self._times[number] += 1
        if witness.median_ms < self.witness_ms[number]:
            self._samples[number], self.witness_ms[number] = list(samples), witness.median_ms
