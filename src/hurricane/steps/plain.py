"""Without a search: one operator for all layers, and the shape in which it fills the budget."""

import numpy as np

from hurricane.errors import InfeasibleBudget, SpaceError
from hurricane.space import Shape
from hurricane.steps.feasibility import (
    FAMILIES,
    FULL,
    WIDTHS,
    advice,
    best_family,
    capacities_of,
    check,
    cost_of,
    depths,
    stands_everywhere,
)
from hurricane.steps.job import Job


def decide(job: Job) -> None:
    """Decide and record operator, width and depth, unless they are known for these settings and this budget.

    Raises InfeasibleBudget where no operator keeps the budget, SpaceError where none can stand at all layers.
    """
    if job.plain is not None:
        return
    with job.view.bar("measuring a few whole networks", 1) as bar:
        kind, shape = _chosen(job)
        cost = cost_of(job, kind, shape)
        bar.advance(1)
    job.view.say(f"no search: {kind} everywhere, {shape}; measured {cost:.3g} of {job.budget_ms:g} ms")
    if job.config.space.width == "auto" and shape.width == WIDTHS[-1]:
        job.view.say("that is the widest that is tried; --set space.width=... takes a wider one")
    job.run.decide(
        "plain",
        {
            "operator": kind,
            "value": shape.width,
            "depth": shape.depth,
            "reason": f"no search: {kind} everywhere",
            "cost_ms": cost,
            "asked": job.plain_asked,
        },
    )


def _chosen(job: Job) -> tuple[str, Shape]:
    """The operator with most capacity where it fills the budget, or in the given width, and its shape.

    The families that a search goes by come first, other operators only where none of these will do.
    """
    choices, width, margin = job.config.space.choices, job.config.space.width, job.config.search.margin
    groups = (
        [kind for kind in FAMILIES if kind in choices],
        [kind for kind in choices if kind not in FAMILIES],
    )
    if width == "auto":
        check(job, Shape(WIDTHS[0], min(depths(job))))
        for kinds in groups:
            if best := best_family(job, kinds, min(FULL, 1.0 - margin)):
                return best
    shape = Shape(WIDTHS[0] if width == "auto" else width, min(depths(job)))
    cheapest = np.inf
    for kinds in groups:
        standing = [kind for kind in kinds if stands_everywhere(kind, job.space_at(shape))]
        costs = [min(cost_of(job, kind, shape) for _ in range(2)) for kind in standing]
        fitting = [
            (kind, shape)
            for kind, cost in zip(standing, costs, strict=True)
            if cost <= job.budget_ms * (1.0 - margin / 2)
        ]
        if fitting:
            return fitting[int(np.argmax(capacities_of(job, fitting)))]
        cheapest = min([cheapest, *costs])
    if cheapest == np.inf:
        raise SpaceError("without a search one operator has to stand at all layers; none of the choices can")
    kept_free = f"{margin / 2:.2g} of it is kept free (search.margin); " if margin else ""
    raise InfeasibleBudget(job.budget_ms, cheapest, kept_free + advice(job))
