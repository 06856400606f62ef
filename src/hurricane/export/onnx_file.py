"""A network as an ONNX file, written node by node from the operators' graphs.

Tracing a torch module and converting it takes 40 ms to seconds an operator; writing the graph takes a few
milliseconds and needs no torch. Batch normalisation is folded already; the normalisation of the pictures is inside.
"""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from hurricane import ops
from hurricane.export.network import Network, block_names, shared_slices
from hurricane.export.weights import BlockWeights, NodeWeights
from hurricane.ops import Graph, Node, OpSpec

# The newest that onnxruntime 1.18 reads are opset 20 and IR 10; older ones are read by more runtimes.
OPSET, IR_VERSION = 17, 8
INPUT, LOGITS, FEATURES = "images", "logits", "features"

_ELEMENTWISE = {"relu": "Relu", "hard_swish": "HardSwish", "add": "Add", "mul": "Mul"}


def onnx_bytes(network: Network) -> bytes:
    """The network as the bytes of an ONNX file; equal networks give equal bytes.

    Input `images` float32 (N, C, H, W), only N dynamic; output `logits` (N, classes) where the chain ends in a
    classifier, else `features` (N, C, H, W). Every value has a readable name and a shape.
    """
    from onnx import TensorProto, helper

    first, last = network.specs[0], network.specs[-1]
    writer = _Writer()
    value = writer.normalisation(network)
    for name, spec, weights in zip(block_names(network.specs), network.specs, network.weights, strict=True):
        value = writer.block(name, spec, weights, value)
    if network.classifies:
        output, shape = LOGITS, ["N", last.cout]
    else:
        output, shape = FEATURES, ["N", last.cout, last.out_size, last.out_size]
    writer.finish(value, output)
    graph = helper.make_graph(
        writer.nodes,
        "hurricane",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", first.cin, first.size, first.size])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        initializer=writer.initializers,
        value_info=writer.shapes,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="hurricane",
    )
    return bytes(model.SerializeToString(deterministic=True))


class _Writer:
    """Collects nodes, constants and shapes while a network is written down."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.shapes: list[Any] = []
        self._constants: set[str] = set()

    def normalisation(self, network: Network) -> str:
        """(x - mean) / std, per channel; the value it makes (the input where there is none)."""
        if network.mean is None or network.std is None:
            return INPUT
        spec = network.specs[0]
        shape = (spec.cin, spec.size, spec.size)
        mean = self._constant("normalisation.mean", np.array(network.mean, np.float32).reshape(1, -1, 1, 1))
        scale = (1 / np.array(network.std)).astype(np.float32).reshape(1, -1, 1, 1)
        centred = self._node("Sub", [INPUT, mean], "normalisation.centred", shape)
        return self._node("Mul", [centred, self._constant("normalisation.scale", scale)], "normalised", shape)

    def block(self, name: str, spec: OpSpec, weights: BlockWeights, value: str) -> str:
        """One operator; the value it makes (its input where it is the identity)."""
        graph, values, remaining = ops.graph(spec), {0: value}, iter(weights)
        counted = Counter[str]()
        for position, node in enumerate(graph.nodes):
            if position + 1 in values:  # a slice that was split off together with an earlier one
                continue
            counted[node.op] += 1
            label = f"{name}.{node.op}{counted[node.op]}"
            inputs = [values[i] for i in node.inputs]
            parts = shared_slices(graph, node)
            if parts:
                values.update(self._split(label, graph, parts, inputs[0]))
            elif node.op in ("conv", "linear"):
                values[position + 1] = self._weighted(label, node, inputs[0], next(remaining))
            else:
                values[position + 1] = self._plain(label, node, inputs)
        return values[len(graph.nodes)]

    def finish(self, value: str, output: str) -> None:
        """Give the last value the name of the output."""
        if not self.nodes:  # nothing but identities: a file needs a node
            from onnx import helper

            self.nodes.append(helper.make_node("Identity", [value], [output], name="identity"))
            return
        for node in self.nodes:  # in an operator that ends in an identity others may read the value too
            node.input[:] = [output if name == value else name for name in node.input]
            node.output[:] = [output if name == value else name for name in node.output]
        self.shapes = [info for info in self.shapes if info.name != value]

    def _weighted(self, label: str, node: Node, x: str, weights: NodeWeights) -> str:
        weight, bias = weights
        constants = [self._constant(f"{label}.weight", weight), self._constant(f"{label}.bias", bias)]
        if node.op == "linear":
            flat = self._node("Flatten", [x], f"{label}.flat", (weight.shape[1],))
            return self._node("Gemm", [flat, *constants], label, (node.channels,), transB=1)
        return self._node(
            "Conv",
            [x, *constants],
            label,
            _shape(node),
            kernel_shape=[node.kernel] * 2,
            strides=[node.stride] * 2,
            pads=[node.kernel // 2] * 4,
            group=node.groups,
        )

    def _plain(self, label: str, node: Node, inputs: list[str]) -> str:
        shape = _shape(node)
        if node.op in _ELEMENTWISE:
            return self._node(_ELEMENTWISE[node.op], inputs, label, shape)
        match node.op:
            case "hard_sigmoid":
                return self._node("HardSigmoid", inputs, label, shape, alpha=1 / 6, beta=0.5)
            case "concat":
                return self._node("Concat", inputs, label, shape, axis=1)
            case "mean":
                return self._node("GlobalAveragePool", inputs, label, shape)
            case "slice":
                bounds = [self._integers(end) for end in (node.start, node.start + node.channels)]
                return self._node("Slice", [*inputs, *bounds, self._integers(1)], label, shape)
            case "shuffle":
                return self._shuffle(label, node, inputs[0])
        raise AssertionError(f"{node.op} is not a primitive")

    def _split(self, label: str, graph: Graph, parts: tuple[int, ...], x: str) -> dict[int, str]:
        """Slices that share all channels of a value among them, as one node: value number -> name."""
        from onnx import helper

        nodes = [graph.nodes[part] for part in parts]
        names = [f"{label}.part{number}" for number in range(1, len(parts) + 1)]
        sizes = self._integers(*(node.channels for node in nodes))
        self.nodes.append(helper.make_node("Split", [x, sizes], names, name=label, axis=1))
        for name, node in zip(names, nodes, strict=True):
            self._record(name, _shape(node))
        return {part + 1: name for part, name in zip(parts, names, strict=True)}

    def _shuffle(self, label: str, node: Node, x: str) -> str:
        """Channel shuffle as reshape, transpose, reshape; four axes, since small runtimes know no more."""
        each, pixels = node.channels // node.groups, node.size**2
        apart, crossed = (node.groups, each, pixels), (each, node.groups, pixels)
        # A 0 in the target of a reshape copies the batch axis.
        y = self._node("Reshape", [x, self._integers(0, *apart)], f"{label}.apart", apart)
        y = self._node("Transpose", [y], f"{label}.crossed", crossed, perm=[0, 2, 1, 3])
        return self._node("Reshape", [y, self._integers(0, *_shape(node))], label, _shape(node))

    def _node(
        self, op: str, inputs: list[str], output: str, shape: tuple[int, ...], **attributes: Any
    ) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        self._record(output, shape)
        return output

    def _record(self, value: str, shape: tuple[int, ...]) -> None:
        from onnx import TensorProto, helper

        self.shapes.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, ["N", *shape]))

    def _integers(self, *values: int) -> str:
        return self._constant("int64." + "x".join(map(str, values)), np.array(values, np.int64))

    def _constant(self, name: str, values: npt.NDArray[Any]) -> str:
        from onnx import numpy_helper

        if name not in self._constants:
            self._constants.add(name)
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


def _shape(node: Node) -> tuple[int, ...]:
    return (node.channels, node.size, node.size)
