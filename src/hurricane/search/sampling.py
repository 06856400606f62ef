"""Uniform draws from exactly the architectures that a budget allows, by counting instead of rejection.

Costs above each layer's cheapest are rounded down to a grid; dynamic programming counts the architectures of each
rounded total (`search.counting`); draws follow the counts. Rounding down only ever lets too many in, and a draw whose
exact cost is outside is thrown away: what remains is exactly uniform (up to the rounding of float64 counts, 1e-16).
Where few are counted they are listed instead, so small sets need no luck.
"""

import math
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hurricane.errors import HurricaneError, InfeasibleBudget
from hurricane.latency import AdditiveCosts, CostModel, Floats
from hurricane.search.counting import Grid, coarse_grid, exact_grid, finer
from hurricane.space import Archs, SearchSpace

CELLS = 8192
LISTED = 200_000
ADVICE = "raise the budget, or use a narrower or shallower space"
# Of draws on the grid this share must fit, or a finer grid is counted.
ENOUGH_FIT = 0.3
PROBES = 4_000
# Draws after which a window that nothing was found in counts as empty: 2 seconds.
MOST_PROBES = 500_000


class Sampler:
    """Draws architectures of a space with min_ms <= cost <= max_ms; prepared once, used often.

    A bound of infinity (or minus infinity) is none. Raises InfeasibleBudget where nothing fits: known exactly without
    a lower bound and for up to 200,000 candidates, else after 500,000 draws in vain on the finest grid.
    """

    def __init__(self, space: SearchSpace, costs: AdditiveCosts, max_ms: float, min_ms: float = 0.0) -> None:
        if math.isnan(max_ms) or math.isnan(min_ms):
            raise HurricaneError(f"a budget from {min_ms} to {max_ms} ms is no number; give milliseconds")
        self._space, self._costs, self._max_ms, self._min_ms = space, costs, max_ms, min_ms
        # Cheapest and dearest summed as any other is: sums of floats rise with their terms, so these are exact.
        self._cheapest_ms = self._extreme([int(layer.argmin()) for layer in costs.layers])
        dearest_ms = self._extreme([int(layer.argmax()) for layer in costs.layers])
        if max_ms < self._cheapest_ms:
            raise InfeasibleBudget(max_ms, self._cheapest_ms, ADVICE)
        if min_ms > min(max_ms, dearest_ms):
            raise self._empty("costs")
        self._grid = self._counted(min(max_ms, dearest_ms))
        self._listed = self.everything(LISTED)
        if self._listed is not None and len(self._listed) == 0:
            raise self._empty("costs")
        self._fitting = 1.0 if self._listed is not None else self._probed()

    @property
    def listed(self) -> Archs | None:
        """All architectures that fit, where they are few; else None."""
        return self._listed

    @property
    def share(self) -> float:
        """Share of the space that fits, 0 to 1: exact where listed, else counted times the share of draws that fit."""
        return math.exp(self._log_share)

    @property
    def count(self) -> float:
        """Number of architectures that fit, as exact as `share`; inf above 1e308."""
        if self._listed is not None:
            return float(len(self._listed))
        log_count = self._log_share + self._log_size
        return math.exp(log_count) if log_count < 709 else math.inf

    def within(self, archs: Archs) -> npt.NDArray[np.bool_]:
        """Which architectures fit exactly: (n, layers) -> (n,)."""
        return self.between(self._costs.total(archs))

    def between(self, cost_ms: Floats) -> npt.NDArray[np.bool_]:
        """Which costs, of any shape, lie between the bounds."""
        fits: npt.NDArray[np.bool_] = (cost_ms <= self._max_ms) & (cost_ms >= self._min_ms)
        return fits

    def draw(self, n: int, rng: np.random.Generator) -> Archs:
        """`n` architectures (n, layers), independent, with replacement, uniform over all that fit."""
        if self._listed is not None:
            return self._listed[rng.integers(0, len(self._listed), n)]
        found: list[Archs] = [np.empty((0, len(self._grid.steps)), dtype=np.int64)]
        have, drawn, limit = 0, 0, 5_000_000 + 200 * n
        while have < n:
            if drawn > limit:
                raise self._empty(f"was drawn often enough ({have} of {n} in {drawn} draws): too few cost")
            batch = int(min(1.05 * (n - have) / self._fitting + 64, 200_000))
            archs = self._grid.draw(batch, rng)
            archs = archs[self.within(archs)]
            found.append(archs)
            have, drawn = have + len(archs), drawn + batch
        return np.concatenate(found)[:n]

    def everything(self, limit: int) -> Archs | None:
        """All architectures that fit, in a fixed order, where at most `limit` candidates are counted; else None."""
        if self._grid.log_share + self._log_size > math.log(limit) + 1e-6:
            return None
        listed = self._grid.listed()
        return listed[self.within(listed)]

    def _extreme(self, arch: list[int]) -> float:
        return float(self._costs.total(np.array([arch]))[0])

    def _empty(self, why: str) -> InfeasibleBudget:
        bounds = f"between {self._min_ms:.6g} and {self._max_ms:.6g} ms"
        return InfeasibleBudget(
            self._max_ms, self._cheapest_ms, f"but none {why} {bounds}; widen that window"
        )

    def _counted(self, highest_ms: float) -> Grid:
        """The grid to draw from: exact where costs repeat, else of 8192 cells and finer where draws fail."""
        excess = [layer - layer.min() for layer in self._costs.layers]
        # Excesses are sums rounded otherwise than whole costs: a little more slack, so that none is lost.
        scale = max(abs(highest_ms), abs(self._cheapest_ms), 1e-200)
        slack = (highest_ms - self._cheapest_ms) * (1 + 1e-9) + 1e-11 * scale
        floor = self._min_ms - self._cheapest_ms - 1e-11 * scale
        grid = exact_grid(excess, slack, floor)
        if grid is not None:
            return grid
        grid = coarse_grid(excess, slack, floor, CELLS)
        while (cells := finer(grid)) and self._fits_too_rarely(grid):
            grid = coarse_grid(excess, slack, floor, cells)
        return grid

    def _fits_too_rarely(self, grid: Grid) -> bool:
        if not grid.weights.any():
            return False
        return float(self.within(grid.draw(PROBES // 8, np.random.default_rng(0))).mean()) < ENOUGH_FIT

    def _probed(self) -> float:
        """Share of draws on the grid that fit, to a few percent; InfeasibleBudget where none was found."""
        rng, drawn, fitting = np.random.default_rng(1), 0, 0
        while drawn < PROBES or (fitting < PROBES // 4 and drawn < MOST_PROBES):
            archs = self._grid.draw(max(PROBES, drawn), rng)
            drawn, fitting = drawn + len(archs), fitting + int(self.within(archs).sum())
        if fitting == 0:
            raise self._empty(f"of {drawn} candidates costs")
        return fitting / drawn

    @cached_property
    def _log_size(self) -> float:
        return sum(math.log(count) for count in self._space.counts)

    @property
    def _log_share(self) -> float:
        if self._listed is not None:
            return math.log(len(self._listed)) - self._log_size
        return self._grid.log_share + math.log(self._fitting)


def sample(
    space: SearchSpace,
    n: int,
    seed: int = 0,
    cost: CostModel | None = None,
    max_ms: float | None = None,
    min_ms: float = 0.0,
) -> Archs:
    """`n` architectures (n, layers), independent, with replacement, uniform over exactly what fits.

    cost : prices the space; max_ms, min_ms : bounds of the cost, milliseconds, both included. Without bounds the draw
    is uniform over the whole space. Raises InfeasibleBudget where nothing fits.
    """
    if n < 0:
        raise HurricaneError(f"{n} architectures cannot be drawn; ask for at least 0")
    rng = np.random.default_rng(seed)
    sampler = sampler_of(space, cost, max_ms, min_ms)
    return space.random(n, rng) if sampler is None else sampler.draw(n, rng)


def sampler_of(
    space: SearchSpace, cost: CostModel | None, max_ms: float | None, min_ms: float
) -> Sampler | None:
    """The sampler of a budget, or None where nothing bounds the cost; InfeasibleBudget where nothing fits."""
    highest = math.inf if max_ms is None else max_ms
    if cost is None and (highest < math.inf or min_ms > 0):
        raise HurricaneError("bounds are given but nothing that prices; give cost, a latency table or model")
    if cost is None or (highest == math.inf and min_ms <= 0):
        return None
    return Sampler(space, cost.costs(space), highest, min_ms)


def share_within(space: SearchSpace, cost: CostModel, max_ms: float) -> float:
    """Share of the space that costs at most max_ms (0 to 1); right for tiny shares, too."""
    try:
        return Sampler(space, cost.costs(space), max_ms).share
    except InfeasibleBudget:
        return 0.0
