"""Specialize: narrow the space to what this device does well, and correct the table with whole networks."""

import math
from typing import Any

import numpy as np

from hurricane.devices import measure_architectures
from hurricane.errors import InfeasibleBudget
from hurricane.latency import CostModel
from hurricane.latency_model import LatencyModel, fit_latency
from hurricane.runs import digest, write_json
from hurricane.search import sample, share_within
from hurricane.space import Archs, SearchSpace
from hurricane.specialization import Judgement, Specialization, judge
from hurricane.steps import profile
from hurricane.steps.job import Job

NAME = "space"
# Whole networks are measured in this part of the budget: the correction must hold where it is used.
NEAR_BUDGET = (0.75, 1.15)
FIRST_NETWORKS = 4


def key(job: Job) -> str | None:
    """Hash of profile, budget and settings."""
    record = job.run.record(profile.NAME)
    if record is None or record["key"] != profile.key(job):
        return None
    section = job.config.specialize.model_dump(mode="json")
    return digest([record["key"], job.budget_ms, section, job.config.profile.networks, job.config.run.seed])


def perform(job: Job) -> None:
    """Print what the space costs, narrow it, measure networks of it and fit the latency model."""
    table, full = profile.load(job), _runnable(job)
    rough = _fitted(job, full, table, full.random(FIRST_NETWORKS, np.random.default_rng(job.config.run.seed)))
    before = _describe(job, "full space", full, rough)
    if before["cheapest_ms"] > job.budget_ms:
        advice = "raise --max-latency, or give a smaller width (--set space.width=0.5) or --image-size"
        raise InfeasibleBudget(job.budget_ms, before["cheapest_ms"], advice)
    if before["dearest_ms"] <= job.budget_ms:
        job.view.say("the budget is above the slowest network of the space: it is kept trivially")
    section = job.config.specialize
    beta = None if section.beta == "auto" else section.beta
    judged = judge(
        full,
        rough,
        keep=section.keep,
        max_ms=job.budget_ms,
        beta=beta,
        capacity=section.capacity,
        price=section.price,
    )
    archs = _near_budget(job, judged.space, rough)
    model = _fitted(job, judged.space, table, archs)
    after = _describe(job, "hardware-aware space", judged.space, model)
    if math.isfinite(model.median_error):
        job.view.say(
            f"latency model: {len(archs)} whole networks, median error {model.median_error:.1%} on those left out"
        )
    write_json(job.run.path(NAME, "space.json"), judged.space.to_json())
    write_json(job.run.path(NAME, "judgement.json"), _judgement_json(job, judged))
    write_json(job.run.path(NAME, "latency_model.json"), model.to_json())
    key_now = key(job)
    assert key_now is not None
    points = _points(judged.space, archs, table, model)
    job.run.finish(NAME, key_now, before=before, after=after, beta=judged.beta, networks=points)


def _runnable(job: Job) -> SearchSpace:
    """The full space without the operators that the device cannot run."""
    table, full = profile.load(job), job.full_space
    return full.narrow(
        [[c for c in layer.choices if layer.spec(c) not in table.unsupported] for layer in full.layers]
    )


def _fitted(job: Job, space: SearchSpace, table: CostModel, archs: Archs) -> LatencyModel:
    with job.view.bar("measuring whole networks", len(archs)) as bar:
        samples = measure_architectures(
            job.device, space, archs, rounds=job.config.profile.rounds, seconds=job.config.profile.seconds
        )
        bar.advance(len(archs))
    return fit_latency(space, archs, [sample.median_ms for sample in samples], prior=table)


def _near_budget(job: Job, space: SearchSpace, cost: CostModel) -> Archs:
    """Distinct networks near the budget, or of the whole space where none lie there."""
    n, seed, budget = job.config.profile.networks, job.config.run.seed, job.budget_ms
    low, high = NEAR_BUDGET
    try:
        archs = sample(space, n, seed=seed, cost=cost, max_ms=high * budget, min_ms=low * budget)
    except InfeasibleBudget:
        archs = space.random(n, np.random.default_rng(seed))
    return archs


def _describe(job: Job, what: str, space: SearchSpace, cost: CostModel) -> dict[str, Any]:
    costs = cost.costs(space)
    share = share_within(space, cost, job.budget_ms)
    job.view.say(
        f"{what}: {space.size:.3g} architectures from {costs.cheapest_ms:.3g} to {costs.dearest_ms:.3g} ms; "
        f"{share:.3g} of them within {job.budget_ms:g} ms"
    )
    return {
        "size": float(space.size),
        "cheapest_ms": costs.cheapest_ms,
        "dearest_ms": costs.dearest_ms,
        "share": share,
    }


def _points(space: SearchSpace, archs: Archs, table: CostModel, model: LatencyModel) -> list[dict[str, Any]]:
    """Measured networks beside the table's sum and a prediction by a fit without that network."""
    summed = table.predict(space, archs)
    errors = model.error or (0.0,) * len(archs)
    fitted = model.predict(space, archs)
    measured = [float(m) for m in model.measured_ms]
    return [
        {
            "architecture": list(space.names(arch)),
            "table_ms": float(summed[i]),
            "predicted_ms": measured[i] / (1.0 + errors[i]) if model.error else float(fitted[i]),
            "measured_ms": measured[i],
        }
        for i, arch in enumerate(archs)
    ]


def _judgement_json(job: Job, judged: Specialization) -> dict[str, Any]:
    """The judgement of every choice; operators the device cannot run are listed with their reason."""
    table, full = profile.load(job), job.full_space
    layers = []
    for number, judgements in enumerate(judged.layers):
        rows = [_row(judgement) for judgement in judgements]
        for choice in full.layers[number].choices:
            reason = table.unsupported.get(full.layers[number].spec(choice))
            if reason is not None:
                rows.append(
                    _row(Judgement(choice, False, f"the device cannot run it: {reason}", math.nan, 0, 0, 0))
                )
        layers.append(rows)
    return {
        "beta": judged.beta,
        "capacity": judged.capacity,
        "efficient": list(judged.efficient),
        "layers": layers,
    }


def _row(judgement: Judgement) -> dict[str, Any]:
    return {
        "choice": judgement.choice,
        "kept": judgement.kept,
        "reason": judgement.reason,
        "cost_ms": None if math.isnan(judgement.cost_ms) else judgement.cost_ms,
        "macs": judgement.macs,
        "params": judgement.params,
        "score": judgement.score,
    }
