"""Specialize: narrow the space to what this device does well, and correct the table with whole networks."""

import math
from typing import Any

import numpy as np

from hurricane.errors import InfeasibleBudget
from hurricane.latency import CostModel
from hurricane.latency_model import LatencyModel
from hurricane.runs import digest, write_json
from hurricane.search import share_within
from hurricane.space import SearchSpace
from hurricane.specialization import Judgement, Specialization, judge
from hurricane.steps import feasibility, gain, profile, whole_networks
from hurricane.steps.job import Job
from hurricane.steps.whole_networks import Batches, HeldOut, Plan

NAME = "space"
FILES = ("space/space.json", "space/judgement.json", "space/latency_model.json")
FIRST_NETWORKS = 4
# Raised when what the step writes can no longer be read by the steps after it.
FORMAT = 2


def key(job: Job) -> str | None:
    """Hash of profile, budget and settings."""
    record = job.run.record(profile.NAME)
    if record is None or record["key"] != profile.key(job):
        return None
    section = job.config.specialize.model_dump(mode="json")
    measured = [job.config.profile.networks, job.config.profile.error]
    return digest([FORMAT, record["key"], job.budget_ms, section, measured, job.config.run.seed])


def perform(job: Job) -> None:
    """Print what the space costs, narrow it, measure networks of it and fit the latency model."""
    table, full = profile.load(job), _runnable(job)
    archs = full.random(FIRST_NETWORKS, np.random.default_rng(job.config.run.seed))
    batches = Batches(job.device, full, _plan(job))
    rough = whole_networks.fitted(batches, table, archs)
    before = _describe(job, "full space", full, rough)
    if job.searches and before["cheapest_ms"] > job.budget_ms:
        raise InfeasibleBudget(
            job.budget_ms, before["cheapest_ms"], f"raise --max-latency, or give {feasibility.SMALLER}"
        )
    if job.searches and before["dearest_ms"] <= job.budget_ms:
        job.view.say("the budget is above the slowest network of the space: it is kept trivially")
    section = job.config.specialize
    beta = None if section.beta == "auto" else section.beta
    judged = judge(
        full,
        rough,
        keep=section.keep,
        max_ms=job.budget_ms if job.searches else None,
        beta=beta,
        capacity=section.capacity,
        price=section.price,
    )
    if judged.space != full:
        batches = Batches(job.device, judged.space, _plan(job))
    model, held_out = _corrected(job, batches, table, rough)
    after = _describe(job, "hardware-aware space", judged.space, model)
    if job.searches:
        job.view.say(_in_words(held_out))
    if sentence := gain.in_words(job, judged.space, model):
        job.view.say(sentence)
    write_json(job.run.path(NAME, "space.json"), judged.space.to_json())
    write_json(job.run.path(NAME, "judgement.json"), _judgement_json(job, judged))
    write_json(job.run.path(NAME, "latency_model.json"), model.to_json())
    key_now = key(job)
    assert key_now is not None
    points = [one.to_json() for one in held_out]
    job.run.finish(NAME, key_now, before=before, after=after, beta=judged.beta, networks=points)


def _runnable(job: Job) -> SearchSpace:
    """The full space without the operators that the device cannot run."""
    table, full = profile.load(job), job.full_space
    return full.narrow(
        [[c for c in layer.choices if layer.spec(c) not in table.unsupported] for layer in full.layers]
    )


def _plan(job: Job) -> Plan:
    section = job.config.profile
    return Plan(section.networks, section.error, section.rounds, section.seconds)


def _corrected(
    job: Job, batches: Batches, table: CostModel, rough: LatencyModel
) -> tuple[LatencyModel, tuple[HeldOut, ...]]:
    """The latency model of the hardware-aware space, from networks near the budget."""
    near = whole_networks.near(batches.space, job.budget_ms, job.config.run.seed)
    with job.view.bar("measuring whole networks", batches.plan.networks) as bar:
        done = 0

        def advance(now: int) -> None:
            nonlocal done
            bar.advance(now - done)
            done = now

        found = whole_networks.corrected(batches, table, rough, near, advance)
        bar.advance(batches.plan.networks - done)
    return found


def _in_words(held_out: tuple[HeldOut, ...]) -> str:
    if not held_out:
        return "latency model: corrected by whole networks of the full space, there are hardly any others"
    errors = np.array([one.error for one in held_out])
    return (
        f"latency model: {len(errors)} whole networks, each predicted before it was measured: median error "
        f"{np.median(errors):.1%}, {np.mean(errors <= 0.05):.0%} within 5 %, {np.mean(errors <= 0.1):.0%} within 10 %"
    )


def _describe(job: Job, what: str, space: SearchSpace, cost: CostModel) -> dict[str, Any]:
    costs = cost.costs(space)
    share = share_within(space, cost, job.budget_ms)
    if job.searches:
        job.view.say(
            f"{what}: {space.size:.3g} architectures from {costs.cheapest_ms:.3g} to {costs.dearest_ms:.3g} ms; "
            f"{100 * share:.3g} % of them within {job.budget_ms:g} ms"
        )
    return {
        "size": float(space.size),
        "cheapest_ms": costs.cheapest_ms,
        "dearest_ms": costs.dearest_ms,
        "share": share,
    }


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
