"""Batches measured beside a witness: where that one is slower than at its best, the machine is, not what is measured.

Other work on a shared machine slows everything by a tenth to a half for seconds, longer than all rounds of one batch
last, so rounds that agree with each other prove nothing. Used for operators (`profiling`) and for whole networks
(`steps.whole_networks`).
"""

import time
from collections.abc import Callable, Sequence

import numpy as np

from hurricane.latency import Samples

# A batch beside which the witness was so much slower than at its best is measured again.
SLOW = 1.05
PAUSE_SECONDS = 1.0

Measure = Callable[[int], tuple[Sequence[Samples], Samples]]
"""Batch number -> samples of the batch, and those of the witness, measured beside it."""


class Watched:
    """Measures batches by number, again where that turns out to be due; of each thing the fastest median counts.

    measure : measures one batch and the witness, the same one every time.
    most : times that a batch is measured at most.
    """

    def __init__(self, measure: Measure, most: int = 5) -> None:
        self._measure, self._most = measure, most
        self._samples: list[list[Samples]] = []
        self._witness_ms: list[float] = []
        self._times: list[int] = []

    def __len__(self) -> int:
        return len(self._samples)

    def samples(self, number: int) -> list[Samples]:
        """The samples of a batch that count by now."""
        return self._samples[number]

    def add(self) -> list[Samples]:
        """Measure the next batch."""
        samples, witness = self._measure(len(self._samples))
        self._samples.append(list(samples))
        self._witness_ms.append(witness.median_ms)
        self._times.append(1)
        return self._samples[-1]

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
        usual = min(self._witness_ms, default=np.inf)
        return [
            number
            for number, witness in enumerate(self._witness_ms)
            if witness > SLOW * usual and self._times[number] < self._most
        ]

    def again(self, number: int) -> None:
        """Measure a batch once more."""
        samples, witness = self._measure(number)
        pairs = zip(self._samples[number], samples, strict=True)
        self._samples[number] = [min(pair, key=lambda one: one.median_ms) for pair in pairs]
        self._witness_ms[number] = min(self._witness_ms[number], witness.median_ms)
        self._times[number] += 1
