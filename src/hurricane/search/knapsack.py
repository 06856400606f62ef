"""The most that fits: one choice a layer with the largest sum of values within a budget."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hurricane.errors import InfeasibleBudget
from hurricane.latency import AdditiveCosts

STEPS = 1000
SMALLEST_MS = 1e-200


def most_within(values: Sequence[npt.NDArray[Any]], costs: AdditiveCosts, max_ms: float) -> list[int]:
    """One choice a layer with the largest sum of values at a cost of at most `max_ms` milliseconds.

    values : for each layer what its choices are worth, aligned with `costs.layers`; a cost of NaN is never chosen.

    Dynamic programming over what the choices cost above the cheapest of their layer, rounded up to a thousandth of what
    the budget leaves for that: the budget is kept, and what is found may be less than the best by that rounding.
    Raises InfeasibleBudget where nothing fits.
    """
    layers = [np.where(np.isnan(layer), np.inf, layer) for layer in costs.layers]
    cheapest_ms = costs.fixed_ms + float(sum(layer.min() for layer in layers))
    room_ms = max_ms - cheapest_ms
    if not room_ms >= 0:
        raise InfeasibleBudget(max_ms, cheapest_ms, "raise the budget, or use a narrower or shallower space")
    # A cost that ends on a step must not be rounded up by the last digit of a float.
    scale = (STEPS - 1e-9) / max(room_ms, SMALLEST_MS)
    best, picked, taken = np.zeros(STEPS + 1), [], []
    for value, layer in zip(values, layers, strict=True):
        above = layer - layer.min()
        steps = np.ceil(above * scale)
        table = np.full((len(value), STEPS + 1), -np.inf)
        for row, gain, step in zip(table, value, steps, strict=True):
            if step <= STEPS:
                row[int(step) :] = best[: STEPS + 1 - int(step)] + gain
        picked.append(table.argmax(axis=0))
        taken.append(steps)
        best = table.max(axis=0)
    left, arch = int(best.argmax()), []
    for pick, steps in zip(reversed(picked), reversed(taken), strict=True):
        arch.append(int(pick[left]))
        left -= int(steps[arch[-1]])
    return arch[::-1]
