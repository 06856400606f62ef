"""Uniform draws from exactly the architectures that a budget allows, by counting instead of rejection.

Costs above each layer's cheapest are rounded down to a grid; dynamic programming counts the architectures of each
rounded total; a total is drawn in proportion to its count, then the choices, last layer first, in proportion to the
ways of completing them. Rounding down only ever lets too many in, and a draw whose exact cost is outside is thrown
away: what remains is exactly uniform (up to the rounding of float64 counts, 1e-16). Where few are counted they are
listed instead, so small sets need no luck.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from hurricane.errors import InfeasibleBudget
from hurricane.latency import AdditiveCosts, CostModel, Floats
from hurricane.space import Archs, SearchSpace

BINS = 8192
LISTED = 200_000
ADVICE = "raise the budget, or use a narrower or shallower space"


class Sampler:
    """Draws architectures of a space with min_ms <= cost <= max_ms; prepared once, used often.

    Raises InfeasibleBudget where there are none.
    """

    def __init__(self, space: SearchSpace, costs: AdditiveCosts, max_ms: float, min_ms: float = 0.0) -> None:
        self._costs, self._max_ms, self._min_ms = costs, max_ms, min_ms
        self._space = space
        # The cheapest architecture summed as any other is, so that a budget of exactly its cost is met.
        cheapest = np.array([[int(layer.argmin()) for layer in costs.layers]])
        self._cheapest_ms = float(costs.total(cheapest)[0])
        if not max_ms >= self._cheapest_ms:
            raise InfeasibleBudget(max_ms, self._cheapest_ms, ADVICE)
        self._excess = [layer - layer.min() for layer in costs.layers]
        # Beyond the dearest architecture a budget allows no more; a little slack covers the rounding of sums.
        span = float(sum(excess.max() for excess in self._excess))
        slack = min(max_ms - self._cheapest_ms, span)
        self._slack = slack * (1 + 1e-9) + 1e-9 * max(
            abs(self._cheapest_ms), abs(max_ms) if span else 0.0, 1e-12
        )
        self._grid = [self._rounded(excess) for excess in self._excess]
        self._counts = self._counted()
        self._low = max(0, self._floor(min_ms - self._cheapest_ms) - len(self._grid) - 1)
        self.counted = float(self._weights().sum())
        """Architectures counted on the grid, an upper bound of those that fit, as a share of the space."""
        self._list = self._listed() if self.counted * self._size() <= LISTED else None
        if self._list is not None and len(self._list) == 0:
            raise InfeasibleBudget(max_ms, self._cheapest_ms, self._empty_advice())

    def _size(self) -> float:
        return float(np.prod([float(len(grid)) for grid in self._grid]))

    def _empty_advice(self) -> str:
        return f"but none costs between {self._min_ms:.6g} and {self._max_ms:.6g} ms; widen that window"

    def _floor(self, excess: float) -> int:
        return int(np.floor(max(0.0, excess) / self._slack * BINS))

    def _rounded(self, excess: Floats) -> npt.NDArray[np.int64]:
        # What is out of reach alone goes beyond the last bin, and is never counted.
        return np.minimum(np.floor(excess / self._slack * BINS), BINS + 1).astype(np.int64)

    def _counted(self) -> list[Floats]:
        """For each number of layers, the share of prefixes with each rounded total: (bins + 1,) each."""
        totals = np.zeros(BINS + 1)
        totals[0] = 1.0
        counts = [totals]
        for grid in self._grid:
            following = np.zeros(BINS + 1)
            values, times = np.unique(grid[grid <= BINS], return_counts=True)
            for value, count in zip(values, times, strict=True):
                following[value:] += totals[: BINS + 1 - value] * (count / len(grid))
            totals = following
            counts.append(totals)
        return counts

    def _weights(self) -> Floats:
        weights = self._counts[-1].copy()
        weights[: self._low] = 0.0
        return weights

    def within(self, archs: Archs) -> npt.NDArray[np.bool_]:
        """Which architectures fit exactly: (n, layers) -> (n,)."""
        cost = self._costs.total(archs)
        fits: npt.NDArray[np.bool_] = (cost <= self._max_ms) & (cost >= self._min_ms)
        return fits

    def draw(self, n: int, rng: np.random.Generator) -> Archs:
        """`n` architectures (n, layers), independent, with replacement, uniform over all that fit."""
        if self._list is not None:
            return self._list[rng.integers(0, len(self._list), n)]
        found: list[Archs] = []
        have, drawn = 0, 0
        limit = 2_000_000 + 2_000 * n
        while have < n:
            batch = int(min(max(64, 1.3 * (n - have)), 200_000)) if have or not drawn else 50_000
            archs = self._on_grid(batch, rng)
            archs = archs[self.within(archs)]
            found.append(archs)
            have, drawn = have + len(archs), drawn + batch
            if drawn > limit and have < n:
                raise InfeasibleBudget(self._max_ms, self._cheapest_ms, self._empty_advice())
        return np.concatenate(found)[:n]

    def share(self, rng: np.random.Generator, draws: int = 4000) -> float:
        """Share of the space that fits: exact where it was listed, else counted times the acceptance of draws."""
        if self._list is not None:
            return len(self._list) / self._size()
        return self.counted * float(self.within(self._on_grid(draws, rng)).mean())

    @property
    def listed(self) -> Archs | None:
        """All architectures that fit, where they are few; else None."""
        return self._list

    def _on_grid(self, n: int, rng: np.random.Generator) -> Archs:
        """Draws that fit on the grid: totals first, then choices from the last layer to the first."""
        weights = np.cumsum(self._weights())
        left = np.searchsorted(weights, rng.random(n) * weights[-1], side="right")
        left = np.minimum(left, BINS)
        archs = np.empty((n, len(self._grid)), dtype=np.int64)
        for layer in range(len(self._grid) - 1, -1, -1):
            grid, before = self._grid[layer], self._counts[layer]
            states, state_of = np.unique(left, return_inverse=True)
            rest = states[:, None] - grid[None, :]
            ways = np.where(rest >= 0, before[np.maximum(rest, 0)], 0.0)
            cumulative = np.cumsum(ways, axis=1)
            at = rng.random(n) * cumulative[state_of, -1]
            chosen = (cumulative[state_of] <= at[:, None]).sum(axis=1)
            # Rounding may point one past the last possible choice.
            last = ways.shape[1] - 1 - (ways[:, ::-1] > 0).argmax(axis=1)
            archs[:, layer] = np.minimum(chosen, last[state_of])
            left = left - grid[archs[:, layer]]
        return archs

    def _listed(self) -> Archs:
        """Every architecture counted on the grid that fits exactly, last layer first."""
        totals = np.flatnonzero(self._weights() > 0)
        suffixes = np.empty((len(totals), 0), dtype=np.int64)
        left = totals
        for layer in range(len(self._grid) - 1, -1, -1):
            rest = left[:, None] - self._grid[layer][None, :]
            possible = (rest >= 0) & (self._counts[layer][np.maximum(rest, 0)] > 0)
            rows, chosen = np.nonzero(possible)
            suffixes = np.concatenate([chosen[:, None], suffixes[rows]], axis=1)
            left = rest[rows, chosen]
        return suffixes[self.within(suffixes)]


def sample(
    space: SearchSpace,
    n: int,
    seed: int = 0,
    cost: CostModel | None = None,
    max_ms: float | None = None,
    min_ms: float = 0.0,
) -> Archs:
    """`n` architectures (n, layers), independent, with replacement, uniform over exactly what fits.

    cost : prices the space; max_ms, min_ms : bounds of the cost, milliseconds, both included. Without a cost or
    a maximum the draw is uniform over the whole space. Raises InfeasibleBudget where nothing fits.
    """
    rng = np.random.default_rng(seed)
    if cost is None or (max_ms is None and min_ms <= 0):
        return space.random(n, rng)
    costs = cost.costs(space)
    highest = costs.dearest_ms * (1 + 1e-9) if max_ms is None else max_ms
    return Sampler(space, costs, highest, min_ms).draw(n, rng)


def share_within(space: SearchSpace, cost: CostModel, max_ms: float) -> float:
    """Share of the space that costs at most max_ms (0 to 1); right for tiny shares, too."""
    costs: Any = cost.costs(space)
    try:
        return Sampler(space, costs, max_ms).share(np.random.default_rng(0))
    except InfeasibleBudget:
        return 0.0
