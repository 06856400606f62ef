"""Evolution under a hard budget, led by a surrogate that learns from what was scored (ours).

Children of the best, and of what the surrogate thinks best, compete with fresh draws; those with the highest expected
improvement are scored. Defaults were chosen on the made-up problems of `benchmarks/search_algorithms.py`.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from hurricane.latency import CostModel, Floats
from hurricane.search import surrogate
from hurricane.search.running import EvolutionResult, Problem, Score, Scored, Unseen, run_search
from hurricane.search.surrogate import Features, Scales, Surrogate
from hurricane.space import Archs, SearchSpace

# Scored before the surrogate has a say, out of so many draws.
FIRST, FIRST_DRAWS = 4, 200
POOL, GENERATIONS = 300, 10
# Up to so many architectures that fit are listed, and judged whole as long as the surrogate is quick.
LISTED, WORK = 20_000, 2_000_000
# One architecture at a time while little is known, then one more for every twenty scored.
SCORED_PER_PICK = 20
# Scales of the surrogate are learned again whenever the scores have grown by this factor.
REFIT = 1.25
FINALISTS = 300


def mutated(problem: Problem, parents: Archs, rate: float, rng: np.random.Generator) -> Archs:
    """Each parent (n, layers) with every gene redrawn with probability `rate`, at least one; fitting or not."""
    counts = np.asarray(problem.space.counts)
    children = parents.copy()
    change = rng.random(children.shape) < rate
    change[np.arange(len(children)), rng.integers(0, children.shape[1], len(children))] = True
    fresh = rng.integers(0, counts, size=children.shape)
    children[change] = fresh[change]
    return children


def crossed(parents: Archs, n: int, rng: np.random.Generator) -> Archs:
    """`n` children (n, layers) with each gene from one of two parents; fitting or not."""
    pairs = rng.integers(0, len(parents), size=(2, n))
    first = rng.random((n, parents.shape[1])) < 0.5
    children: Archs = np.where(first, parents[pairs[0]], parents[pairs[1]])
    return children


class Evolution:
    """A `Searcher`: evolution whose children a surrogate picks from. It may answer with fewer than asked for."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self._problem, self._rng, self._unseen = problem, np.random.default_rng(seed), Unseen(problem)
        self._features = Features(problem.space, problem.costs)
        self._scales = Scales.prior(len(problem.space.layers))
        self._archs = np.empty((0, len(problem.space.layers)), dtype=np.int64)
        self._scores = np.empty(0)
        self._tuned_at = 0
        self._rest = problem.everything(LISTED)
        """All that fit and were not handed out, where they are few enough to list."""

    def ask(self, n: int) -> Archs:
        if len(self._archs) < FIRST:
            return self._hand_out(self._first(min(n, FIRST - len(self._archs))))
        n = max(1, min(n, len(self._archs) // SCORED_PER_PICK))
        if self._rest is not None and len(self._rest) <= n:
            return self._hand_out(self._rest)
        tuned = len(self._archs) >= REFIT * self._tuned_at
        model = surrogate.fit(self._features, self._archs, self._scores, self._scales, tuned)
        if tuned:
            self._scales, self._tuned_at = model.scales, len(self._archs)
        finalists = self._bred(model) if self._rest is None else self._listed(self._rest, model)
        return self._hand_out(finalists[most_promising(model, finalists, float(self._scores.max()), n)])

    def tell(self, archs: Archs, scores: Floats) -> None:
        self._archs = np.concatenate([self._archs, archs])
        self._scores = np.concatenate([self._scores, scores])

    def _hand_out(self, archs: Archs) -> Archs:
        if self._rest is not None:
            taken = np.zeros(len(self._rest), dtype=bool)
            for arch in archs:
                taken |= (self._rest == arch).all(axis=1)
            self._rest = self._rest[~taken]
        return self._unseen.hand_out(archs)

    def _first(self, n: int) -> Archs:
        """Architectures far from each other, the dearer the sooner: within a budget these are mostly the better."""
        drawn = self._unseen.drawn(FIRST_DRAWS, self._rng)
        rank = np.argsort(np.argsort(self._problem.cost_ms(drawn), kind="stable"), kind="stable")
        chosen: list[int] = []
        for _ in range(min(n, len(drawn))):
            known = np.concatenate([self._archs, drawn[chosen]])
            value = rank / len(drawn)
            if len(known):
                value = value + (drawn[:, None] != known[None]).sum(axis=2).min(axis=1)
            value[chosen] = -1.0
            chosen.append(int(value.argmax()))
        return drawn[chosen]

    def _best(self) -> Archs:
        return self._archs[np.argsort(-self._scores, kind="stable")[:20]]

    def _listed(self, rest: Archs, model: Surrogate) -> Archs:
        """The most hopeful of all that are left, or of as many as can be judged quickly, near the best mostly."""
        most = max(1500, WORK // max(50, len(self._archs)))
        if len(rest) > most:
            near = np.min([(rest != arch).sum(axis=1) for arch in self._best()[:5]], axis=0)
            rest = rest[np.argsort(near + 2.0 * self._rng.random(len(near)) ** 4, kind="stable")[:most]]
        return _leading(rest, *model.predict(rest), 2.0, FINALISTS)[0]

    def _bred(self, model: Surrogate) -> Archs:
        """The most hopeful of fresh draws, children of the best, and generations of children of the most hopeful."""
        best, rate = self._best(), 1.0 / self._archs.shape[1]
        parents = best[self._rng.integers(0, len(best), POOL)]
        children = [
            mutated(self._problem, parents, 0.5 * rate, self._rng),
            mutated(self._problem, parents[: POOL // 2], 2 * rate, self._rng),
            crossed(best, POOL // 2, self._rng),
        ]
        pool = self._new(self._problem.draw(POOL // 2, self._rng), children)
        if len(pool) == 0:
            pool = self._unseen.drawn(POOL, self._rng)
        mean, deviation = model.predict(pool)
        for _ in range(GENERATIONS):
            pool, mean, deviation = _leading(pool, mean, deviation, 0.5, FINALISTS)
            best = pool[:30]
            parents = best[self._rng.integers(0, len(best), POOL)] if len(best) else best
            children = [
                mutated(self._problem, parents[: POOL // 2], 0.0, self._rng),
                mutated(self._problem, parents[POOL // 2 :], 1.5 * rate, self._rng),
                crossed(best, POOL // 4 if len(best) else 0, self._rng),
            ]
            # What leads is judged already; it comes first and is new, so the children follow it.
            fresh = self._new(pool, children)[len(pool) :]
            fresh_mean, fresh_deviation = model.predict(fresh)
            pool = np.concatenate([pool, fresh])
            mean, deviation = np.append(mean, fresh_mean), np.append(deviation, fresh_deviation)
        return _leading(pool, mean, deviation, 2.0, FINALISTS)[0]

    def _new(self, fitting: Archs, children: list[Archs]) -> Archs:
        repaired = self._problem.repaired(np.concatenate(children), self._rng)
        return self._unseen.new(np.concatenate([fitting, repaired]))


def _leading(
    pool: Archs, mean: Floats, deviation: Floats, doubt: float, most: int
) -> tuple[Archs, Floats, Floats]:
    """Those with the highest mean plus `doubt` deviations, the first first."""
    order = np.argsort(-(mean + doubt * deviation), kind="stable")[:most]
    return pool[order], mean[order], deviation[order]


def most_promising(model: Surrogate, finalists: Archs, best: float, n: int) -> list[int]:
    """Up to `n` rows of the finalists with the highest expected improvement on the best score, one after the other.

    Each one picked takes away what it would teach about the others. The noise counts as part of an architecture's own
    score (a table gives the same again), so a lead of the mean counts more than doubt alone.
    """
    mean, covariance = model.joint(finalists)
    noise, goal = model.scales.noise, model.scaled(best)
    picked: list[int] = []
    for _ in range(min(n, len(finalists))):
        own = np.sqrt(np.maximum(np.diag(covariance), 1e-12) + noise)
        value = np.log(own) + _log_improvement((mean - goal) / own)
        value[picked] = -np.inf
        one = int(value.argmax())
        picked.append(one)
        covariance = covariance - np.outer(covariance[:, one], covariance[one]) / (
            covariance[one, one] + noise
        )
    return picked


def _log_improvement(z: Floats) -> Floats:
    """Logarithm of what a standard normal is expected to exceed -z by."""
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    below = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in z])
    # Far below the goal the difference cancels; its asymptote does not.
    far = -0.5 * z**2 - 0.5 * math.log(2 * math.pi) - 2.0 * np.log(np.maximum(np.abs(z), 1.0))
    return np.where(z > -5.0, np.log(np.maximum(z * below + density, 1e-300)), far)


def evolve(
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
    """The best architecture within a budget, by evolution that learns from what it has scored (ours).

    Parameters
    ----------
    score : (k, layers) -> (k,) finite numbers, higher is better; batches of any size. Never asked twice for one.
        Anything else than a finite number is an error.
    cost, max_ms, min_ms : only architectures that cost from min_ms to max_ms are scored; without a cost all may be.
    evaluations : architectures scored at most; fewer when no others fit.
    batch : architectures scored at once at most; it begins with one at a time, which needs the fewest.
    on_scored : told what was scored, batch by batch.

    Returns the best and everything scored in order of scoring; the same for the same seed and scores.
    Raises InfeasibleBudget where nothing fits.
    """
    problem = Problem(space, cost, max_ms, min_ms)
    return run_search(Evolution(problem, seed), problem, score, evaluations, batch=batch, on_scored=on_scored)
