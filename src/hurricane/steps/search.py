"""Search: evolution over the last stage under the budget, random search beside it, and the finalists on the device.

The best architectures are measured whole on the device before anything is retrained: latency does not depend on
weights. What they measure corrects the latency model; where none of them keeps the budget, the next best that keep
it by the corrected model are measured.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from hurricane.errors import InfeasibleBudget
from hurricane.latency_model import LatencyModel, fit_latency
from hurricane.nn import Supernet
from hurricane.runs import append_row, digest, read_rows
from hurricane.search import EvolutionResult, Scored, expected_scores, worths
from hurricane.space import SearchSpace
from hurricane.steps import plan, profile, stage_search, supernet
from hurricane.steps.feasibility import FULL
from hurricane.steps.job import Job
from hurricane.steps.whole_networks import BATCH, Batches, Plan

NAME = "search"
FILES: tuple[str, ...] = ()
ROUNDS = 3


def key(job: Job) -> str | None:
    """Hash of supernet and settings."""
    record = job.run.record(supernet.NAME)
    if record is None or record["key"] != supernet.key(job):
        return None
    return digest([record["key"], job.config.search.deciding()])


def perform(job: Job) -> None:
    """Search, search at random, measure the finalists; writes scores as it goes."""
    if not job.searches:
        _without(job)
        return
    plan.seeded(job, 2)
    model = supernet.load(job)
    stage = supernet.last_stage(job)
    lengths, speed = plan.prepare(job, model, plan.typical_archs(job))
    key_now = key(job)
    assert key_now is not None
    folder = job.run.path(NAME)
    cost: LatencyModel = job.latency_model
    result = stage_search.evolved(
        job, model, stage.space, cost, lengths.evaluations, speed.precision, folder, key_now
    )
    finalists: list[dict[str, Any]] = []
    for _ in range(ROUNDS):
        likely = _likely(job, result, cost, stage.space, finalists)
        if not likely:
            break
        measured, cost = _measured(job, stage.space, [scored for scored, _ in likely], cost)
        finalists += [{**row, "worth": worth} for row, (_, worth) in zip(measured, likely, strict=True)]
        if any(row["fits"] for row in finalists):
            break
        job.view.say("none of the best keeps the budget when measured: latency corrected, taking the next")
    finalists.sort(key=lambda row: (not row["fits"], -row["worth"] if row["fits"] else row["measured_ms"]))
    rival = _random(job, model, stage.space, lengths.random_evaluations, speed.precision)
    _say(job, finalists[0], rival)
    history = [_scored_row(scored) for scored in result.history]
    random_rows = [] if rival is None else [_scored_row(scored) for scored in rival.history]
    job.run.finish(NAME, key_now, finalists=finalists, history=history, random=random_rows)


def _without(job: Job) -> None:
    """The one architecture of a run without a search, measured; it has no score.

    Raises InfeasibleBudget where it misses the budget, before it is trained.
    """
    key_now, space, cost = key(job), job.small_space, job.latency_model
    assert key_now is not None
    only = Scored((0,) * len(space.layers), space.names((0,) * len(space.layers)), 0.0, 0.0)
    for _ in range(ROUNDS):
        rows, _ = _measured(job, space, [only], cost)
        if rows[0]["fits"]:
            job.view.say(
                f"no search: predicted {rows[0]['predicted_ms']:.3g} ms, measured {rows[0]['measured_ms']:.3g} ms"
            )
            job.run.finish(NAME, key_now, finalists=[{**rows[0], "score": None}], history=[], random=[])
            return
    raise InfeasibleBudget(
        job.budget_ms,
        rows[0]["measured_ms"],
        f"half of search.margin is kept free; measure again when nothing else runs there, or {narrower(job)}",
    )


def narrower(job: Job) -> str:
    """What to do where the one network of a run without a search is too slow."""
    if job.config.space.width != "auto":
        return "give a smaller space.width"
    assert job.plain is not None
    kept_free = max(1.0 - FULL, job.config.search.margin, 1.0 - job.plain["cost_ms"] / job.budget_ms)
    return f"--set search.margin={kept_free + 0.05:.2f} for a narrower one"


def chosen(job: Job) -> dict[str, Any] | None:
    """The finalist to retrain: the best of those left that keep the budget, or the fastest of them; None if none is.

    Where exported models came out slower than their finalists were measured, all finalists are taken for slower by
    that much.
    """
    record = job.run.record(NAME)
    if record is None:
        return None
    gone = {tuple(row["architecture"]): row["measured_ms"] for row in rejected(job)}
    finalists: list[dict[str, Any]] = record["finalists"]
    missed = [row for row in finalists if tuple(row["architecture"]) in gone]
    slower = max((gone[tuple(row["architecture"])] / row["measured_ms"] for row in missed), default=1.0)
    left = [row for row in finalists if tuple(row["architecture"]) not in gone]
    fitting = [row for row in left if row["fits"] and row["measured_ms"] * slower <= job.budget_ms]
    if fitting:
        # One that was found without a search has no score, and no rival; one of a run before MACs counted no worth.
        return max(fitting, key=lambda row: float(row.get("worth", row["score"]) or 0.0))
    return min(left, key=lambda row: float(row["measured_ms"]), default=None)


def rejected(job: Job) -> list[dict[str, Any]]:
    """Finalists whose exported model missed the budget."""
    record = job.run.record(NAME)
    rows = read_rows(job.run.path(NAME, "rejected.jsonl"))
    return [row for row in rows if record is not None and row.get("key") == record["key"]]


def reject(job: Job, verdict: dict[str, Any]) -> None:
    """Put a finalist aside: its exported model was measured above the budget."""
    record = job.run.record(NAME)
    assert record is not None
    names = ("architecture", "predicted_ms", "measured_ms", "within")
    append_row(
        job.run.path(NAME, "rejected.jsonl"),
        {"key": record["key"], **{name: verdict[name] for name in names}},
    )


def _likely(
    job: Job, result: EvolutionResult, cost: LatencyModel, space: SearchSpace, finalists: list[dict[str, Any]]
) -> list[tuple[Scored, float]]:
    """The best that are not measured yet and keep the budget by the model as corrected so far, and their worths.

    Their scores are what is expected of them: of noisy scores the highest are mostly luck.
    """
    gone = {tuple(row["architecture"]) for row in finalists}
    expected = expected_scores(space, result.history, cost)
    by = worths(space, result.history, cost, macs=job.config.search.macs)
    predicted = cost.predict(space, np.array([scored.indices for scored in result.history]))
    top = job.budget_ms * (1.0 - job.config.search.margin)
    left = [
        (replace(one, score=float(score)), float(worth))
        for one, score, worth, ms in zip(result.history, expected, by, predicted, strict=True)
        if one.choices not in gone and ms <= top
    ]
    return sorted(left, key=lambda pair: -pair[1])[: job.config.search.measured]


def _measured(
    job: Job, space: SearchSpace, best: list[Scored], cost: LatencyModel
) -> tuple[list[dict[str, Any]], LatencyModel]:
    """Architectures measured whole, and the latency model with what that taught."""
    archs = np.array([scored.indices for scored in best])
    with job.view.bar("measuring the finalists", len(best)) as bar:
        section = job.config.profile
        batches = Batches(job.device, space, Plan(len(best), 0.0, section.rounds, section.seconds))
        for start in range(0, len(archs), BATCH):
            medians = batches.medians(archs[start : start + BATCH])
        bar.advance(len(best))
    predicted = cost.predict(space, archs)
    limit = job.budget_ms * (1.0 - job.config.search.margin / 2)
    rows = [
        {
            "architecture": list(scored.choices),
            "score": scored.score,
            "predicted_ms": float(predicted[i]),
            "measured_ms": float(medians[i]),
            "fits": float(medians[i]) <= limit,
        }
        for i, scored in enumerate(best)
    ]
    whole = job.small_space
    archs = np.concatenate([np.array(cost.archs), whole.translate(archs, space)])
    measured = [*cost.measured_ms, *medians.tolist()]
    return rows, fit_latency(whole, archs, measured, prior=profile.load(job))


def _random(
    job: Job, model: Supernet, space: SearchSpace, evaluations: int, precision: str
) -> EvolutionResult | None:
    """Random search under the same budget with the same judge: always reported beside the result."""
    if evaluations == 0:
        return None
    key_now = key(job)
    assert key_now is not None
    folder = job.run.path(NAME)
    return stage_search.evolved(
        job, model, space, job.latency_model, evaluations, precision, folder, key_now, at_random=True
    )


def _say(job: Job, first: dict[str, Any], rival: EvolutionResult | None) -> None:
    line = f"chosen: score {first['score']:.1%}, predicted {first['predicted_ms']:.3g} ms, "
    line += f"measured {first['measured_ms']:.3g} ms"
    if rival is not None:
        best = max(one.score for one in rival.history)
        line += f"; random search of {len(rival.history)}: {best:.1%}"
    job.view.say(line)


def _scored_row(scored: Scored) -> dict[str, Any]:
    return {"architecture": list(scored.choices), "cost_ms": scored.cost_ms, "score": scored.score}
