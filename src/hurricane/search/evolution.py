"""Evolution under a hard budget: ours, led by a surrogate, and the classical ones that it is compared with."""

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from hurricane.latency import CostModel, Floats
from hurricane.search import surrogate
from hurricane.search.running import EvolutionResult, Problem, Score, Scored, Unseen, run_search
from hurricane.space import Archs, SearchSpace

FIRST = 20
POOL = 600
# Hyperparameters of the surrogate are chosen again whenever the scores have grown by this factor.
REFIT = 1.3


def mutated(problem: Problem, parents: Archs, rate: float, rng: np.random.Generator) -> Archs:
    """Each parent with every gene redrawn with probability `rate`, at least one; those that fit."""
    counts = np.asarray(problem.space.counts)
    children = parents.copy()
    change = rng.random(children.shape) < rate
    change[np.arange(len(children)), rng.integers(0, children.shape[1], len(children))] = True
    fresh = rng.integers(0, counts, size=children.shape)
    children[change] = fresh[change]
    return problem.fitting(children)


def crossed(problem: Problem, parents: Archs, n: int, rng: np.random.Generator) -> Archs:
    """`n` children with each gene from one of two parents; those that fit."""
    pairs = rng.integers(0, len(parents), size=(2, n))
    first = rng.random((n, parents.shape[1])) < 0.5
    return problem.fitting(np.where(first, parents[pairs[0]], parents[pairs[1]]))


class Evolution:
    """Evolution led by a surrogate (ours): children of the best and fresh draws, of which the surrogate picks.

    Begins with a uniform draw; from then on each batch is picked from some hundreds of candidates by the best of
    samples of the surrogate (Thompson), so that what is uncertain gets its turn.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        self._problem, self._rng, self._unseen = problem, np.random.default_rng(seed), Unseen(problem)
        self._archs = np.empty((0, len(problem.space.layers)), dtype=np.int64)
        self._scores = np.empty(0)
        self._hyper: tuple[float, float, float] | None = None
        self._chosen_at = 0

    def ask(self, n: int) -> Archs:
        missing = FIRST - len(self._archs)
        if missing > 0:
            return self._unseen.hand_out(self._unseen.drawn(min(n, missing), self._rng))
        pool = self._candidates()
        if len(pool) <= n:
            return self._unseen.hand_out(pool[:n])
        if self._hyper is None or len(self._archs) >= REFIT * self._chosen_at:
            self._hyper, self._chosen_at = None, len(self._archs)
        model = surrogate.fit(self._archs, self._scores, self._hyper)
        self._hyper = model.hyper
        mean, deviation = model.predict(pool)
        picked: list[int] = []
        for turn in range(n):
            # The first of a batch is the surrogate's favourite; the others are drawn by its doubt.
            noise = 0.0 if turn == 0 else self._rng.standard_normal(len(pool))
            value = mean + deviation * noise
            value[picked] = -np.inf
            picked.append(int(value.argmax()))
        return self._unseen.hand_out(pool[picked])

    def tell(self, archs: Archs, scores: Floats) -> None:
        self._archs = np.concatenate([self._archs, archs])
        self._scores = np.concatenate([self._scores, scores])

    def _candidates(self) -> Archs:
        everything = self._problem.everything(limit=4 * POOL)
        if everything is not None:
            return self._unseen.new(everything)
        best = self._archs[np.argsort(-self._scores, kind="stable")[:20]]
        parents = best[self._rng.integers(0, len(best), POOL)]
        rate = 1.0 / best.shape[1]
        near = self._problem.fitting(mutated(self._problem, parents, 0.5 * rate, self._rng))
        far = mutated(self._problem, parents[: POOL // 2], 2 * rate, self._rng)
        mixed = crossed(self._problem, best, POOL // 2, self._rng)
        drawn = self._problem.draw(POOL // 2, self._rng)
        found = self._unseen.new(np.concatenate([near, far, mixed, drawn]))
        return found if len(found) else self._unseen.drawn(POOL, self._rng)


class PlainEvolution:
    """SPOS's evolution: population 50, top 10 as parents, 25 mutations (0.1 a gene), 25 crossovers."""

    def __init__(self, problem: Problem, seed: int, population: int = 50, parents: int = 10) -> None:
        self._problem, self._rng, self._unseen = problem, np.random.default_rng(seed), Unseen(problem)
        self._population, self._parents = population, parents
        self._scored: list[tuple[float, Archs]] = []
        self._queue: Archs = self._unseen.drawn(population, self._rng)

    def ask(self, n: int) -> Archs:
        if len(self._queue) == 0:
            self._queue = self._generation()
        asked, self._queue = self._queue[:n], self._queue[n:]
        return self._unseen.hand_out(asked)

    def tell(self, archs: Archs, scores: Floats) -> None:
        self._scored += [(float(score), arch) for arch, score in zip(archs, scores, strict=True)]
        self._scored = sorted(self._scored, key=lambda pair: -pair[0])[: self._parents]

    def _generation(self) -> Archs:
        best = np.stack([arch for _, arch in self._scored])
        half = self._population // 2
        children = [np.empty((0, best.shape[1]), dtype=np.int64)]
        for _ in range(10):
            chosen = best[self._rng.integers(0, len(best), half)]
            children.append(mutated(self._problem, chosen, 0.1, self._rng)[:half])
            children.append(crossed(self._problem, best, half, self._rng)[:half])
            found = self._unseen.new(np.concatenate(children))
            if len(found) >= self._population:
                return found[: self._population]
        fill = self._unseen.drawn(self._population, self._rng)
        return self._unseen.new(np.concatenate([found, fill]))[: self._population]


class RegularizedEvolution:
    """Aging evolution (Real et al.): the best of a random ten of the latest fifty has one gene changed."""

    def __init__(self, problem: Problem, seed: int, population: int = 50, tournament: int = 10) -> None:
        self._problem, self._rng, self._unseen = problem, np.random.default_rng(seed), Unseen(problem)
        self._alive: deque[tuple[float, Archs]] = deque(maxlen=population)
        self._population, self._tournament, self._told = population, tournament, 0

    def ask(self, n: int) -> Archs:
        if self._told < self._population:
            return self._unseen.hand_out(self._unseen.drawn(min(n, self._population - self._told), self._rng))
        children = []
        for _ in range(n):
            rivals = self._rng.integers(0, len(self._alive), self._tournament)
            parent = max((self._alive[int(i)] for i in rivals), key=lambda pair: pair[0])[1]
            for _ in range(20):
                child = self._unseen.new(mutated(self._problem, parent[None], 0.0, self._rng))
                if len(child):
                    children.append(self._unseen.hand_out(child))
                    break
        if not children:
            return self._unseen.hand_out(self._unseen.drawn(n, self._rng))
        return np.concatenate(children)

    def tell(self, archs: Archs, scores: Floats) -> None:
        self._told += len(archs)
        self._alive.extend((float(score), arch) for arch, score in zip(archs, scores, strict=True))


def evolve(
    space: SearchSpace,
    score: Score,
    cost: CostModel | None = None,
    max_ms: float | None = None,
    min_ms: float = 0.0,
    evaluations: int = 1000,
    seed: int = 0,
    *,
    batch: int = 5,
    on_scored: Callable[[Sequence[Scored]], None] | None = None,
) -> EvolutionResult:
    """The best architecture within a budget, by evolution that learns from what it has scored (ours).

    Parameters
    ----------
    score : (k, layers) -> (k,) finite numbers, higher is better; batches of any size. Never asked twice for one.
    cost, max_ms, min_ms : only architectures that cost from min_ms to max_ms are scored.
    evaluations : architectures scored at most; fewer when no others fit.
    batch : architectures scored at once. on_scored : told what was scored, batch by batch.

    Raises InfeasibleBudget where nothing fits.
    """
    problem = Problem(space, cost, max_ms, min_ms)
    return run_search(Evolution(problem, seed), problem, score, evaluations, batch=batch, on_scored=on_scored)
