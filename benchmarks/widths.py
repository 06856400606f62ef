"""How wide may a network be? The largest width at which its measured latency keeps a budget."""

import math
from collections.abc import Callable

from hurricane.errors import InfeasibleBudget
from hurricane.space import SearchSpace

# A slow spell of the device must not pass for a network that is too slow.
TRIES = 3


def widest(
    at: Callable[[float], SearchSpace],
    cost: Callable[[SearchSpace], float],
    budget_ms: float,
    widths: tuple[float, float],
    step: float,
) -> tuple[float, SearchSpace, float]:
    """Width, network and measured milliseconds of the widest one, found by halving.

    at : the network at a width, as a space of one architecture.
    cost : its milliseconds by one measurement.
    widths : the narrowest and the widest that are tried, multiples of the step.
    Raises InfeasibleBudget where even the narrowest that was tried is too slow.
    """
    best, least = None, math.inf
    low, high = (round(width / step) for width in widths)
    while low <= high:
        middle = (low + high) // 2
        width = round(step * middle, 3)
        space = at(width)
        fastest = min(cost(space) for _ in range(TRIES))
        least = min(least, fastest)
        if fastest <= budget_ms:
            best, low = (width, space, fastest), middle + 1
        else:
            high = middle - 1
    if best is None:
        raise InfeasibleBudget(budget_ms, least, "that is its narrowest form")
    return best
