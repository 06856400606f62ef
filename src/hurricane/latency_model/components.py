"""In which ways a table can be wrong: groups of operators whose corrections go together.

Costs are one vector: an entry for each (layer, choice), and a last one for what is fixed. A component is a matrix
(entries, corrections): each column says how one correction moves the costs. What the columns are worth is not decided
here but learned from measured networks (`hurricane.latency_model.evidence`).
"""

from collections.abc import Hashable, Sequence
from functools import lru_cache

import numpy as np

from hurricane import ops
from hurricane.latency import AdditiveCosts, Floats
from hurricane.ops import OpSpec
from hurricane.space import Archs, SearchSpace

# Standard deviation expected of each correction before anything is measured, as a share of what it corrects: with a
# table, and with nothing but counts. A guess that a dozen networks overrule.
# For how many networks that counts; what all networks share may be large (a call's overhead) and shows soon.
TRUST = {"offset": 0.1, "factor": 0.1}
EXPECTED = {
    "offset": (0.05, 1.0),
    "factor": (0.05, 0.3),
    "counts": (0.03, 0.3),
    "layer": (0.03, 0.1),
    "kind": (0.03, 0.1),
    "call": (0.03, 0.1),
    "shape": (0.03, 0.1),
    "kind and size": (0.03, 0.1),
    "operator": (0.03, 0.1),
    "entry": (0.02, 0.1),
}


def components(space: SearchSpace, centre: AdditiveCosts, scale_ms: float) -> dict[str, Floats]:
    """Every way to be wrong by name: (entries, corrections), milliseconds a unit of correction.

    offset : of every network. factor : on everything. counts : cost in proportion to dense and depthwise MACs,
    parameters, values written and primitives. layer, kind, shape, kind and size, operator : a factor on the entries
    that share it (an operator timed wrongly is wrong at every layer where it stands). call : a constant for each
    kind. entry : each (layer, choice) alone.

    Parameters
    ----------
    centre : costs that are corrected.
    scale_ms : latency of a typical network.
    """
    specs = [layer.spec(choice) for layer in space.layers for choice in layer.choices]
    layers = [number for number, layer in enumerate(space.layers) for _ in layer.choices]
    costs, each = vector(centre), np.full(len(specs), scale_ms / len(space.layers))
    kinds = [spec.kind for spec in specs]
    return {
        "offset": np.append(np.zeros(len(specs)), scale_ms)[:, None],
        "factor": costs[:, None],
        "counts": scale_ms * counts(space),
        "layer": _grouped(layers, costs[:-1]),
        "kind": _grouped(kinds, costs[:-1]),
        "call": _grouped(kinds, each),
        "shape": _grouped([(s.cin, s.cout, s.stride, s.size) for s in specs], costs[:-1]),
        "kind and size": _grouped([(s.kind, s.size, s.stride) for s in specs], costs[:-1]),
        "operator": _grouped(specs, costs[:-1]),
        "entry": _grouped(range(len(specs)), costs[:-1]),
    }


@lru_cache(maxsize=8)
def counts(space: SearchSpace) -> Floats:
    """What can be counted without a device, (entries, 5): each column sums to 1 over a typical network."""
    searched = [[_counted(layer.spec(choice)) for choice in layer.choices] for layer in space.layers]
    fixed = np.sum([_counted(spec) for spec in space.fixed_specs], axis=0)
    total = fixed + np.sum([np.mean(layer, axis=0) for layer in searched], axis=0)
    rows = np.array([*(row for layer in searched for row in layer), fixed])
    shares: Floats = rows / np.maximum(total, 1e-300)
    return shares


def counted_costs(space: SearchSpace) -> AdditiveCosts:
    """Costs from counts alone, where there is no table: a typical network costs 1."""
    return costs_of(space, counts(space).mean(axis=1))


def vector(costs: AdditiveCosts) -> Floats:
    """Costs as one vector: every (layer, choice), then what is fixed."""
    return np.append(np.concatenate(costs.layers), costs.fixed_ms)


def costs_of(space: SearchSpace, entries: Floats) -> AdditiveCosts:
    """The costs that `vector` wrote; what a layer would cost below 0 is carried by the fixed part."""
    layers = np.split(entries[:-1], np.cumsum(space.counts)[:-1])
    shifts = [min(0.0, float(layer.min())) for layer in layers]
    lifted = tuple(layer - shift for layer, shift in zip(layers, shifts, strict=True))
    return AdditiveCosts(lifted, float(entries[-1]) + sum(shifts))


def entries_of(space: SearchSpace, archs: Archs) -> Archs:
    """Places in the vector that each architecture adds up: (n, layers) -> (n, layers + 1)."""
    ends = np.cumsum(space.counts)
    fixed = np.full((len(archs), 1), ends[-1], dtype=np.int64)
    return np.concatenate([archs + np.append(0, ends[:-1]), fixed], axis=1)


def one_hot(space: SearchSpace, archs: Archs) -> Floats:
    """The same as a matrix of zeros and ones: (n, entries)."""
    places = entries_of(space, archs)
    design = np.zeros((len(archs), sum(space.counts) + 1))
    design[np.arange(len(archs))[:, None], places] = 1.0
    return design


def _grouped(keys: Sequence[Hashable], sizes: Floats) -> Floats:
    """One column for each key; the last row (what is fixed) is 0."""
    columns = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    matrix = np.zeros((len(sizes) + 1, len(columns)))
    matrix[np.arange(len(sizes)), [columns[key] for key in keys]] = sizes
    return matrix


def _counted(spec: OpSpec) -> Floats:
    """Dense MACs, depthwise MACs, parameters, values written, primitives."""
    graph = ops.graph(spec)
    dense = depthwise = 0
    for node in graph.nodes:
        if node.op in ("conv", "linear"):
            fan_in = graph.channels_of(node.inputs[0]) // node.groups * node.kernel**2
            macs = node.size**2 * node.channels * fan_in
            if node.groups == node.channels:
                depthwise += macs
            else:
                dense += macs
    written = sum(node.size**2 * node.channels for node in graph.nodes)
    return np.array([dense, depthwise, graph.params, written, len(graph.nodes)], dtype=np.float64)
