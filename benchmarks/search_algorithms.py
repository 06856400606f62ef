"""How many evaluations each search needs to come near the best within a budget, on made-up problems.

    python benchmarks/search_algorithms.py --out benchmarks/results/search_algorithms.json

For every family of `search_problems.py`, several problems and two budgets: the number of scores, read in order of
scoring, until the best so far is within 1, 0.5 and 0.1 points of the best that the budget allows. Medians over all
runs of a family; a run that does not get there counts as not reached ("over").
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.search_problems import FAMILIES, Tabulated
from hurricane.latency import Floats
from hurricane.search import (
    Evolution,
    PlainEvolution,
    Problem,
    RandomSearch,
    RegularizedEvolution,
    Searcher,
)

SEARCHERS: dict[str, Callable[[Problem, int], Searcher]] = {
    "evolve (default)": Evolution,
    "regularized_evolution": RegularizedEvolution,
    "plain_evolution": PlainEvolution,
    "random_search": RandomSearch,
}
GAPS = (1.0, 0.5, 0.1)
# Aging evolution learns from each score at once, as published; the others choose their own pace up to --batch.
ONE_AT_A_TIME = {"regularized_evolution"}


def main() -> None:
    """Run, print a table, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--problems", type=int, default=4, help="problems of each family")
    parser.add_argument("--first", type=int, default=100, help="seed of the first problem")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.05, 0.4], help="of the space that fit")
    parser.add_argument("--evaluations", type=int, default=500)
    parser.add_argument("--batch", type=int, default=20)
    asked = parser.parse_args()
    figures: dict[str, Any] = {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "numpy": np.__version__,
        "gaps_points": GAPS,
        "settings": {key: value for key, value in vars(asked).items() if key != "out"},
        "families": {},
    }
    for family in asked.families:
        figures["families"][family] = rows = family_figures(family, asked)
        for name, row in rows.items():
            print(f"{family:15s} {name:22s} {in_words(row, asked.evaluations)}", flush=True)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def family_figures(family: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Evaluations needed by each searcher over all problems and budgets of a family."""
    reached: dict[str, list[list[int | None]]] = {name: [] for name in SEARCHERS}
    seconds = dict.fromkeys(SEARCHERS, 0.0)
    for seed in range(asked.first, asked.first + asked.problems):
        problem = FAMILIES[family](seed)
        for share in asked.shares:
            budget = problem.budget_ms(share)
            goal = problem.best_within(budget)
            for name, make in SEARCHERS.items():
                start = time.process_time()
                bounded = Problem(problem.space, problem.table, budget, 0.0)
                batch = 1 if name in ONE_AT_A_TIME else asked.batch
                searcher = make(bounded, seed)
                reached[name].append(evaluations_needed(searcher, problem, goal, asked.evaluations, batch))
                seconds[name] += time.process_time() - start
    return {
        name: {"runs": runs, "cpu_seconds_a_run": seconds[name] / len(runs)} for name, runs in reached.items()
    }


def evaluations_needed(
    searcher: Searcher, problem: Tabulated, goal: float, evaluations: int, batch: int
) -> list[int | None]:
    """For each gap, the evaluations until the best so far is within it; None where it never is."""
    scores: Floats = np.empty(0)
    while len(scores) < evaluations and not (len(scores) and scores.max() >= goal - GAPS[-1]):
        archs = searcher.ask(min(batch, evaluations - len(scores)))
        if len(archs) == 0:
            break
        found = problem.score(archs)
        searcher.tell(archs, found)
        scores = np.append(scores, found)
    within = [np.flatnonzero(scores >= goal - gap) for gap in GAPS]
    return [int(rows[0]) + 1 if len(rows) else None for rows in within]


def in_words(row: dict[str, Any], evaluations: int) -> str:
    """Medians and failures of one searcher for people."""
    words = []
    for place, gap in enumerate(GAPS):
        values = [np.inf if run[place] is None else run[place] for run in row["runs"]]
        # The upper median: with half of the runs not reached it is not reached.
        middle = float(np.sort(values)[len(values) // 2])
        shown = f"over {evaluations}" if middle == np.inf else f"{middle:.0f}"
        words.append(f"{gap:g}: {shown:>8s} ({int(np.isinf(values).sum())} never)")
    return "within " + "  ".join(words) + f"  {row['cpu_seconds_a_run']:.1f} s"


if __name__ == "__main__":
    main()
