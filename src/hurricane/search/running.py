"""The loop that all searches share: ask a searcher for architectures, score them, tell it the scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hurricane.errors import HurricaneError
from hurricane.latency import CostModel, Floats
from hurricane.search.sampling import Sampler
from hurricane.space import Archs, SearchSpace

Score = Callable[[Archs], Floats]
"""(k, layers) -> (k,): higher is better."""


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
    """A space under a budget: what may be drawn, and what fits."""

    def __init__(
        self, space: SearchSpace, cost: CostModel | None, max_ms: float | None, min_ms: float
    ) -> None:
        self.space = space
        self.costs = None if cost is None else cost.costs(space)
        self.sampler: Sampler | None = None
        if self.costs is not None and (max_ms is not None or min_ms > 0):
            highest = self.costs.dearest_ms * (1 + 1e-9) if max_ms is None else max_ms
            self.sampler = Sampler(space, self.costs, highest, min_ms)

    def draw(self, n: int, rng: np.random.Generator) -> Archs:
        """`n` architectures that fit, uniform, with replacement."""
        return self.space.random(n, rng) if self.sampler is None else self.sampler.draw(n, rng)

    def fitting(self, archs: Archs) -> Archs:
        """Those of the architectures that fit."""
        return archs if self.sampler is None else archs[self.sampler.within(archs)]

    def everything(self, limit: int) -> Archs | None:
        """All architectures that fit, where they are at most `limit`; else None."""
        if self.sampler is not None and self.sampler.listed is not None:
            return self.sampler.listed if len(self.sampler.listed) <= limit else None
        if self.sampler is None and self.space.size <= limit:
            axes = np.meshgrid(*(np.arange(count) for count in self.space.counts), indexing="ij")
            return np.stack([axis.ravel() for axis in axes], axis=1)
        return None

    def cost_ms(self, archs: Archs) -> Floats:
        """Cost of each architecture, milliseconds."""
        return np.zeros(len(archs)) if self.costs is None else self.costs.total(archs)


class Searcher(Protocol):
    """A search algorithm: asked for architectures that fit and were not asked before, told their scores."""

    def ask(self, n: int) -> Archs:
        """At most `n` new architectures (k, layers); none when it knows no more."""
        ...

    def tell(self, archs: Archs, scores: Floats) -> None:
        """The scores of architectures that it was asked for."""
        ...


class Unseen:
    """Keeps apart what was handed out from what is new; lists the rest when draws find nothing new."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._seen: set[bytes] = set()

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
        """Up to `n` new architectures, uniform over what is left (fewer only when nearly nothing is)."""
        found = self.new(self._problem.draw(n, rng))
        for _ in range(6):
            if len(found) >= n:
                return found[:n]
            found = self.new(np.concatenate([found, self._problem.draw(4 * n + 16, rng)]))
        if len(found) < n:
            rest = self._problem.everything(limit=len(self._seen) + 400_000)
            if rest is not None:
                found = self.new(np.concatenate([found, rest[rng.permutation(len(rest))]]))
        return found[:n]


class RandomSearch:
    """Uniform draws from what fits: the rival that every search must beat."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._unseen = Unseen(problem)

    def ask(self, n: int) -> Archs:
        return self._unseen.hand_out(self._unseen.drawn(n, self._rng))

    def tell(self, archs: Archs, scores: Floats) -> None:
        return None


def run_search(
    searcher: Searcher,
    problem: Problem,
    score: Score,
    evaluations: int,
    *,
    batch: int = 10,
    on_scored: Callable[[Sequence[Scored]], None] | None = None,
) -> EvolutionResult:
    """Ask, score and tell until `evaluations` architectures are scored or none are left."""
    if evaluations < 1:
        raise HurricaneError(f"a search of {evaluations} evaluations finds nothing; give at least 1")
    history: list[Scored] = []
    while len(history) < evaluations:
        archs = searcher.ask(min(batch, evaluations - len(history)))
        if len(archs) == 0:
            break
        scores = np.asarray(score(archs), dtype=np.float64)
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


def random_search(
    space: SearchSpace,
    score: Score,
    cost: CostModel | None = None,
    max_ms: float | None = None,
    min_ms: float = 0.0,
    evaluations: int = 1000,
    seed: int = 0,
    *,
    batch: int = 10,
    on_scored: Callable[[Sequence[Scored]], None] | None = None,
) -> EvolutionResult:
    """Random search under the same rules as `evolve`."""
    problem = Problem(space, cost, max_ms, min_ms)
    return run_search(
        RandomSearch(problem, seed), problem, score, evaluations, batch=batch, on_scored=on_scored
    )
