"""Weights of operators as an exporter takes them: numpy arrays, batch normalisation already folded in."""

import math

import numpy as np
import numpy.typing as npt

from hurricane import ops
from hurricane.ops import Graph, Node, OpSpec

NodeWeights = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Weight and bias of one node: convolution (cout, cin / groups, k, k), linear layer (cout, cin); bias (cout,)."""

BlockWeights = tuple[NodeWeights, ...]
"""Weights of the "conv" and "linear" nodes of one operator, in the order of its graph."""


def weighted_nodes(graph: Graph) -> tuple[Node, ...]:
    """The nodes of a graph that hold weights, in order."""
    return tuple(node for node in graph.nodes if node.op in ("conv", "linear"))


def weight_shape(graph: Graph, node: Node) -> tuple[int, ...]:
    """Shape of a node's weight: convolution (cout, cin / groups, k, k), linear layer (cout, cin)."""
    cin = graph.channels_of(node.inputs[0])
    if node.op == "linear":
        return (node.channels, cin)
    return (node.channels, cin // node.groups, node.kernel, node.kernel)


def random_weights(spec: OpSpec, rng: np.random.Generator) -> BlockWeights:
    """Random weights of one operator: what is timed where trained weights do not matter.

    He's scale keeps values of the size of the input through many layers, and biases of 0.1 keep them away from
    zero: denormal numbers would be many times slower than what a trained network computes.
    """
    graph, weights = ops.graph(spec), []
    for node in weighted_nodes(graph):
        shape = weight_shape(graph, node)
        scale = math.sqrt(2.0 / math.prod(shape[1:]))
        weight = rng.standard_normal(shape, dtype=np.float32)
        weight *= np.float32(scale)
        bias = rng.standard_normal(node.channels, dtype=np.float32) * np.float32(0.1)
        weights.append((weight, bias))
    return tuple(weights)
