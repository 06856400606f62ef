"""How many architectures cost how much: exact counts on a grid of rounded-down costs, and draws from them.

A `Grid` holds, for every number of layers, the rounded totals that their choices can reach and in how many ways.
Where costs repeat (a few values, however close to a fraction of the budget) the totals themselves are few and the
grid is as fine as int64 allows; else the totals are all the cells of a coarser grid.
Totals are of the excess: the cost above each layer's cheapest choice. `search.sampling` is the only caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hurricane.latency import Floats
from hurricane.space import Archs

Ints = npt.NDArray[np.int64]

FINEST = 2**40
# Totals of one layer beyond which a grid of few totals is given up: 32 choices reach it in four layers.
MOST_TOTALS = 20_000
# Cells of all layers together, 8 bytes each.
MOST_CELLS = 2**23
# Entries of the widest array while drawing, 8 bytes each.
MOST_ENTRIES = 2**22


@dataclass(frozen=True)
class Grid:
    """Prefix counts of rounded totals.

    cells : how many cells the slack is cut into; totals above are out of reach and not counted.
    steps : per layer (choices,), the rounded excess of each choice.
    totals : per number of layers from 0, the totals that are reached (m,), rising.
    counts : aligned, in how many ways, as a multiple of exp(log_unit) of all the ways (m,).
    log_unit : see counts; for the last entry only.
    low : totals of whole architectures below this are left out.
    """

    cells: int
    steps: tuple[Ints, ...]
    totals: tuple[Ints, ...]
    counts: tuple[Floats, ...]
    log_unit: float
    low: int

    @property
    def weights(self) -> Floats:
        """Counts of the totals of whole architectures, zero where left out: (m,)."""
        return np.where(self.totals[-1] >= self.low, self.counts[-1], 0.0)

    @property
    def log_share(self) -> float:
        """Natural logarithm of the counted share of the space; -inf where nothing is."""
        total = float(self.weights.sum())
        return float(np.log(total)) + self.log_unit if total > 0 else -np.inf

    def rest(self, layer: int, left: Ints) -> tuple[Ints, Floats]:
        """For totals (k,) of the layers up to `layer`: what each choice leaves, and in how many ways: (k, choices)."""
        rest = left[:, None] - self.steps[layer][None, :]
        totals, counts = self.totals[layer], self.counts[layer]
        if len(totals) == self.cells + 1:
            return rest, np.where(rest >= 0, counts[np.maximum(rest, 0)], 0.0)
        at = np.minimum(np.searchsorted(totals, rest), len(totals) - 1)
        return rest, np.where(totals[at] == rest, counts[at], 0.0)

    def draw(self, n: int, rng: np.random.Generator) -> Archs:
        """`n` architectures (n, layers), independent and uniform over all that are counted."""
        widest = max(len(step) for step in self.steps)
        chunk = max(1, MOST_ENTRIES // widest)
        parts = [self._draw(min(chunk, n - start), rng) for start in range(0, n, chunk)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.steps)), dtype=np.int64)

    def _draw(self, n: int, rng: np.random.Generator) -> Archs:
        """A total in proportion to its ways, then choices from the last layer to the first likewise."""
        left = self.totals[-1][_pick(self.weights[None, :].cumsum(axis=1), np.zeros(n, dtype=np.int64), rng)]
        archs = np.empty((n, len(self.steps)), dtype=np.int64)
        for layer in range(len(self.steps) - 1, -1, -1):
            # Many draws share a total: the ways are looked up once for each.
            states, state_of = np.unique(left, return_inverse=True)
            _, ways = self.rest(layer, states)
            archs[:, layer] = _pick(ways.cumsum(axis=1), state_of, rng)
            left = left - self.steps[layer][archs[:, layer]]
        return archs

    def listed(self) -> Archs:
        """Every counted architecture (n, layers); only for grids that count few."""
        left = self.totals[-1][self.weights > 0]
        suffixes = np.empty((len(left), 0), dtype=np.int64)
        for layer in range(len(self.steps) - 1, -1, -1):
            rest, ways = self.rest(layer, left)
            rows, chosen = np.nonzero(ways > 0)
            suffixes = np.concatenate([chosen[:, None], suffixes[rows]], axis=1)
            left = rest[rows, chosen]
        return suffixes


def _pick(cumulative: Floats, row_of: Ints, rng: np.random.Generator) -> Ints:
    """For each draw a column in proportion to the steps of its row of cumulative weights."""
    at = rng.random(len(row_of)) * cumulative[row_of, -1]
    if len(cumulative) == 1:
        chosen = np.searchsorted(cumulative[0], at, side="right")
    else:
        chosen = (cumulative[row_of] <= at[:, None]).sum(axis=1)
    # Rounding may point past the last column of any weight: the first to reach the whole is that column.
    last = (cumulative < cumulative[:, -1:]).sum(axis=1)
    columns: Ints = np.minimum(chosen, last[row_of])
    return columns


def exact_grid(excess: Sequence[Floats], slack: float, floor: float) -> Grid | None:
    """The finest grid with only the totals that are reached, or None where these are too many.

    excess : per layer (choices,), at least 0. slack, floor : most and least of a whole architecture's excess.
    """
    steps = _steps(excess, slack, FINEST)
    totals, counts, log_unit = [np.zeros(1, dtype=np.int64)], [np.ones(1)], 0.0
    for step in steps:
        values, times = np.unique(step[step <= FINEST], return_counts=True)
        sums = totals[-1][:, None] + values[None, :]
        fits = sums <= FINEST
        reached, at = np.unique(sums[fits], return_inverse=True)
        if len(reached) > MOST_TOTALS:
            return None
        ways = np.bincount(at, (counts[-1][:, None] * (times / len(step))[None, :])[fits], len(reached))
        totals.append(reached)
        counts.append(ways / ways.max())
        log_unit += float(np.log(ways.max()))
    return Grid(FINEST, steps, tuple(totals), tuple(counts), log_unit, _low(floor, slack, FINEST, len(steps)))


def coarse_grid(excess: Sequence[Floats], slack: float, floor: float, cells: int) -> Grid:
    """A grid of `cells` cells, every cell counted. Parameters as `exact_grid`."""
    steps = _steps(excess, slack, cells)
    every = np.arange(cells + 1)
    start = np.zeros(cells + 1)
    start[0] = 1.0
    counts, log_unit = [start], 0.0
    for step in steps:
        ways = np.zeros(cells + 1)
        values, times = np.unique(step[step <= cells], return_counts=True)
        for value, count in zip(values, times, strict=True):
            ways[value:] += counts[-1][: cells + 1 - value] * (count / len(step))
        counts.append(ways / ways.max())
        log_unit += float(np.log(ways.max()))
    low = _low(floor, slack, cells, len(steps))
    return Grid(cells, steps, (every,) * len(counts), tuple(counts), log_unit, low)


def finer(grid: Grid) -> int:
    """Cells of the next finer coarse grid, 0 where memory forbids one."""
    cells = 8 * grid.cells
    return cells if cells * len(grid.steps) <= MOST_CELLS else 0


def _steps(excess: Sequence[Floats], slack: float, cells: int) -> tuple[Ints, ...]:
    # What is out of reach alone goes beyond the last cell. Floor, so that nothing that fits is lost.
    scaled = (np.floor(np.minimum(layer, 2.0 * slack) / slack * cells) for layer in excess)
    return tuple(np.minimum(layer, cells + 1).astype(np.int64) for layer in scaled)


def _low(floor: float, slack: float, cells: int, layers: int) -> int:
    # Each layer may have lost up to a cell to the floor; one more for the rounding of sums.
    rounding = int(cells * 1e-9) + 1
    return max(0, int(max(0.0, floor) / slack * cells) - layers - rounding)
