"""Before anything else: can the budget be met at all, and how wide and deep should the skeleton be?

A handful of whole networks with random weights is measured on the device at a few widths and depths; the shape is
chosen so that the budget buys most capacity and leaves something to choose, and a budget that even the cheapest
networks miss by far ends the run within seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from hurricane import ops
from hurricane.devices import measure_architectures, open_device
from hurricane.errors import InfeasibleBudget
from hurricane.latency import Floats
from hurricane.space import Archs, SearchSpace, Shape
from hurricane.specialization import capacities
from hurricane.steps.job import Job, decided_shape

WIDTHS = (0.25, 0.5, 1.0, 2.0)
WIDTH_STEP = 0.05
NETWORKS_PER_WIDTH = 3
# One operator everywhere, from cheap to dear, where it fills the budget but for the device's noise. A narrower skeleton
# would leave room for dearer operators, which are worth less than the width that they cost (docs/RESULTS.md, what
# decides at one latency).
FAMILIES = ("sep_k3", "mb_k3_e3", "mb_k3_e6", "choice_k3")
FULL = 0.95
# Where a search keeps more of the budget free, what fills its space stays so far below; and where next to nothing is
# cheaper than that, it takes no more than `FILLED`, for otherwise nothing is left to choose.
BELOW = 0.03
FILLED = 0.8
# Layers cost time even where they compute little, so a short budget may be better spent on fewer and wider ones. But
# widths come in steps, so small gains are luck, and fewer layers leave less to search: other depths must buy more.
DEPTHS = (1.0, 0.7, 0.5, 1.4)
WORTHWHILE = 1.15
# The cheapest by MACs need not be the cheapest on the device; further from the budget than this it is hopeless.
DOUBT = 0.75
SMALLER = "a smaller width or depth (--set space.width=..., space.depth=...) or --image-size"
QUICK = {"rounds": 3, "seconds": 0.02}


def cheap_networks(space: SearchSpace) -> Archs:
    """Networks that are likely to be among the cheapest: fewest MACs, and one operator everywhere."""
    rows = [_extreme(space, np.argmin)]
    for kind in ("sep_k3", "choice_k3", "skip"):
        if stands_everywhere(kind, space):
            rows.append(everywhere(kind, space)[0].tolist())
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


def check(job: Job, shape: Shape) -> tuple[float, float]:
    """Measured cheapest and dearest network of a shape, milliseconds; says how they lie to the budget.

    Raises InfeasibleBudget where the budget is out of reach beyond doubt.
    """
    space = job.space_at(shape)
    cheap = float(measured_ms(job, space, cheap_networks(space)).min())
    budget = job.config.max_ms
    if budget is not None and budget < cheap * DOUBT:
        raise InfeasibleBudget(budget, cheap, advice(job))
    dear = float(measured_ms(job, space, dear_network(space))[0])
    return cheap, dear


def advice(job: Job) -> str:
    """What to do about a budget that is out of reach."""
    if job.config.space.width != "auto":
        return f"raise --max-latency, or give {SMALLER}"
    if job.config.space.depth != "auto":
        return "that is the narrowest skeleton of its depth; raise --max-latency, or --set space.depth=auto"
    return "that is the smallest skeleton; raise --max-latency or use smaller pictures (--image-size)"


def decide(job: Job) -> None:
    """Check the budget against measured extremes; decide and record width and depth unless given or known."""
    known = job.run.decision("width")
    settings = [job.config.space.model_dump(mode="json"), job.device.name, job.config.specialize.capacity]
    # A width that was fitted stays for a later budget; a given one is checked against each budget once.
    if (
        known is not None
        and _spelled_out(job, known["settings"], known) == _spelled_out(job, settings, known)
        and (job.config.space.width == "auto" or known.get("budget_ms") == job.budget_ms)
    ):
        return
    given = job.config.space.width
    with job.view.bar("measuring a few whole networks", 3 if given == "auto" else 1) as bar:
        if given != "auto":
            shape, reason, leading = job.shape, "given", None
        else:
            check(job, Shape(WIDTHS[0], min(depths(job))))
            bar.advance(1)
            shape, reason, leading = _fitted(job)
            bar.advance(1)
        cheap, dear = check(job, shape)
        bar.advance(1)
    job.view.say(
        f"{shape} ({reason}): networks measured from {cheap:.3g} ms (few MACs) to {dear:.3g} ms (most)"
    )
    if job.budget_ms > dear:
        job.view.say("the budget is above the slowest network of the space: it is kept trivially")
    job.run.decide(
        "width",
        {
            "value": shape.width,
            "depth": shape.depth,
            "reason": reason,
            "cheap_ms": cheap,
            "dear_ms": dear,
            "leading": leading,
            "settings": settings,
            "budget_ms": job.budget_ms,
        },
    )


def _spelled_out(job: Job, settings: list[Any], decided: Mapping[str, Any]) -> list[Any]:
    """The settings with what the run chose or the device leaves out: the same, said in full, is no other shape."""
    space, device, capacity = settings
    shape = asdict(decided_shape(decided))
    fitted = {name: value for name, value in shape.items() if space[name] == "auto"}
    chosen = {name: job.identity[name] for name in ("preset", "image_size")}
    return [{**space, **fitted, **chosen}, open_device(device).name, capacity]


def depths(job: Job) -> tuple[float, ...]:
    """The depths that come into question, the usual one first: all where the run is to fit its shape, else one."""
    section = job.config.space
    if section.depth != "auto":
        return (section.depth,)
    return DEPTHS if section.width == "auto" else DEPTHS[:1]


def _fitted(job: Job) -> tuple[Shape, str, str | None]:
    """The shape in which the budget buys most capacity, in words why, and the operator that fills the budget in it.

    Families with one operator everywhere are as wide as lets them fill the budget. That whose searched layers
    have most capacity names depth and width: cheap operators on a wide skeleton on one device, dear ones on a narrow
    one on another (docs/RESULTS.md, families at one latency). None where no operator fills the budget in the shape.
    """
    share = min(FULL, 1.0 - job.config.search.margin - BELOW)
    best = best_family(job, FAMILIES, share)
    if best is None:
        return middle_shape(job), "fitted so that random networks cost about the budget", None
    kind, shape = best
    leading: str | None = kind
    space = job.space_at(shape)
    if measured_ms(job, space, cheap_networks(space)).min() > FILLED * job.budget_ms:
        narrower = _widest(job, kind, shape.depth, FILLED)
        if narrower is not None:
            share, shape, leading = FILLED, narrower, None
    if shape.width == WIDTHS[-1]:
        return shape, f"the widest: even {kind} everywhere takes less than {share:.0%} of the budget", None
    return shape, f"most capacity for the budget: {kind} everywhere takes about {share:.0%} of it", leading


def best_family(job: Job, kinds: Sequence[str], share: float) -> tuple[str, Shape] | None:
    """The operator with most capacity where it takes such a share of the budget everywhere, and the shape for that."""
    usual, *others = depths(job)
    found = _families(job, kinds, [usual], share) or _families(job, kinds, others, share)
    if not found:
        return None
    kind, shape = found[int(np.argmax(capacities_of(job, found)))]
    tried = [(kind, shape), *_families(job, [kind], others, share)]
    gains = capacities_of(job, tried)
    best = int(np.argmax(gains))
    return tried[best] if gains[best] >= WORTHWHILE * gains[0] else (kind, shape)


def _families(
    job: Job, kinds: Sequence[str], depths: Sequence[float], share: float
) -> list[tuple[str, Shape]]:
    """Operators, each with the shape in which it takes a share of the budget; those that cannot are left out."""
    shapes = [(kind, _widest(job, kind, depth, share)) for depth in depths for kind in kinds]
    return [(kind, shape) for kind, shape in shapes if shape is not None]


def capacities_of(job: Job, families: Sequence[tuple[str, Shape]]) -> Floats:
    """Capacity of the searched layers of each, comparable among themselves."""
    graphs = [
        [ops.graph(layer.spec(kind)) for layer in job.space_at(shape).layers] for kind, shape in families
    ]
    return capacities(graphs, job.config.specialize.capacity)


def stands_everywhere(kind: str, space: SearchSpace) -> bool:
    """Whether each layer has the operator among its choices."""
    return all(kind in layer.choices for layer in space.layers)


def everywhere(kind: str, space: SearchSpace) -> Archs:
    """The architecture with one operator at all layers, as one row."""
    return np.array([space.indices((kind,) * len(space.layers))])


def cost_of(job: Job, kind: str, shape: Shape) -> float:
    """Measured milliseconds of one operator everywhere."""
    space = job.space_at(shape)
    return float(measured_ms(job, space, everywhere(kind, space))[0])


def _widest(job: Job, kind: str, depth: float, share: float) -> Shape | None:
    """The largest width at which one operator everywhere takes no more than a share of the budget.

    None where there is none or a layer lacks the operator. The width is doubled until it costs more, then halved in
    between, for channels come in steps and costs with them.
    """
    if not stands_everywhere(kind, job.space_at(Shape(WIDTHS[0], depth))):
        return None

    def fits(steps: int) -> bool:
        shape = Shape(round(steps * WIDTH_STEP, 2), depth)
        # A slow spell of the device must not pass for a network that is too slow.
        return any(cost_of(job, kind, shape) <= share * job.budget_ms for _ in range(2))

    steps = [round(width / WIDTH_STEP) for width in WIDTHS]
    above = next((number for number, step in enumerate(steps) if not fits(step)), len(steps))
    if above == 0:
        return None
    if above == len(steps):
        return Shape(WIDTHS[-1], depth)
    low, high = steps[above - 1], steps[above]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return Shape(round(low * WIDTH_STEP, 2), depth)


def _interpolated(costs: list[float], wanted_ms: float) -> float:
    """The width, rounded down and within `WIDTHS`, at which measured costs reach what is wanted."""
    widths = np.log(WIDTHS[: len(costs)])
    rising = np.maximum.accumulate(np.log(costs))
    fitted = float(np.exp(np.interp(np.log(wanted_ms), rising, widths)))
    return round(float(np.clip(int(fitted / WIDTH_STEP + 1e-6) * WIDTH_STEP, WIDTHS[0], WIDTHS[-1])), 2)


def middle_shape(job: Job) -> Shape:
    """The shape in which random networks cost the budget, interpolated between measured widths.

    Its depth is the usual one, or the least where even the narrowest skeleton of that costs more.
    """
    rng = np.random.default_rng(job.config.run.seed)
    usual, *others = depths(job)
    for depth in (usual, min(others, default=usual)):
        medians: list[float] = []
        for width in WIDTHS:
            space = job.space_at(Shape(width, depth))
            archs = space.random(NETWORKS_PER_WIDTH, rng)
            medians.append(float(np.median(measured_ms(job, space, archs))))
            if medians[-1] > 2 * job.budget_ms and len(medians) > 1:
                break
        if medians[0] <= job.budget_ms:
            break
    return Shape(_interpolated(medians, job.budget_ms), depth)
