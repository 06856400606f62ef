"""Before anything else: can the budget be met at all, and how wide should the skeleton be?

A handful of whole networks with random weights is measured on the device at a few widths; the width is
chosen so that the budget lies in the middle of what the space costs, and a budget that even the cheapest
networks miss by far ends the run within seconds.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from hurricane import ops
from hurricane.devices import measure_architectures
from hurricane.errors import InfeasibleBudget
from hurricane.latency import Floats
from hurricane.space import Archs, SearchSpace
from hurricane.steps.job import Job

WIDTHS = (0.25, 0.5, 1.0, 2.0)
WIDTH_STEP = 0.05
NETWORKS_PER_WIDTH = 3
# The cheapest by MACs need not be the cheapest on the device; further from the budget than this it is hopeless.
DOUBT = 0.75
QUICK = {"rounds": 2, "seconds": 0.03}


def cheap_networks(space: SearchSpace) -> Archs:
    """Networks that are likely to be among the cheapest: fewest MACs, and one operator everywhere."""
    rows = [_extreme(space, np.argmin)]
    for kind in ("sep_k3", "choice_k3", "skip"):
        if all(kind in layer.choices for layer in space.layers):
            rows.append([layer.choices.index(kind) for layer in space.layers])
    return np.unique(np.array(rows), axis=0)


def dear_network(space: SearchSpace) -> Archs:
    """The network with the most MACs, as one row."""
    return np.array([_extreme(space, np.argmax)])


def _extreme(space: SearchSpace, pick: Callable[[list[int]], Any]) -> list[int]:
    return [
        int(pick([ops.graph(layer.spec(choice)).macs for choice in layer.choices])) for layer in space.layers
    ]


def measured_ms(job: Job, space: SearchSpace, archs: Archs) -> Floats:
    """Quick medians of whole networks on the device: (n,) milliseconds."""
    samples = measure_architectures(
        job.device, space, archs, rounds=int(QUICK["rounds"]), seconds=float(QUICK["seconds"])
    )
    return np.array([sample.median_ms for sample in samples])


def check(job: Job, width: float) -> tuple[float, float]:
    """Measured cheapest and dearest network at a width, milliseconds; says how they lie to the budget.

    Raises InfeasibleBudget where the budget is out of reach beyond doubt.
    """
    space = job.space_at(width)
    cheap = float(measured_ms(job, space, cheap_networks(space)).min())
    budget = job.config.max_ms
    if budget is not None and budget < cheap * DOUBT:
        raise InfeasibleBudget(budget, cheap, _advice(job))
    dear = float(measured_ms(job, space, dear_network(space))[0])
    return cheap, dear


def _advice(job: Job) -> str:
    if job.config.space.width == "auto":
        return "that is the narrowest skeleton; raise --max-latency or use smaller pictures (--image-size)"
    return "raise --max-latency, or give a smaller width (--set space.width=0.5) or --image-size"


def decide(job: Job) -> None:
    """Check the budget against measured extremes; decide and record the width unless it is given or known."""
    known = job.run.decision("width")
    settings = [job.config.space.model_dump(mode="json"), job.config.device]
    if job.config.space.width != "auto":
        width, reason = job.config.space.width, "given"
    elif known is not None and known["settings"] == settings:
        return
    else:
        check(job, WIDTHS[0])
        width, reason = _fitted_width(job)
    cheap, dear = check(job, width)
    job.view.say(
        f"width {width:g} ({reason}): networks measured from {cheap:.3g} ms (few MACs) to {dear:.3g} ms (most)"
    )
    if job.budget_ms > dear:
        job.view.say("the budget is above the slowest network of the space: it is kept trivially")
    job.run.decide(
        "width",
        {"value": width, "reason": reason, "cheap_ms": cheap, "dear_ms": dear, "settings": settings},
    )


def _fitted_width(job: Job) -> tuple[float, str]:
    """The width at which random networks cost the budget, interpolated between measured widths."""
    rng = np.random.default_rng(job.config.run.seed)
    medians = []
    for width in WIDTHS:
        space = job.space_at(width)
        archs = space.random(NETWORKS_PER_WIDTH, rng)
        medians.append(float(np.median(measured_ms(job, space, archs))))
        if medians[-1] > 2 * job.budget_ms and len(medians) > 1:
            break
    widths = np.log(WIDTHS[: len(medians)])
    costs = np.maximum.accumulate(np.log(medians))
    fitted = float(np.exp(np.interp(np.log(job.budget_ms), costs, widths)))
    width = float(np.clip(round(fitted / WIDTH_STEP) * WIDTH_STEP, WIDTHS[0], WIDTHS[-1]))
    return round(width, 2), "fitted so that random networks cost about the budget"
