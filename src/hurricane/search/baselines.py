"""What `evolve` is compared with, under the same rules: random search and the two classical evolutions."""

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from hurricane.latency import CostModel, Floats
from hurricane.search.evolution import crossed, mutated
from hurricane.search.running import EvolutionResult, Problem, Score, Scored, Unseen, run_search
from hurricane.space import Archs, SearchSpace

POPULATION = 50


class RandomSearch:
    """Uniform draws from what fits: the rival that every search must beat."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self._rng, self._unseen = np.random.default_rng(seed), Unseen(problem)

    def ask(self, n: int) -> Archs:
        return self._unseen.hand_out(self._unseen.drawn(n, self._rng))

    def tell(self, archs: Archs, scores: Floats) -> None:
        return None


class PlainEvolution:
    """SPOS's evolution: generations of 50, the top 10 so far as parents, 25 mutations (0.1 a gene), 25 crossovers."""

    def __init__(self, problem: Problem, seed: int, parents: int = 10) -> None:
        self._problem, self._rng, self._unseen = problem, np.random.default_rng(seed), Unseen(problem)
        self._parents = parents
        self._scored: list[tuple[float, Archs]] = []
        self._queue = self._unseen.drawn(POPULATION, self._rng)

    def ask(self, n: int) -> Archs:
        if len(self._queue) == 0 and self._scored:
            self._queue = self._generation()
        asked, self._queue = self._queue[:n], self._queue[n:]
        return self._unseen.hand_out(asked)

    def tell(self, archs: Archs, scores: Floats) -> None:
        self._scored += [(float(score), arch) for arch, score in zip(archs, scores, strict=True)]
        self._scored = sorted(self._scored, key=lambda pair: -pair[0])[: self._parents]

    def _generation(self) -> Archs:
        best, half = np.stack([arch for _, arch in self._scored]), POPULATION // 2
        changed, mixed = best[:0], best[:0]
        for _ in range(10):
            parents = best[self._rng.integers(0, len(best), half)]
            changed = self._fitting(changed, mutated(self._problem, parents, 0.1, self._rng))[:half]
            mixed = self._fitting(mixed, crossed(best, half, self._rng))[:half]
            if len(changed) == len(mixed) == half:
                break
        found = self._unseen.new(np.concatenate([changed, mixed]))
        if len(found) < POPULATION:
            drawn = self._unseen.drawn(POPULATION, self._rng)
            found = self._unseen.new(np.concatenate([found, drawn]))
        return found[:POPULATION]

    def _fitting(self, found: Archs, children: Archs) -> Archs:
        return self._unseen.new(np.concatenate([found, self._problem.fitting(children)]))


class RegularizedEvolution:
    """Aging evolution (arXiv 1802.01548): the best of ten out of the latest fifty has one gene changed."""

    def __init__(self, problem: Problem, seed: int, tournament: int = 10) -> None:
        self._problem, self._rng, self._unseen = problem, np.random.default_rng(seed), Unseen(problem)
        self._alive: deque[tuple[float, Archs]] = deque(maxlen=POPULATION)
        self._tournament, self._told = tournament, 0

    def ask(self, n: int) -> Archs:
        if self._told < POPULATION:
            return self._unseen.hand_out(self._unseen.drawn(min(n, POPULATION - self._told), self._rng))
        children = [child for child in (self._child() for _ in range(n)) if len(child)]
        if not children:
            return self._unseen.hand_out(self._unseen.drawn(n, self._rng))
        return np.concatenate(children)

    def tell(self, archs: Archs, scores: Floats) -> None:
        self._told += len(archs)
        self._alive.extend((float(score), arch) for arch, score in zip(archs, scores, strict=True))

    def _child(self) -> Archs:
        """One child that fits and is new, (1, layers), or (0, layers) where twenty tries gave none."""
        rivals = self._rng.integers(0, len(self._alive), self._tournament)
        parent = max((self._alive[int(i)] for i in rivals), key=lambda pair: pair[0])[1]
        children = mutated(self._problem, np.repeat(parent[None], 20, axis=0), 0.0, self._rng)
        return self._unseen.hand_out(self._unseen.new(self._problem.fitting(children))[:1])


def random_search(
    space: SearchSpace,
    score: Score,
    cost: CostModel | None = None,
    max_ms: float | None = None,
    min_ms: float = 0.0,
    evaluations: int = 1000,
    seed: int = 0,
    *,
    batch: int = 20,
    on_scored: Callable[[Sequence[Scored]], None] | None = None,
) -> EvolutionResult:
    """Random search under the same rules as `evolve`."""
    problem = Problem(space, cost, max_ms, min_ms)
    searcher = RandomSearch(problem, seed)
    return run_search(searcher, problem, score, evaluations, batch=batch, on_scored=on_scored)


def plain_evolution(
    space: SearchSpace,
    score: Score,
    cost: CostModel | None = None,
    max_ms: float | None = None,
    min_ms: float = 0.0,
    evaluations: int = 1000,
    seed: int = 0,
    *,
    batch: int = 20,
    on_scored: Callable[[Sequence[Scored]], None] | None = None,
) -> EvolutionResult:
    """SPOS's evolution (arXiv 1904.00420) under the same rules as `evolve`."""
    problem = Problem(space, cost, max_ms, min_ms)
    searcher = PlainEvolution(problem, seed)
    return run_search(searcher, problem, score, evaluations, batch=batch, on_scored=on_scored)


def regularized_evolution(
    space: SearchSpace,
    score: Score,
    cost: CostModel | None = None,
    max_ms: float | None = None,
    min_ms: float = 0.0,
    evaluations: int = 1000,
    seed: int = 0,
    *,
    batch: int = 20,
    on_scored: Callable[[Sequence[Scored]], None] | None = None,
) -> EvolutionResult:
    """Aging evolution under the same rules as `evolve`."""
    problem = Problem(space, cost, max_ms, min_ms)
    searcher = RegularizedEvolution(problem, seed)
    return run_search(searcher, problem, score, evaluations, batch=batch, on_scored=on_scored)
