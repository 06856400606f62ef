"""The parts that the supernet is trained in: what each may choose from (arXiv 1910.11609; warm-up: ours)."""

from collections.abc import Sequence
from dataclasses import dataclass

from hurricane.latency import Floats
from hurricane.nn import form
from hurricane.space import LayerSpec, SearchSpace
from hurricane.steps.job import Job

WARM_UP, STAGE1, STAGE2 = "supernet/warm_up", "supernet/stage1", "supernet/stage2"
LABELS = {WARM_UP: "warm-up", STAGE1: "stage 1", STAGE2: "stage 2"}


@dataclass(frozen=True)
class Stage:
    """One part of the training: the narrowing of the hardware-aware space that it trains."""

    name: str
    space: SearchSpace


def later_count(job: Job) -> int:
    """Number of layers in the later group (the paper's reading here: 8 of 20)."""
    given = job.config.supernet.later_layers
    layers = len(job.small_space.layers)
    return min(layers - 1, max(1, round(0.4 * layers))) if given == "auto" else min(layers - 1, max(1, given))


def representatives(job: Job) -> SearchSpace:
    """At each layer one operator of each form: the one whose cost is nearest to the mean of its form."""
    costs = job.latency_model.costs(job.small_space).layers
    names = []
    for layer, cost in zip(job.small_space.layers, costs, strict=True):
        forms: dict[object, list[int]] = {}
        for index, choice in enumerate(layer.choices):
            forms.setdefault(form(layer.spec(choice)), []).append(index)
        names.append([layer.choices[_nearest_to_mean(cost, same)] for same in forms.values()])
    return job.small_space.narrow(names)


def first(job: Job) -> Stage:
    """Stage 1: earlier layers fixed, each to one operator that the warm-up trained; all layers free in one stage.

    The paper fixes hardware-efficient operators; all that are kept are such. Of these the one nearest to the layer's
    mean cost leaves the later layers their share of the budget (reading): with the cheapest everywhere the dearest
    later layers could not use the budget up, with the dearest none would fit.
    """
    space, model = job.small_space, job.latency_model
    if job.config.supernet.stages == 1:
        return Stage(STAGE1, space)
    earlier = len(space.layers) - later_count(job)
    costs = model.costs(space).layers
    few = representatives(job)
    mean = [_mean_choice(*each) for each in zip(space.layers, few.layers, costs, strict=True)]
    cheapest = [layer.choices[int(cost.argmin())] for layer, cost in zip(space.layers, costs, strict=True)]
    for fixed in (mean, cheapest):
        narrowed = space.narrow(
            [(fixed[i],) if i < earlier else layer.choices for i, layer in enumerate(space.layers)]
        )
        if model.costs(narrowed).cheapest_ms <= 0.9 * job.budget_ms:
            break
    return Stage(STAGE1, narrowed)


def second(job: Job, later: Sequence[str]) -> Stage:
    """Stage 2: later layers fixed as found in stage 1."""
    space, earlier = job.small_space, len(job.small_space.layers) - later_count(job)
    names = [layer.choices if i < earlier else (later[i],) for i, layer in enumerate(space.layers)]
    return Stage(STAGE2, space.narrow(names))


def _mean_choice(layer: LayerSpec, few: LayerSpec, cost: Floats) -> str:
    """Of a few choices of a layer the one whose cost is nearest to the mean of all."""
    distance = abs(cost - cost.mean())
    return min(few.choices, key=lambda name: float(distance[layer.choices.index(name)]))


def _nearest_to_mean(cost: Floats, among: Sequence[int]) -> int:
    mean = sum(float(cost[index]) for index in among) / len(among)
    return min(among, key=lambda index: abs(float(cost[index]) - mean))
