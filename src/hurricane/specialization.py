"""The hardware-aware search space: at each layer, the operators that give most capacity per millisecond.

arXiv 1910.11609 keeps for each layer the operators with the best representation capacity per latency on the
target, capacity being judged by FLOPs and parameters. How these combine, and how many are kept (about five),
is our reading and a parameter:

    score = (macs * params * bends^1/2)^1/2.5 / price(latency)^beta

each as a share of the largest of the layer. Bends are channels with a rectifier behind them (ours): of networks with
equal MACs and parameters, those that bend more came out ahead when trained to the end (docs/RESULTS.md); "product"
leaves them out, as the paper's words do. MACs and parameters count as far as they meet pixels and not the padding
(ours): at 4 pixels a 7 x 7 kernel sees a third of its taps, and networks full of large kernels were worse than their
MACs promised. The price of a latency is "absolute", exp(latency / mean latency of a layer), so that a
millisecond weighs the same at every layer (ours: what is kept is best where the sum of logarithms of capacity is to be
largest within the budget), or "relative", latency / max latency (the plain ratio of the paper's words at beta 1).
With a budget, beta is bisected so that the mean architecture of what is kept costs the budget.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from hurricane import ops
from hurricane.errors import InfeasibleBudget, LatencyError, SpaceError
from hurricane.latency import AdditiveCosts, CostModel, Floats, LatencyTable
from hurricane.space import LayerSpec, SearchSpace

Capacity = Literal["bending", "product", "sum"]
Price = Literal["absolute", "relative"]

BETA_RANGE = (0.0, 64.0)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of one choice at one layer, and why. cost_ms is nan where the device cannot run it."""

    choice: str
    kept: bool
    reason: str
    cost_ms: float
    macs: int
    params: int
    score: float


@dataclass(frozen=True)
class Specialization:
    """The hardware-aware space with the figures that led to it.

    space : what is kept. layers : one judgement for each choice of each layer of the full space.
    beta : the exponent of latency that was used. efficient : at each layer the kept choice of best score.
    """

    space: SearchSpace
    layers: tuple[tuple[Judgement, ...], ...]
    beta: float
    capacity: Capacity

    @property
    def efficient(self) -> tuple[str, ...]:
        """At each layer the kept choice with the best score: what a fixed layer is given."""
        return tuple(max((j for j in layer if j.kept), key=lambda j: j.score).choice for layer in self.layers)


@dataclass(frozen=True)
class _Layer:
    """A layer with its figures: arrays over the choices that the device can run and that are no twins.

    price : logarithm of the price of each choice's latency.
    """

    layer: LayerSpec
    usable: tuple[int, ...]
    excluded: dict[int, str]
    capacity: Floats
    cost: Floats
    price: Floats


def specialize(
    space: SearchSpace, table: CostModel, keep: int = 5, max_ms: float | None = None
) -> SearchSpace:
    """The hardware-aware space: the `keep` best choices at each layer (arXiv 1910.11609; score: our reading).

    Parameters
    ----------
    table : prices the choices; those that the device cannot run are left out.
    keep : choices kept at each layer, at least 1.
    max_ms : the budget, milliseconds; None judges by the plain ratio of capacity to latency (beta 1).

    Raises InfeasibleBudget where no architecture of the full space fits the budget.
    """
    return judge(space, table, keep=keep, max_ms=max_ms).space


def judge(
    space: SearchSpace,
    table: CostModel,
    *,
    keep: int = 5,
    max_ms: float | None = None,
    beta: float | None = None,
    capacity: Capacity = "bending",
    price: Price = "relative",
) -> Specialization:
    """As `specialize`, with the reasons: every choice of every layer, kept or dropped, with its figures.

    beta : exponent of the price; None bisects it to the budget (or takes 1 without a budget).
    capacity : of an operator, see `capacities`.
    price : of latency, "absolute" or "relative" to the layer's dearest operator.
    """
    if keep < 1:
        raise SpaceError(f"{keep} operators a layer cannot be kept; at least 1 is needed")
    layers = [_measured(number, layer, space, table, capacity) for number, layer in enumerate(space.layers)]
    if price == "absolute":
        layers = _absolute(layers)
    fixed_ms = _fixed_ms(space, table, layers)
    if max_ms is not None:
        cheapest = fixed_ms + sum(float(layer.cost.min()) for layer in layers)
        if not cheapest <= max_ms:
            raise InfeasibleBudget(max_ms, cheapest, "raise the budget or use a narrower or shallower space")
    if beta is None:
        beta = 1.0 if max_ms is None else _bisected(layers, keep, max_ms - fixed_ms)
    kept = [_best(layer, keep, beta) for layer in layers]
    names = [
        [layer.layer.choices[layer.usable[i]] for i in sorted(best)]
        for layer, best in zip(layers, kept, strict=True)
    ]
    judged = tuple(_judged(layer, best, beta, keep) for layer, best in zip(layers, kept, strict=True))
    return Specialization(space.narrow(names), judged, beta, capacity)


def capacities(networks: Sequence[Sequence[ops.Graph]], kind: Capacity) -> Floats:
    """Capacity of networks (or of single operators), each a sequence of graphs: (n,), comparable among themselves.

    kind : "product" is the geometric mean of MACs and parameters, "sum" their mean; "bending" is a geometric mean, too,
        to which the channels with rectifiers contribute half as much as each of these. All as shares of the largest.
    """
    macs = _shares(np.array([sum(graph.seen_macs for graph in graphs) for graphs in networks]))
    params = _shares(np.array([sum(graph.seen_params for graph in graphs) for graphs in networks]))
    found: Floats = (macs + params) / 2
    if kind == "product":
        found = np.sqrt(macs * params)
    elif kind == "bending":
        bends = _shares(np.array([float(sum(graph.bends for graph in graphs)) for graphs in networks]))
        found = (macs * params * np.sqrt(bends)) ** 0.4
    return found


def _measured(
    number: int, layer: LayerSpec, space: SearchSpace, table: CostModel, capacity: Capacity
) -> _Layer:
    excluded, usable, costs = {}, [], []
    seen: dict[ops.Graph, str] = {}
    for index, choice in enumerate(layer.choices):
        graph = ops.graph(layer.spec(choice))
        reason = table.unsupported.get(layer.spec(choice)) if isinstance(table, LatencyTable) else None
        if reason is not None:
            excluded[index] = f"the device cannot run it: {reason}"
        elif graph in seen:
            excluded[index] = f"the same network as {seen[graph]} here"
        else:
            seen[graph] = choice
            usable.append(index)
            costs.append(_cost(space, table, number, choice))
    if not usable:
        raise LatencyError(f"the device can run none of the choices of layer {number}")
    power = capacities([[ops.graph(layer.spec(layer.choices[index]))] for index in usable], capacity)
    cost = np.array(costs)
    # A cost of nothing counts as a thousandth of the dearest.
    relative = np.log(np.maximum(cost / max(float(cost.max()), 1e-12), 1e-3))
    return _Layer(layer, tuple(usable), excluded, power, cost, relative)


def _absolute(layers: Sequence[_Layer]) -> list[_Layer]:
    """The layers with prices in units of the mean latency of a layer."""
    mean = sum(float(layer.cost.mean()) for layer in layers) / len(layers)
    return [replace(layer, price=layer.cost / max(mean, 1e-12)) for layer in layers]


def _cost(space: SearchSpace, table: CostModel, number: int, choice: str) -> float:
    """Cost of one choice, asked through a narrowing to it (a table may hold others that cannot run)."""
    if isinstance(table, LatencyTable):
        return table.cost_of(number, space.layers[number].spec(choice))
    layer = space.layers[number]
    return float(table.costs(space).layers[number][layer.choices.index(choice)])


def _fixed_ms(space: SearchSpace, table: CostModel, layers: Sequence[_Layer]) -> float:
    runnable = space.narrow([[layer.layer.choices[layer.usable[0]]] for layer in layers])
    costs: AdditiveCosts = table.costs(runnable)
    return costs.fixed_ms


def _shares(values: Floats) -> Floats:
    # An operator without weights (skip) has a little capacity, so that its score is a number.
    top = max(float(values.max()), 1.0)
    shares: Floats = np.maximum(values, 1e-3 * top) / top
    return shares


def _scores(layer: _Layer, beta: float) -> Floats:
    """Logarithm of the score."""
    scores: Floats = np.log(layer.capacity) - beta * layer.price
    return scores


def _best(layer: _Layer, keep: int, beta: float) -> list[int]:
    order = np.argsort(-_scores(layer, beta), kind="stable")
    return [int(index) for index in order[:keep]]


def _mean_cost(layers: Sequence[_Layer], keep: int, beta: float) -> float:
    return sum(float(layer.cost[_best(layer, keep, beta)].mean()) for layer in layers)


def _bisected(layers: Sequence[_Layer], keep: int, room_ms: float) -> float:
    """The smallest beta at which the mean architecture of what is kept fits the room."""
    low, high = BETA_RANGE
    if _mean_cost(layers, keep, low) <= room_ms:
        return low
    for _ in range(40):
        middle = (low + high) / 2
        if _mean_cost(layers, keep, middle) <= room_ms:
            high = middle
        else:
            low = middle
    return high


def _judged(layer: _Layer, best: Sequence[int], beta: float, keep: int) -> tuple[Judgement, ...]:
    scores = np.exp(_scores(layer, beta))
    ranks = np.argsort(np.argsort(-scores, kind="stable"), kind="stable") + 1
    judged = []
    for index, choice in enumerate(layer.layer.choices):
        graph = ops.graph(layer.layer.spec(choice))
        if index in layer.excluded:
            judged.append(
                Judgement(choice, False, layer.excluded[index], float("nan"), graph.macs, graph.params, 0.0)
            )
            continue
        place = layer.usable.index(index)
        kept = place in best
        reason = f"rank {ranks[place]} of {len(layer.usable)} by capacity per latency (beta {beta:.2f})"
        reason += "" if kept else f"; {keep} are kept"
        cost, score = float(layer.cost[place]), float(scores[place])
        judged.append(Judgement(choice, kept, reason, cost, graph.macs, graph.params, score))
    return tuple(judged)
