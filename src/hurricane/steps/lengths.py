"""Lengths of trainings and searches, and how they are cut or stretched until they fit a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

# More than that many times the usual lengths gain little.
STRETCH = 2.0
MINIMUM = {"stage1": 8, "stage2": 6, "retrain": 12, "evaluations": 40, "random_evaluations": 20}


@dataclass(frozen=True, slots=True)
class Lengths:
    """Epochs of the two supernet stages and of retraining, and architectures scored by search and at random."""

    stage1: int
    stage2: int
    retrain: int
    evaluations: int
    random_evaluations: int


def fitted(lengths: Lengths, limit_s: float, seconds: Callable[[Lengths], float]) -> Lengths:
    """Lengths cut until they fit, what hurts least first; the least sensible ones where nothing fits.

    Order: random evaluations (they only serve the report), evaluations down to half, all trainings down to half,
    evaluations again, trainings again.
    """
    for cut in _cuts(lengths):
        if seconds(cut) <= limit_s:
            return cut
    return cut


def stretched(lengths: Lengths, limit_s: float, seconds: Callable[[Lengths], float]) -> Lengths:
    """Trainings longer than asked for, up to `STRETCH` times, where the limit leaves room; else as `fitted`."""
    for share in np.linspace(STRETCH, 1.0, 51):
        longer = replace(
            lengths,
            stage1=int(lengths.stage1 * share),
            stage2=int(lengths.stage2 * share),
            retrain=int(lengths.retrain * share),
        )
        if seconds(longer) <= limit_s:
            return longer
    return fitted(lengths, limit_s, seconds)


def _cuts(lengths: Lengths) -> Iterator[Lengths]:
    """Ever shorter lengths, in the order that hurts least."""

    def at(name: str, share: float) -> int:
        whole: int = getattr(lengths, name)
        return max(min(whole, MINIMUM[name]), int(whole * share))

    def trained(cut: Lengths, share: float) -> Lengths:
        return replace(
            cut, stage1=at("stage1", share), stage2=at("stage2", share), retrain=at("retrain", share)
        )

    yield lengths
    cut = replace(lengths, random_evaluations=at("random_evaluations", 0.0))
    for high, low in ((1.0, 0.5), (0.5, 0.0)):
        for share in np.linspace(high, low, 11):
            cut = replace(cut, evaluations=at("evaluations", share))
            yield cut
        for share in np.linspace(high, low, 51):
            cut = trained(cut, share)
            yield cut
