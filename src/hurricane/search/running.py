"""The loop that all searches share: ask a searcher for architectures, score them, tell it the scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hurricane.errors import HurricaneError
from hurricane.latency import CostModel, Floats
from hurricane.search.sampling import sampler_of
from hurricane.space import Archs, SearchSpace

Score = Callable[[Archs], Floats]
"""(k, layers) -> (k,): higher is better."""

# Candidates counted up to which all that fit are listed when draws find nothing new.
LISTED_LAST = 2_000_000


@dataclass(frozen=True, slots=True)
class Scored:
    """One scored architecture. cost_ms is 0 where there is no cost model."""

    indices: tuple[int, ...]
    choices: tuple[str, ...]
    score: float
    cost_ms: float


@dataclass(frozen=True, slots=True)
class EvolutionResult:
    """What a search found: the best, and everything scored in order of scoring."""

    best: Scored
    history: tuple[Scored, ...]


class Problem:
    """A space under a budget: what may be drawn, and what fits.

    cost, max_ms, min_ms : as in `evolve`. Raises InfeasibleBudget where nothing fits.
    """

    def __init__(
        self, space: SearchSpace, cost: CostModel | None, max_ms: float | None, min_ms: float
    ) -> None:
        self.space = space
        self.max_ms = max_ms
        self.costs = None if cost is None else cost.costs(space)
        self.sampler = sampler_of(space, cost, max_ms, min_ms)

    def draw(self, n: int, rng: np.random.Generator) -> Archs:
        """`n` architectures that fit, uniform, with replacement."""
        return self.space.random(n, rng) if self.sampler is None else self.sampler.draw(n, rng)

    def fitting(self, archs: Archs) -> Archs:
        """Those of the architectures that fit."""
        return archs if self.sampler is None else archs[self.sampler.within(archs)]

    def repaired(self, archs: Archs, rng: np.random.Generator) -> Archs:
        """The architectures that fit as they are or after one gene of three tried was redrawn so that they do."""
        if self.sampler is None or self.costs is None:
            return archs
        archs = archs.copy()
        layers = self.costs.layers
        # Choices that a layer does not have cost nothing that fits.
        padded = np.full((len(layers), max(len(layer) for layer in layers)), np.nan)
        for row, layer in zip(padded, layers, strict=True):
            row[: len(layer)] = layer
        for _ in range(3):
            total = self.costs.total(archs)
            broken = np.flatnonzero(~self.sampler.between(total))
            column = rng.integers(0, archs.shape[1], len(broken))
            spent = padded[column, archs[broken, column]]
            fits = self.sampler.between((total[broken] - spent)[:, None] + padded[column])
            chosen = (fits * rng.random(fits.shape)).argmax(axis=1)
            some = fits.any(axis=1)
            archs[broken[some], column[some]] = chosen[some]
        # Sums were taken in another order: only the exact cost decides.
        return self.fitting(archs)

    def everything(self, limit: int) -> Archs | None:
        """All architectures that fit (n, layers), where at most `limit` come into question; else None."""
        if self.sampler is not None:
            listed = self.sampler.listed
            if listed is not None:
                return listed if len(listed) <= limit else None
            return self.sampler.everything(limit)
        if self.space.size > limit:
            return None
        axes = np.meshgrid(*(np.arange(count) for count in self.space.counts), indexing="ij")
        return np.stack([axis.ravel() for axis in axes], axis=1)

    def cost_ms(self, archs: Archs) -> Floats:
        """Cost of each architecture, milliseconds."""
        return np.zeros(len(archs)) if self.costs is None else self.costs.total(archs)


class Searcher(Protocol):
    """A search algorithm: asked for architectures that fit and were not asked before, told their scores.

    `hurricane.search.check_searcher` runs one through its duties.
    """

    def ask(self, n: int) -> Archs:
        """At most `n` new architectures (k, layers); none when it knows no more, which ends the search."""
        ...

    def tell(self, archs: Archs, scores: Floats) -> None:
        """The scores (k,) of the architectures (k, layers) that it was asked for last."""
        ...


class Unseen:
    """Keeps apart what was handed out from what is new; lists the rest when draws find nothing new."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._seen: set[bytes] = set()
        self._last: Archs | None = None

    def new(self, archs: Archs) -> Archs:
        """Those that were not handed out yet, each once, in order."""
        keys, rows = set(), []
        for row, arch in enumerate(np.ascontiguousarray(archs)):
            key = arch.tobytes()
            if key not in self._seen and key not in keys:
                keys.add(key)
                rows.append(row)
        return archs[rows]

    def hand_out(self, archs: Archs) -> Archs:
        """The same, remembered as handed out."""
        self._seen.update(arch.tobytes() for arch in np.ascontiguousarray(archs))
        return archs

    def drawn(self, n: int, rng: np.random.Generator) -> Archs:
        """Up to `n` new architectures, uniform over what is left; fewer only where there are no more.

        Where more than two million come into question and hardly any fits, what thousands of draws miss is missed.
        """
        if self._last is not None:
            return self._next(n)
        found = self.new(self._problem.draw(n, rng))
        for _ in range(6):
            if len(found) >= n:
                return found[:n]
            found = self.new(np.concatenate([found, self._problem.draw(4 * n + 16, rng)]))
        if len(found) >= n:
            return found[:n]
        rest = self._problem.everything(LISTED_LAST)
        if rest is not None:
            # Nearly everything is handed out: from now on down the list, in random order.
            self._last = rest[rng.permutation(len(rest))]
            return self._next(n)
        return self.new(np.concatenate([found, self._problem.draw(20_000, rng)]))[:n]

    def _next(self, n: int) -> Archs:
        """The next `n` of the list that are new; what was passed over is dropped from it."""
        assert self._last is not None
        rows: list[int] = []
        passed = 0
        for row, arch in enumerate(self._last):
            if len(rows) == n:
                break
            if arch.tobytes() not in self._seen:
                rows.append(row)
            elif not rows:
                passed = row + 1
        found = self._last[rows]
        self._last = self._last[passed:]
        return found


def run_search(
    searcher: Searcher,
    problem: Problem,
    score: Score,
    evaluations: int,
    *,
    batch: int = 20,
    on_scored: Callable[[Sequence[Scored]], None] | None = None,
) -> EvolutionResult:
    """Ask, score and tell until `evaluations` architectures are scored or none are left.

    batch : architectures asked for at once, at most. on_scored : told what was scored, batch by batch.
    Raises HurricaneError where a score is missing or no finite number.
    """
    if evaluations < 1 or batch < 1:
        raise HurricaneError(
            f"a search of {evaluations} evaluations in batches of {batch} finds nothing; give at least 1 of each"
        )
    history: list[Scored] = []
    while len(history) < evaluations:
        archs = searcher.ask(min(batch, evaluations - len(history)))
        if len(archs) == 0:
            break
        scores = np.asarray(score(archs.copy()), dtype=np.float64)
        if scores.shape != (len(archs),) or not np.isfinite(scores).all():
            raise HurricaneError(
                f"the score function gave {scores.shape} values for {len(archs)} architectures, or values that are "
                "no numbers; it must give one finite number each"
            )
        searcher.tell(archs, scores)
        fresh = [
            Scored(tuple(int(i) for i in arch), problem.space.names(arch), float(value), float(cost))
            for arch, value, cost in zip(archs, scores, problem.cost_ms(archs), strict=True)
        ]
        history += fresh
        if on_scored is not None:
            on_scored(fresh)
    best = max(history, key=lambda scored: scored.score)
    return EvolutionResult(best, tuple(history))
