"""The kit that a search algorithm's author runs: `check_searcher(make)` raises AssertionError for what fails."""

from collections.abc import Callable

import numpy as np

from hurricane.latency import Floats, LatencyTable
from hurricane.search.running import EvolutionResult, Problem, Searcher, run_search
from hurricane.space import Archs, LayerSpec, SearchSpace

LAYERS, LOWEST_MS, HIGHEST_MS, EVALUATIONS = 4, 3.0, 7.0, 1000


def check_searcher(make: Callable[[Problem, int], Searcher]) -> None:
    """Never outside the budget, never twice the same, ends when nothing is left, repeatable by its seed.

    make : gives a searcher for a problem and a seed. Raises AssertionError with a sentence for the first that fails.
    """
    results = [_run(make, batch=20) for _ in range(2)]
    histories = [[scored.indices for scored in result.history] for result in results]
    assert histories[0] == histories[1], "the same seed must ask for the same architectures"
    for result in (results[0], _run(make, batch=3)):
        asked = [scored.indices for scored in result.history]
        assert all(LOWEST_MS <= scored.cost_ms <= HIGHEST_MS for scored in result.history), (
            "asked for an architecture outside the budget"
        )
        assert len(set(asked)) == len(asked), "asked twice for the same architecture"
        everything = _problem().everything(EVALUATIONS)
        assert everything is not None
        assert len(everything) == len(asked), "ended before everything within the budget was scored"


class _Watched:
    """A searcher whose answers are looked at as they are given."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher

    def ask(self, n: int) -> Archs:
        archs = self._searcher.ask(n)
        assert archs.ndim == 2 and archs.shape[1] == LAYERS, (
            f"gave shape {archs.shape}; it must be (k, layers)"
        )
        assert archs.dtype == np.int64, f"gave {archs.dtype}; it must be int64"
        assert len(archs) <= n, f"asked for at most {n} architectures and gave {len(archs)}"
        return archs

    def tell(self, archs: Archs, scores: Floats) -> None:
        self._searcher.tell(archs, scores)


def _problem() -> Problem:
    choices = ("sep_k3", "mb_k3_e3", "choice_k3", "skip")
    layers = tuple(LayerSpec(8, 8, 1, 8, choices) for _ in range(LAYERS))
    space = SearchSpace(layers, image_size=8, classes=2, stem_channels=8, stem_stride=1, head_channels=8)
    table = LatencyTable.from_costs(space, [[1.0, 3.0, 2.0, 0.0]] * LAYERS)
    return Problem(space, table, HIGHEST_MS, LOWEST_MS)


def _score(archs: Archs) -> Floats:
    missed: Floats = np.abs(archs - np.array([0, 1, 2, 3])).sum(axis=1).astype(np.float64)
    return -missed


def _run(make: Callable[[Problem, int], Searcher], batch: int) -> EvolutionResult:
    problem = _problem()
    return run_search(_Watched(make(problem, 3)), problem, _score, EVALUATIONS, batch=batch)
