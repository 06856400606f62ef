"""What is exported: operators in a chain with their weights, batch normalisation folded in."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hurricane import ops
from hurricane.errors import ModelError
from hurricane.export.weights import BlockWeights, random_weights, weight_shape, weighted_nodes
from hurricane.ops import Graph, Node, OpSpec

Channels = tuple[float, float, float]
"""One number for each of red, green and blue."""

_FRAME = ("stem", "head", "classifier")


@dataclass(frozen=True)
class Network:
    """Operators in a chain: one operator, a stack of them, or a whole network.

    specs, weights : the operators and their weights, aligned.
    mean, std : of the normalisation (x - mean) / std in front, per channel; None leaves it out.

    Raises ModelError where operators do not follow on one another or weights are of another shape than theirs.
    """

    specs: tuple[OpSpec, ...]
    weights: tuple[BlockWeights, ...]
    mean: Channels | None = None
    std: Channels | None = None

    def __post_init__(self) -> None:
        if not self.specs or len(self.specs) != len(self.weights):
            raise ModelError(
                f"{len(self.specs)} operators and weights for {len(self.weights)} were given; "
                "a network needs at least one operator and weights for each"
            )
        for before, after in pairwise(self.specs):
            if classifies(before) or (after.cin, after.size) != (before.cout, before.out_size):
                raise ModelError(f"{after} cannot follow {before}: its input is not what that gives")
        for spec, block in zip(self.specs, self.weights, strict=True):
            _check_weights(spec, block)
        _check_normalisation(self.specs[0].cin, self.mean, self.std)

    @property
    def classifies(self) -> bool:
        """Whether the chain ends in a classifier, so that its output has no pixels."""
        return classifies(self.specs[-1])


def classifies(spec: OpSpec) -> bool:
    """Whether an operator ends in a linear layer, so that its output (n, cout) has no pixels."""
    nodes = ops.graph(spec).nodes
    return bool(nodes) and nodes[-1].op == "linear"


def random_network(
    specs: Sequence[OpSpec],
    rng: np.random.Generator,
    mean: Channels | None = None,
    std: Channels | None = None,
) -> Network:
    """A network with random weights: what is timed where trained weights do not matter."""
    return Network(tuple(specs), tuple(random_weights(spec, rng) for spec in specs), mean, std)


def block_names(specs: Sequence[OpSpec]) -> Iterator[str]:
    """A name for each operator: `layer3.mb_k3_e6` by its place among the searched ones, `stem`, `head`, ..."""
    layers, seen = 0, Counter[str]()
    for spec in specs:
        if spec.kind in _FRAME:
            seen[spec.kind] += 1
            yield spec.kind if seen[spec.kind] == 1 else f"{spec.kind}{seen[spec.kind]}"
        else:
            yield f"layer{layers}.{spec.kind}"
            layers += 1


def shared_slices(graph: Graph, node: Node) -> tuple[int, ...]:
    """Positions of the slices that together share out the input of the slice `node`; () where they do not."""
    if node.op != "slice":
        return ()
    siblings = [
        i for i, other in enumerate(graph.nodes) if other.op == "slice" and other.inputs == node.inputs
    ]
    siblings.sort(key=lambda i: graph.nodes[i].start)
    reached = 0
    for i in siblings:
        if graph.nodes[i].start != reached:
            return ()
        reached += graph.nodes[i].channels
    whole = reached == graph.channels_of(node.inputs[0])
    return tuple(siblings) if whole and len(siblings) > 1 else ()


def _check_weights(spec: OpSpec, block: BlockWeights) -> None:
    graph = ops.graph(spec)
    nodes = weighted_nodes(graph)
    if len(block) != len(nodes):
        raise ModelError(f"{spec} has {len(nodes)} weighted nodes but weights for {len(block)} were given")
    for node, (weight, bias) in zip(nodes, block, strict=True):
        needed = weight_shape(graph, node)
        if weight.shape != needed or bias.shape != needed[:1]:
            raise ModelError(
                f"a {node.op} of {spec} needs weights {needed} and biases {needed[:1]}, "
                f"not {weight.shape} and {bias.shape}"
            )


def _check_normalisation(channels: int, mean: Channels | None, std: Channels | None) -> None:
    if mean is None and std is None:
        return
    if mean is None or std is None or len(mean) != channels or len(std) != channels or min(std) <= 0:
        raise ModelError(
            f"normalisation needs mean and std (above 0) for each of {channels} channels, not {mean} and {std}"
        )
