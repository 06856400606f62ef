"""A network lowered to TensorFlow Lite's operations: channels last, activations fused, all in float32.

What is decided here is what the file says, whatever its precision. None of this needs a runtime.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hurricane import ops
from hurricane.export.network import Network, block_names, shared_slices
from hurricane.export.tflite_graph import (
    FEATURES_IN,
    FEATURES_OUT,
    IMAGES,
    LOGITS,
    Array,
    Operation,
    Shape,
    TfliteGraph,
    Value,
)
from hurricane.export.weights import BlockWeights, NodeWeights
from hurricane.ops import Graph, Node, OpSpec

# Numbers of the schema (Padding, ActivationFunctionType), which never change.
SAME, VALID = 0, 1
NO_ACTIVATION, RELU, RELU6 = 0, 1, 3
_FUSED = {"relu": RELU, "hard_sigmoid": RELU6}

# Of the depthwise convolutions that XNNPACK has kernels for.
MOST_TAPS = 25


def lowered(network: Network) -> TfliteGraph:
    """The network as operations in float32.

    One that begins with a stem takes `images` (N, C, H, W); a part of one takes `images_nhwc`. Output `logits`
    (N, classes) where the chain ends in a classifier, else `features_nhwc`.
    """
    writer = _Lowering()
    value = writer.pictures(network)
    first = value
    for name, spec, weights in zip(block_names(network.specs), network.specs, network.weights, strict=True):
        value = writer.block(name, spec, weights, value)
    output = LOGITS if network.classifies else FEATURES_OUT
    if value == first and not writer.operations:  # nothing but identities: a file needs an operation
        value = writer.reshaped(value, "identity", writer.values[value].shape)
    return writer.graph(value, output)


class _Lowering:
    """Collects operations and values while a network is written down."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.operations: list[Operation] = []
        self._input = ""

    def pictures(self, network: Network) -> str:
        """The input normalised, channels last; the value it makes.

        Normalised first: for 3 x 224 x 224 that takes 0.02 ms where channels are planes and 0.2 to 0.9 ms where they
        are three neighbours; the transposition takes 0.07 ms.
        """
        spec = network.specs[0]
        planes, last = (1, spec.cin, spec.size, spec.size), (1, spec.size, spec.size, spec.cin)
        whole = spec.kind == "stem" or network.mean is not None
        self._input = value = IMAGES if whole else FEATURES_IN
        self.values[value] = Value(planes if whole else last)
        if not whole:
            return value
        if network.mean is not None and network.std is not None:
            mean = np.array(network.mean, np.float32).reshape(1, -1, 1, 1)
            scale = (1 / np.array(network.std)).astype(np.float32).reshape(1, -1, 1, 1)
            for op, name, content, made in (
                ("SUB", "normalisation.mean", mean, "normalisation.centred"),
                ("MUL", "normalisation.scale", scale, "normalised"),
            ):
                inputs = [value, self._constant(name, content)]
                value = self._apply(op, inputs, made, planes, fusedActivationFunction=NO_ACTIVATION)
        return self._apply("TRANSPOSE", [value, self._integers(0, 2, 3, 1)], "channels_last", last)

    def block(self, name: str, spec: OpSpec, weights: BlockWeights, value: str) -> str:
        """One operator; the value it makes (its input where it is the identity)."""
        graph, made, remaining = ops.graph(spec), {0: value}, iter(weights)
        counted = Counter[str]()
        for position, node in enumerate(graph.nodes):
            if position + 1 in made:  # fused into an earlier operation, or split off with an earlier slice
                continue
            counted[node.op] += 1
            label = f"{name}.{node.op}{counted[node.op]}"
            inputs = [made[i] for i in node.inputs]
            parts = shared_slices(graph, node)
            follower = _follower(graph, position)
            if parts and len({graph.nodes[part].channels for part in parts}) == 1 and len(parts) in (2, 3, 4):
                made.update(self._split(label, graph, parts, inputs[0]))
            elif node.op in ("conv", "linear"):
                made[position + 1], fused = self._weighted(label, node, inputs[0], next(remaining), follower)
                if fused:
                    made[position + 2] = made[position + 1]
            elif node.op in ("add", "mul") and follower == "relu":
                made[position + 1] = made[position + 2] = self._arithmetic(label, node, inputs, RELU)
            else:
                made[position + 1] = self._plain(label, node, inputs)
        return made[len(graph.nodes)]

    def reshaped(self, x: str, label: str, shape: Shape) -> str:
        """The same numbers in another shape; the batch stays."""
        target = [-1, *shape[1:]]
        return self._apply("RESHAPE", [x, self._integers(*target)], label, shape, newShape=target)

    def graph(self, value: str, output: str) -> TfliteGraph:
        """What was written down, its last value under the name of the output."""
        renamed = {name: output if name == value else name for name in self.values}
        operations = tuple(
            Operation(
                each.op,
                tuple(renamed[name] for name in each.inputs),
                tuple(renamed[name] for name in each.outputs),
                each.options,
            )
            for each in self.operations
        )
        values = {renamed[name]: content for name, content in self.values.items()}
        return TfliteGraph(values, operations, self._input, output)

    def _weighted(
        self, label: str, node: Node, x: str, weights: NodeWeights, follower: str
    ) -> tuple[str, bool]:
        """A convolution or linear layer with the activation that follows it: the value, whether it is inside."""
        weight, bias = weights
        if follower == "hard_sigmoid":  # min(max(x + 3, 0), 6) / 6: XNNPACK does not take RELU_0_TO_1
            bias = bias + np.float32(3)
        activation = _FUSED.get(follower, NO_ACTIVATION)
        if node.op == "linear":
            constants = [self._constant(f"{label}.weight", weight), self._constant(f"{label}.bias", bias)]
            y = self._apply(
                "FULLY_CONNECTED",
                [x, *constants],
                label,
                (1, node.channels),
                fusedActivationFunction=activation,
            )
        else:
            y = self._convolution(label, node, x, (weight, bias), activation)
        if follower == "hard_sigmoid":
            y = self._sixth(f"{label}.hard_sigmoid", y)
        return y, follower in _FUSED

    def _convolution(self, label: str, node: Node, x: str, weights: NodeWeights, activation: int) -> str:
        """A convolution; one of a large depthwise kernel is the sum of those of a few of its rows."""
        if not node.groups == self.values[x].shape[-1] > 1:
            return self._of_rows(label, node, x, weights, range(node.kernel), activation)
        bands = _bands(node.kernel)
        total = ""
        for number, rows in enumerate(bands, 1):
            last = activation if len(bands) == 1 else NO_ACTIVATION
            weight, bias = weights if number == 1 else (weights[0], np.zeros_like(weights[1]))
            part = label if len(bands) == 1 else f"{label}.rows{number}"
            part = self._of_rows(part, node, x, (weight, bias), rows, last)
            if number > 1:
                last, sum_ = (
                    (activation, label) if number == len(bands) else (NO_ACTIVATION, f"{label}.sum{number}")
                )
                part = self._apply("ADD", [total, part], sum_, _shape(node), fusedActivationFunction=last)
            total = part
        return total

    def _of_rows(
        self, label: str, node: Node, x: str, weights: NodeWeights, rows: Sequence[int], activation: int
    ) -> str:
        """A convolution with some rows of its kernel, evenly apart and symmetric about the middle one."""
        channels = self.values[x].shape[-1]
        depthwise = node.groups == channels > 1
        axes = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
        kernel = self._constant(f"{label}.weight", weights[0][:, :, list(rows)].transpose(axes))
        bias = self._constant(f"{label}.bias", weights[1])
        apart = rows[1] - rows[0] if len(rows) > 1 else 1
        x, padding = self._padded(label, node, x, node.kernel // 2 - rows[0])
        options = {"padding": padding, "strideW": node.stride, "strideH": node.stride}
        options |= {"dilationWFactor": 1, "dilationHFactor": apart, "fusedActivationFunction": activation}
        if depthwise:
            options["depthMultiplier"] = node.channels // channels
        op = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        return self._apply(op, [x, kernel, bias], label, _shape(node), **options)

    def _padded(self, label: str, node: Node, x: str, above: int) -> tuple[str, int]:
        """The input of a convolution and the padding it takes: as many zeros on every side as torch adds.

        SAME pads just enough for ceil(size / stride) outputs and the odd pixel at the end, which comes to the same
        but for even sizes at stride 2; there the pixels are added before. above: rows of zeros above and below.
        """
        _, size, _, channels = self.values[x].shape
        reach = (node.size - 1) * node.stride + 1
        sides = (above, node.kernel // 2)  # what lies above and to the left; kernels reach twice as far
        lacking = [max(reach + 2 * before - size, 0) for before in sides]
        if all(total // 2 == before for total, before in zip(lacking, sides, strict=True)):
            return x, SAME
        ends = [max(total - before, 0) for total, before in zip(lacking, sides, strict=True)]
        pads = np.array([[0, 0], [sides[0], ends[0]], [sides[1], ends[1]], [0, 0]], np.int32)
        amounts = self._constant("int32.pads" + "x".join(map(str, pads[1:3].ravel())), pads)
        shape = (1, size + sides[0] + ends[0], size + sides[1] + ends[1], channels)
        return self._apply("PAD", [x, amounts], f"{label}.padded", shape), VALID

    def _plain(self, label: str, node: Node, inputs: list[str]) -> str:
        shape, x = _shape(node), inputs[0]
        match node.op:
            case "add" | "mul":
                return self._arithmetic(label, node, inputs, NO_ACTIVATION)
            case "relu":
                # On a value that others read too, so that it cannot be fused; XNNPACK takes no RELU in int8.
                each = np.ones(node.channels)
                return self._scaled(x, label, each, 0 * each, RELU)
            case "hard_sigmoid":
                return self._hard_sigmoid(label, x)
            case "hard_swish":
                gate = self._hard_sigmoid(f"{label}.gate", x)
                return self._apply("MUL", [x, gate], label, shape, fusedActivationFunction=NO_ACTIVATION)
            case "concat":
                return self._apply(
                    "CONCATENATION", inputs, label, shape, axis=3, fusedActivationFunction=NO_ACTIVATION
                )
            case "mean":
                return self._apply("MEAN", [x, self._integers(1, 2)], label, shape, keepDims=True)
            case "slice":
                # Masked axes are taken whole: XNNPACK takes no SLICE whose batch is open.
                ends = [self._integers(0, 0, 0, end) for end in (node.start, node.start + node.channels)]
                steps = self._integers(1, 1, 1, 1)
                return self._apply(
                    "STRIDED_SLICE", [x, *ends, steps], label, shape, beginMask=0b111, endMask=0b111
                )
            case "shuffle":
                return self._shuffle(label, node, x)
        raise AssertionError(f"{node.op} is not a primitive")

    def _arithmetic(self, label: str, node: Node, inputs: list[str], activation: int) -> str:
        return self._apply(node.op.upper(), inputs, label, _shape(node), fusedActivationFunction=activation)

    def _hard_sigmoid(self, label: str, x: str) -> str:
        each = np.ones(self.values[x].shape[-1])
        return self._sixth(label, self._scaled(x, f"{label}.to6", each, 3 * each, RELU6))

    def _sixth(self, label: str, x: str) -> str:
        sixth = self._constant("sixth", np.array(1 / 6, np.float32))
        return self._apply(
            "MUL", [x, sixth], label, self.values[x].shape, fusedActivationFunction=NO_ACTIVATION
        )

    def _scaled(
        self,
        x: str,
        label: str,
        scale: npt.NDArray[np.float64],
        shift: npt.NDArray[np.float64],
        activation: int = NO_ACTIVATION,
    ) -> str:
        """x * scale + shift, channel by channel: a depthwise convolution of one pixel, which XNNPACK knows as such."""
        shape = self.values[x].shape
        node = Node("conv", (0,), shape[-1], shape[1], groups=shape[-1])
        weights = (scale.astype(np.float32).reshape(-1, 1, 1, 1), shift.astype(np.float32))
        return self._convolution(label, node, x, weights, activation)

    def _split(self, label: str, graph: Graph, parts: tuple[int, ...], x: str) -> dict[int, str]:
        """Slices of equal size that share all channels among them, as one operation: value number -> name."""
        names = tuple(f"{label}.part{number}" for number in range(1, len(parts) + 1))
        for name, part in zip(names, parts, strict=True):
            self.values[name] = Value(_shape(graph.nodes[part]))
        axis = self._constant("int32.axis", np.array(3, np.int32))
        self.operations.append(Operation("SPLIT", (axis, x), names, {"numSplits": len(parts)}))
        return {part + 1: name for part, name in zip(parts, names, strict=True)}

    def _shuffle(self, label: str, node: Node, x: str) -> str:
        """Channel shuffle as reshape, transpose, reshape; four axes, since small runtimes know no more."""
        each, pixels = node.channels // node.groups, node.size**2
        apart, crossed = (1, pixels, node.groups, each), (1, pixels, each, node.groups)
        y = self.reshaped(x, f"{label}.apart", apart)
        y = self._apply("TRANSPOSE", [y, self._integers(0, 1, 3, 2)], f"{label}.crossed", crossed)
        return self.reshaped(y, label, _shape(node))

    def _apply(
        self, op: str, inputs: list[str], output: str, shape: Shape, **options: int | bool | list[int]
    ) -> str:
        self.operations.append(Operation(op, tuple(inputs), (output,), options))
        self.values[output] = Value(shape)
        return output

    def _integers(self, *values: int) -> str:
        return self._constant("int32." + "x".join(map(str, values)), np.array(values, np.int32))

    def _constant(self, name: str, content: Array) -> str:
        self.values.setdefault(name, Value(content.shape, np.ascontiguousarray(content), str(content.dtype)))
        return name


def _bands(kernel: int) -> list[Sequence[int]]:
    """Rows of a depthwise kernel to take together, so that XNNPACK has a kernel of as many taps.

    It has them up to 25 taps; beyond it multiplies channel by channel: 4.2 ms for 7x7 on 64 channels at 56 px, where
    5x5 takes 0.24 and the sum of three convolutions 0.77. Rows that lie symmetric about the middle need equal
    padding above and below.
    """
    middle = kernel // 2
    if kernel**2 <= MOST_TAPS or 2 * kernel > MOST_TAPS:
        return [range(kernel)]
    inner = 1 if 3 * kernel <= MOST_TAPS else 0
    pairs = [range(row, kernel - row, kernel - 1 - 2 * row) for row in range(middle - inner)]
    return [range(middle - inner, middle + inner + 1), *pairs]


def _follower(graph: Graph, position: int) -> str:
    """The primitive right after a node where that alone reads it, so that the two may become one; else ""."""
    readers = [node for node in graph.nodes if position + 1 in node.inputs]
    if len(readers) != 1 or position + 1 == len(graph.nodes) or graph.nodes[position + 1] is not readers[0]:
        return ""
    return readers[0].op


def _shape(node: Node) -> Shape:
    return (1, node.size, node.size, node.channels)
