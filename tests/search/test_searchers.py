from collections.abc import Callable, Sequence

import numpy as np
import pytest

import hurricane as hn
from benchmarks.search_problems import FAMILIES, Tabulated, layered
from hurricane.errors import HurricaneError
from hurricane.search import (
    Evolution,
    EvolutionResult,
    PlainEvolution,
    Problem,
    RandomSearch,
    RegularizedEvolution,
    Scored,
    check_searcher,
    plain_evolution,
    random_search,
    regularized_evolution,
    run_search,
)
from hurricane.space import Archs

SEARCHERS = [Evolution, PlainEvolution, RandomSearch, RegularizedEvolution]
SEARCHES = [hn.evolve, plain_evolution, random_search, regularized_evolution]


@pytest.mark.parametrize("make", SEARCHERS)
def test_every_searcher_does_its_duties(make: Callable[..., Evolution]) -> None:
    check_searcher(make)


def test_the_conformance_check_catches_those_that_do_not() -> None:
    class Repeats(RandomSearch):
        def ask(self, n: int) -> Archs:
            return np.full((n, 4), 2)

    class Overspends(RandomSearch):
        def __init__(self, problem: Problem, seed: int) -> None:
            super().__init__(Problem(problem.space, None, None, 0.0), seed)

    class GivesUp(RandomSearch):
        asked = 0

        def ask(self, n: int) -> Archs:
            self.asked += 1
            return super().ask(n if self.asked < 4 else 0)

    class Unseeded(RandomSearch):
        def __init__(self, problem: Problem, seed: int) -> None:
            super().__init__(problem, np.random.SeedSequence().entropy)  # type: ignore[arg-type]

    for wrong in (Repeats, Overspends, GivesUp, Unseeded):
        with pytest.raises(AssertionError):
            check_searcher(wrong)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_ends_when_all_within_the_budget_are_scored(
    search: Callable[..., EvolutionResult],
) -> None:
    problem = layered(1, 4, 4)
    budget = problem.budget_ms(0.5)
    archs = Problem(problem.space, problem.table, budget, 0.8 * budget).everything(256)
    assert archs is not None
    result = search(
        problem.space, problem.score, cost=problem.table, max_ms=budget, min_ms=0.8 * budget, evaluations=999
    )
    assert {scored.indices for scored in result.history} == {tuple(arch) for arch in archs.tolist()}
    assert len(result.history) == len(archs)
    assert result.best.score == problem.score(archs).max()


@pytest.mark.parametrize("search", SEARCHES)
def test_what_is_scored_fits_and_is_told_as_it_is(search: Callable[..., EvolutionResult]) -> None:
    problem = layered(2, 12, 5)
    budget, told, asked = problem.budget_ms(0.1), [], []

    def score(archs: Archs) -> np.ndarray:
        asked.append(archs)
        return problem.score(archs)

    def listen(scored: Sequence[Scored]) -> None:
        told.extend(scored)

    result = search(
        problem.space,
        score,
        cost=problem.table,
        max_ms=budget,
        min_ms=0.9 * budget,
        evaluations=90,
        batch=7,
        on_scored=listen,
    )
    archs = np.concatenate(asked)
    assert len(archs) == len(result.history) == 90
    assert max(map(len, asked)) <= 7
    assert tuple(told) == result.history
    assert [scored.indices for scored in told] == [tuple(arch) for arch in archs.tolist()]
    assert len(set(map(tuple, archs.tolist()))) == 90
    cost = problem.table.predict(problem.space, archs)
    assert ((cost <= budget) & (cost >= 0.9 * budget)).all()
    assert [scored.cost_ms for scored in told] == cost.tolist()
    assert [scored.score for scored in told] == problem.score(archs).tolist()
    assert told[5].choices == problem.space.names(archs[5])
    assert result.best == max(told, key=lambda scored: scored.score)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_seed_makes_a_search_repeatable(search: Callable[..., EvolutionResult]) -> None:
    problem = layered(3, 10, 5)

    def found(seed: int) -> EvolutionResult:
        return search(
            problem.space,
            problem.score,
            cost=problem.table,
            max_ms=problem.budget_ms(0.3),
            evaluations=60,
            seed=seed,
        )

    assert found(1) == found(1)
    assert found(1).history != found(2).history


@pytest.mark.parametrize("search", SEARCHES)
def test_without_a_budget_the_whole_space_is_open(search: Callable[..., EvolutionResult]) -> None:
    problem = layered(4, 3, 4)
    result = search(problem.space, problem.score, evaluations=100)
    assert len(result.history) == 64
    assert {scored.cost_ms for scored in result.history} == {0.0}


def test_one_evaluation_and_one_architecture_are_enough() -> None:
    problem = layered(5, 5, 3)
    assert len(hn.evolve(problem.space, problem.score, evaluations=1).history) == 1
    cheapest = float(problem.table.costs(problem.space).cheapest_ms)
    result = hn.evolve(problem.space, problem.score, cost=problem.table, max_ms=cheapest * (1 + 1e-12))
    assert len(result.history) >= 1
    with pytest.raises(hn.InfeasibleBudget):
        hn.evolve(problem.space, problem.score, cost=problem.table, max_ms=0.5 * cheapest)


@pytest.mark.parametrize("wrong", [[np.nan], [1.0, 2.0], [np.inf]])
def test_a_score_that_is_no_number_is_an_error(wrong: list[float]) -> None:
    problem = layered(5, 5, 3)
    with pytest.raises(HurricaneError, match="one finite number each"):
        hn.evolve(problem.space, lambda archs: np.array(wrong), batch=1)


def test_nothing_to_do_is_an_error() -> None:
    problem = layered(5, 5, 3)
    for evaluations, batch in ((0, 10), (10, 0)):
        with pytest.raises(HurricaneError, match="at least 1"):
            hn.evolve(problem.space, problem.score, evaluations=evaluations, batch=batch)


def test_repairs_fit_and_change_few_genes() -> None:
    problem = layered(6, 12, 5)
    budget = problem.budget_ms(0.2)
    bounded = Problem(problem.space, problem.table, budget, 0.95 * budget)
    rng = np.random.default_rng(0)
    archs = problem.space.random(300, rng)
    assert len(bounded.fitting(archs)) < 60
    repaired = bounded.repaired(archs, rng)
    assert len(bounded.fitting(repaired)) == len(repaired) > 2 * len(bounded.fitting(archs))
    changed = (repaired[:, None] != archs[None]).sum(axis=2).min(axis=1)
    assert changed.max() <= 3


def needed(search: Callable[..., EvolutionResult], problem: Tabulated, seed: int) -> int:
    """Evaluations to within half a point of the best, 301 where 300 do not do."""
    budget = problem.budget_ms(0.3)
    goal = problem.best_within(budget) - 0.5
    result = search(
        problem.space, problem.score, cost=problem.table, max_ms=budget, evaluations=300, seed=seed, batch=10
    )
    reached = (number for number, scored in enumerate(result.history, 1) if scored.score >= goal)
    return next(reached, 301)


def test_the_default_needs_far_fewer_evaluations_than_its_rivals() -> None:
    problems = [FAMILIES["cell 6x5"](11), FAMILIES["macro 8x3"](11), layered(11, 6, 5, scrambled=True)]

    def median(search: Callable[..., EvolutionResult], evaluations_of: int) -> float:
        return float(np.median([needed(search, p, seed) for p in problems for seed in range(evaluations_of)]))

    ours = median(_stopping(hn.evolve), 2)
    rivals = [median(search, 4) for search in (random_search, plain_evolution, regularized_evolution)]
    assert ours < 0.5 * rivals[0]
    assert ours < min(rivals)


def _stopping(search: Callable[..., EvolutionResult]) -> Callable[..., EvolutionResult]:
    """The same search with 60 evaluations at most: what is not found by then counts as not found."""

    def shorter(*positional: object, evaluations: int, **named: object) -> EvolutionResult:
        return search(*positional, evaluations=min(evaluations, 60), **named)

    return shorter


def test_a_searcher_of_ones_own_runs_in_the_same_loop() -> None:
    problem = layered(7, 6, 4)
    bounded = Problem(problem.space, problem.table, problem.budget_ms(0.4), 0.0)

    class Climber:
        """Tries the neighbours of the best, then gives up."""

        def __init__(self) -> None:
            self.queue = bounded.draw(1, np.random.default_rng(0))
            self.seen = {tuple(self.queue[0])}
            self.best = -np.inf

        def ask(self, n: int) -> Archs:
            asked, self.queue = self.queue[:n], self.queue[n:]
            return asked

        def tell(self, archs: Archs, scores: np.ndarray) -> None:
            if scores.max() > self.best:
                self.best = float(scores.max())
                top = archs[scores.argmax()]
                near = np.repeat(top[None], 24, axis=0)
                near[np.arange(24), np.arange(24) // 4] = np.arange(24) % 4
                new = [arch for arch in bounded.fitting(near).tolist() if tuple(arch) not in self.seen]
                self.seen.update(map(tuple, new))
                self.queue = np.array(new, dtype=np.int64).reshape(-1, 6)

    result = run_search(Climber(), bounded, problem.score, 500)
    assert 1 < len(result.history) < 500
    assert result.best.score > result.history[0].score
