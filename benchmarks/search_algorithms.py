"""How many evaluations each search needs to come near the best within a budget, on problems with a known best.

    pip install -e '.[benchmarks]'
    python benchmarks/search_algorithms.py --out benchmarks/results/search_algorithms.json [--tables FILE.csv ...]

For every family of `search_problems.py` and of `held_out_problems.py` (on which no default was chosen), several
problems and two budgets: the number of scores, read in order of scoring, until the best so far is within 1, 0.5 and
0.1 points of the best that the budget allows. A table of tried networks (CSV or parquet, see
`search_problems.tabulated`) is a family whose problems differ by the searchers' seed. Medians over all runs of a
family; a run that does not get there counts as not reached ("over").
"""

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.held_out_problems import HELD_OUT
from benchmarks.search_problems import FAMILIES, Tabulated, tabulated
from benchmarks.search_rivals import Nsga2, Tpe
from hurricane.latency import Floats
from hurricane.runs import write_json
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
    "TPE (Optuna)": Tpe,
    "NSGA-II (pymoo)": Nsga2,
}
GAPS = (1.0, 0.5, 0.1)
# The first were there when the defaults were chosen; the others only judge.
EVERY_FAMILY = FAMILIES | HELD_OUT
# Aging evolution and TPE learn from each score at once, as published; the others choose their own pace up to --batch.
ONE_AT_A_TIME = {"regularized_evolution", "TPE (Optuna)"}


def main() -> None:
    """Run, print a table, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--families", nargs="+", choices=list(EVERY_FAMILY), default=list(EVERY_FAMILY))
    parser.add_argument("--problems", type=int, default=4, help="problems of each family")
    parser.add_argument("--first", type=int, default=100, help="seed of the first problem")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.05, 0.4], help="of the space that fit")
    parser.add_argument("--evaluations", type=int, default=500)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--searchers", nargs="+", choices=list(SEARCHERS), default=list(SEARCHERS))
    parser.add_argument("--tables", type=Path, nargs="*", default=[], help="tables of tried networks")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    settings = {key: str(value) for key, value in vars(asked).items() if key not in ("out", "workers")}
    figures: dict[str, Any] = {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": {name: metadata.version(name) for name in ("numpy", "optuna", "pymoo")},
        "gaps_points": GAPS,
        "settings": settings,
        "families": {},
    }
    if asked.out.is_file() and json.loads(asked.out.read_text())["settings"] == settings:
        figures = json.loads(asked.out.read_text())
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(asked.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for family in [*asked.families, *asked.tables]:
            if str(family) not in figures["families"]:
                figures["families"][str(family)] = family_figures(pool, family, asked)
                write_json(asked.out, figures)
            for name, row in figures["families"][str(family)].items():
                print(f"{family!s:15s} {name:22s} {in_words(row, asked.evaluations)}", flush=True)


def family_figures(pool: Executor, family: str | Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Evaluations needed by each searcher over all problems and budgets of a family."""
    tasks = [
        (family, seed, share, name, asked.evaluations, asked.batch)
        for seed in range(asked.first, asked.first + asked.problems)
        for share in asked.shares
        for name in asked.searchers
    ]
    rows: dict[str, Any] = {name: {"runs": [], "cpu_seconds_a_run": 0.0} for name in asked.searchers}
    for task, (reached, seconds) in zip(tasks, pool.map(one_run, *zip(*tasks, strict=True)), strict=True):
        row = rows[task[3]]
        row["runs"].append(reached)
        row["cpu_seconds_a_run"] += seconds / (asked.problems * len(asked.shares))
    return rows


def one_run(
    family: str | Path, seed: int, share: float, name: str, evaluations: int, batch: int
) -> tuple[list[int | None], float]:
    """Evaluations that one searcher needs on one problem, and the processor's seconds."""
    with threadpool_limits(1):
        problem, budget, goal = solved(family, seed, share)
        start = time.process_time()
        searcher = SEARCHERS[name](Problem(problem.space, problem.table, budget, 0.0), seed)
        pace = 1 if name in ONE_AT_A_TIME else batch
        reached = evaluations_needed(searcher, problem, goal, evaluations, pace)
        return reached, time.process_time() - start


@lru_cache(maxsize=4)
def solved(family: str | Path, seed: int, share: float) -> tuple[Tabulated, float, float]:
    """A problem, a budget that this share of the space keeps, and the best score within it."""
    problem = tabulated(family) if isinstance(family, Path) else EVERY_FAMILY[family](seed)
    budget = problem.budget_ms(share)
    return problem, budget, problem.best_within(budget)


def evaluations_needed(
    searcher: Searcher, problem: Tabulated, goal: float, evaluations: int, batch: int
) -> list[int | None]:
    """For each gap, the evaluations until the best so far is within it; None where it never is."""
    scores: Floats = np.empty(0)
    # A billionth of slack: a score that is just the gap below the best is within it.
    near = [goal - (gap + 1e-9) * problem.point for gap in GAPS]
    while len(scores) < evaluations and not (len(scores) and scores.max() >= near[-1]):
        archs = searcher.ask(min(batch, evaluations - len(scores)))
        if len(archs) == 0:
            break
        found = problem.score(archs)
        searcher.tell(archs, found)
        scores = np.append(scores, found)
    within = [np.flatnonzero(scores >= least) for least in near]
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
