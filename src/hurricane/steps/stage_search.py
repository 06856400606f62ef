"""One search of a stage's space with the supernet as judge; scores are kept, so a killed search goes on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hurricane.errors import InfeasibleBudget
from hurricane.latency import CostModel, Floats
from hurricane.nn import Supernet
from hurricane.runs import append_row, read_rows
from hurricane.search import EvolutionResult, Scored, evolve, merits, random_search
from hurricane.space import Archs, SearchSpace
from hurricane.steps.job import Bar, Job
from hurricane.train.scoring import PathScorer, path_scorer

# The window under the budget that is searched is widened to these shares where it holds too few architectures.
WIDER_WINDOWS = (0.8, 0.6, 0.0)


class KeptScores:
    """A score function that remembers in a JSON lines file what it has scored.

    Equal settings (the key) give equal scores, and nearly equal ones on another trainer or in another precision, so
    those on file are not worked out again.
    """

    def __init__(self, scorer: PathScorer, space: SearchSpace, path: Path, key: str) -> None:
        self._scorer, self._space, self._path, self._key = scorer, space, path, key
        rows = (row for row in read_rows(path) if row.get("key") == key)
        self._known = {tuple(row["architecture"]): float(row["score"]) for row in rows}

    def __call__(self, archs: Archs) -> Floats:
        names = [self._space.names(arch) for arch in archs]
        unknown = [row for row, name in enumerate(names) if name not in self._known]
        if unknown:
            for row, score in zip(unknown, self._scorer(archs[unknown]), strict=True):
                append_row(
                    self._path, {"key": self._key, "architecture": list(names[row]), "score": float(score)}
                )
                self._known[names[row]] = float(score)
        return np.array([self._known[name] for name in names])


def scorer_of(job: Job, model: Supernet, space: SearchSpace, precision: str) -> PathScorer:
    """Accuracy on ranking pictures, batch norm recalibrated on training pictures."""
    section, pictures = job.config.search, job.pictures
    return path_scorer(
        model,
        space,
        pictures.train.images,
        (pictures.rank.images, pictures.rank.labels),
        recalibration_pictures=section.recalibration_pictures,
        rank_pictures=section.rank_pictures,
        seed=job.config.run.seed,
        precision=precision,
        workers=job.threads,
        place=job.place,
    )


def windows(job: Job) -> list[tuple[float, float]]:
    """(min_ms, max_ms) to search in, the wanted window first, wider ones where that is empty."""
    section = job.config.search
    top = job.budget_ms * (1.0 - section.margin)
    shares = [section.window, *(share for share in WIDER_WINDOWS if share < section.window)]
    return [(job.budget_ms * share, top) for share in shares]


def evolved(
    job: Job,
    model: Supernet,
    space: SearchSpace,
    cost: CostModel,
    evaluations: int,
    precision: str,
    folder: Path,
    key: str,
    *,
    at_random: bool = False,
) -> EvolutionResult:
    """The best architectures just under the budget, by evolution (or at random, the rival).

    They are searched for by their scores and merits; what is given back holds the scores.
    Raises InfeasibleBudget where no architecture of the space fits the budget.
    """
    scorer = scorer_of(job, model, space, precision)
    score = KeptScores(scorer, space, folder / "scored.jsonl", key)

    def worth(archs: Archs) -> Floats:
        return score(archs) + merits(space, archs, macs=job.config.search.macs)

    search = random_search if at_random else evolve
    label = "random search" if at_random else "evolution"
    missed: InfeasibleBudget | None = None
    for min_ms, max_ms in windows(job):
        try:
            with job.view.bar(f"{label} under {job.budget_ms:.3g} ms", evaluations) as bar:

                def told(scored: Sequence[Scored], bar: Bar = bar) -> None:
                    bar.advance(len(scored))

                found = search(
                    space,
                    worth,
                    cost=cost,
                    max_ms=max_ms,
                    min_ms=min_ms,
                    evaluations=evaluations,
                    seed=job.config.run.seed,
                    on_scored=told,
                )
        except InfeasibleBudget as error:
            missed = error
        else:
            if len(found.history) >= min(evaluations, job.config.search.measured) or min_ms == 0:
                return _with_scores(found, score)
        if min_ms > 0:
            job.view.say(
                f"too few architectures cost between {min_ms:.3g} and {max_ms:.3g} ms: looking lower"
            )
    assert missed is not None
    raise missed


def _with_scores(found: EvolutionResult, score: KeptScores) -> EvolutionResult:
    """The same with scores (on file already) in place of what the architectures are worth; the best is so by worth."""
    scores = score(np.array([one.indices for one in found.history], dtype=np.int64))
    history = tuple(
        replace(one, score=float(value)) for one, value in zip(found.history, scores, strict=True)
    )
    return EvolutionResult(history[found.history.index(found.best)], history)
