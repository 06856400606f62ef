"""What a search can gain on this device above one operator at all layers, told before anything is trained.

Of inverted bottlenecks that take as long those are better when they are trained to the end that compute more where
channels are mixed (docs/RESULTS.md, what decides at one latency). How much more of that a mixture of operators can have
than one operator at all layers is known as soon as the device is profiled: much where operators cost unevenly, next to
nothing where one of them is good at every layer, and then a search is hardly worth its training. It is an indication,
not a prediction: other forms of operators need more or less for the same.
"""

from dataclasses import dataclass

from hurricane.latency import CostModel
from hurricane.search import most_within
from hurricane.space import SearchSpace
from hurricane.steps import feasibility
from hurricane.steps.job import Job, decided_shape

# Less than this share is little: e times as much was worth 2.3 points after a usual training.
LITTLE = 0.1


@dataclass(frozen=True, slots=True)
class Gain:
    """Mixing MACs of one operator at all layers, and the most that a network of the space has within the budget."""

    operator: str
    plain: int
    most: int


def of(job: Job, space: SearchSpace, cost: CostModel) -> Gain | None:
    """What a search in a space (the hardware-aware one) can gain, at these costs.

    None where there is no search, where the shape was not fitted so that one operator fills this budget (it was given,
    for instance), and where nothing of the space keeps the budget.
    """
    decided = job.run.decision("width") if job.searches else None
    if (
        decided is None
        or not decided.get("leading")
        or decided.get("budget_ms") != job.budget_ms
        or decided_shape(decided) != job.shape
    ):
        return None
    costs, max_ms = cost.costs(space), job.budget_ms * (1.0 - job.config.search.margin)
    if costs.cheapest_ms > max_ms:
        return None
    full, operator = job.space_at(job.shape), decided["leading"]
    # Step by step the choices can change without the shape being fitted again.
    if not feasibility.stands_everywhere(operator, full):
        return None
    arch = most_within(space.mixing_macs_by_layer(), costs, max_ms)
    plain = full.mixing_macs(feasibility.everywhere(operator, full))
    return Gain(operator, int(plain[0]), int(space.mixing_macs([arch])[0]))


def in_words(job: Job, space: SearchSpace, cost: CostModel) -> str:
    """The same in a sentence, for a user who may do without a search; empty where nothing is known."""
    found = of(job, space, cost)
    return "" if found is None else sentence(found)


def sentence(found: Gain) -> str:
    """A gain in words."""
    more, millions = found.most / found.plain - 1.0, found.most / 1e6
    told = f"{abs(more):.0%} {'more' if more >= 0 else 'fewer'} than" if abs(more) >= 0.005 else "as many as"
    advice = "; so little is seldom worth a search: --no-search may do as well" if more < LITTLE else ""
    count = f"{millions:.3g}" if millions < 100 else f"{millions:,.0f}"
    return (
        f"within the budget a network of this space can have {count} million MACs that mix channels (not depthwise), "
        f"{told} {found.operator} at all layers{advice}"
    )
