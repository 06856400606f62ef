"""The kit that a search algorithm's author runs: `check_searcher(make)` raises AssertionError for what fails."""

from collections.abc import Callable

import numpy as np

from hurricane.latency import Floats, LatencyTable
from hurricane.search.running import Problem, Searcher, run_search
from hurricane.space import Archs, LayerSpec, SearchSpace


def check_searcher(make: Callable[[Problem, int], Searcher]) -> None:
    """Never outside the budget, never twice the same, ends when nothing is left, repeatable by its seed."""
    choices = ("sep_k3", "mb_k3_e3", "choice_k3", "skip")
    space = SearchSpace(
        layers=tuple(LayerSpec(8, 8, 1, 8, choices) for _ in range(5)),
        image_size=8,
        classes=2,
        stem_channels=8,
        stem_stride=1,
        head_channels=8,
    )
    table = LatencyTable.from_costs(space, [[1.0, 3.0, 2.0, 0.0]] * 5)

    def score(archs: Archs) -> Floats:
        distance: Floats = np.abs(archs - np.array([0, 1, 2, 3, 1])).sum(axis=1).astype(np.float64)
        return -distance

    histories = []
    for _ in range(2):
        problem = Problem(space, table, 8.0, 4.0)
        result = run_search(make(problem, 3), problem, score, 2000)
        histories.append([scored.indices for scored in result.history])
        assert all(4.0 <= scored.cost_ms <= 8.0 for scored in result.history), "scored outside the budget"
    assert histories[0] == histories[1], "the same seed must ask for the same architectures"
    assert len(set(histories[0])) == len(histories[0]), "asked twice for the same architecture"
    everything = Problem(space, table, 8.0, 4.0).everything(2000)
    assert everything is not None
    assert len(everything) == len(histories[0]), "ended before everything within the budget was scored"
