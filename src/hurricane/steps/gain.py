"""What a search can gain on this device above one operator at all layers, told before anything is trained.

Of networks that take as long those are better when they are trained to the end that compute more where channels are
mixed (docs/RESULTS.md, what decides at one latency). How much more of that a mixture of operators can have than one
operator at all layers is known as soon as the device is profiled: much where operators cost unevenly, next to nothing
where one of them is good at every layer. Then a search is not worth its training.
"""

from collections.abc import Mapping
from typing import Any

from hurricane.latency import CostModel
from hurricane.search import most_within
from hurricane.space import SearchSpace
from hurricane.steps.job import Job

# Less than this share is little: e times as much was worth 2.3 points after a usual training.
LITTLE = 0.1


def above_plain(job: Job, space: SearchSpace, cost: CostModel) -> dict[str, Any] | None:
    """Mixing MACs of the plain network that the shape was fitted to, and the most of a space within the budget.

    None where there is no search, where no plain network was fitted to this budget, and where nothing of the space
    keeps it.
    """
    decided = job.run.decision("width") if job.searches else None
    if decided is None or not decided.get("plain") or decided.get("budget_ms") != job.budget_ms:
        return None
    costs, max_ms = cost.costs(space), job.budget_ms * (1.0 - job.config.search.margin)
    if costs.cheapest_ms > max_ms:
        return None
    arch = most_within(space.mixing_macs_by_layer(), costs, max_ms)
    return {**decided["plain"], "most_mixing_macs": int(space.mixing_macs([arch])[0])}


def in_words(found: Mapping[str, Any]) -> str:
    """The same in a sentence, for a user who may do without a search."""
    most, plain = found["most_mixing_macs"], found["mixing_macs"]
    more = most / plain - 1.0
    told = f"{abs(more):.0%} {'more' if more >= 0 else 'fewer'} than" if abs(more) >= 0.005 else "as many as"
    advice = "; so little is seldom worth a search: --no-search may do as well" if more < LITTLE else ""
    return (
        f"within the budget a network can have {most / 1e6:.3g} million MACs that mix channels (not depthwise), "
        f"{told} {found['operator']} at all layers{advice}"
    )
