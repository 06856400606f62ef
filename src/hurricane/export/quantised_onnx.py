"""A network as an int8 ONNX file: the float file with QuantizeLinear and DequantizeLinear around what counts.

Static quantisation in the QDQ form that ONNX Runtime and OpenVINO turn into integer kernels. The files are as good as
those of `onnxruntime.quantization.quantize_static` (equal errors on the pool, equal latency within noise), but are
written in memory and 3 to 9 times as fast: 20 to 300 ms a stack of three operators (`benchmarks/int8_files.py`).

What was chosen, with figures of ONNX Runtime 1.32 on an AVX-512 VNNI processor, stacks of three operators:

- Activations uint8 with a zero point, one range a value; weights int8, symmetric, one scale a channel. With int8
  activations (S8S8) depthwise convolutions took 2 to 7 times as long.
- Everything is quantised but the normalisation, hard-sigmoid and hard-swish, for which runtimes have no integer
  kernel. Leaving the gate's product in float cost 6 to 13 % on mb_k3_e6_se, leaving depthwise kernels from 5 up in
  float 30 % on sep_k7, and neither gained accuracy; ONNX Runtime takes the global average to integers in any case.
- Values that are only moved (split, reshaped, transposed) share one range; inputs of a concatenation keep their own.
  One range for them, too, is 5 to 11 % faster in shuffle units, but a stage of them would then have one range for all
  of its layers.
- Ranges are the smallest and largest value seen, zero included. With 128 pictures two trained networks kept their
  top-1 to 0.1 points (72.9 % of 2,000 pictures at 32 pixels, 97.1 % of 409 at 96), with 32 pictures to 0.7; averages
  over batches were no better.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hurricane.errors import ModelError
from hurricane.export.network import Network
from hurricane.export.onnx_file import INPUT, onnx_bytes

Ranges = dict[str, tuple[float, float]]
"""Smallest and largest number of each value of a graph, zero included."""

# Pictures of a batch while ranges are taken: few, since whole networks at 224 pixels hold 10 MB a picture.
BATCH = 8
# Random pictures that stand for real ones where only time counts.
RANDOM_PICTURES = 2
LEVELS = 255
# Largest weight; 7 bits keep the sum of two products of 8-bit numbers inside 16 bits (see `quantised_onnx_bytes`).
LARGEST_WEIGHT = {8: 127, 7: 64}

_WEIGHTED = ("Conv", "Gemm")
_MOVING = ("Split", "Slice", "Reshape", "Transpose", "Flatten")
_INTEGER = (*_WEIGHTED, *_MOVING, "Add", "Mul", "Concat", "GlobalAveragePool")


def quantised_onnx_bytes(
    network: Network, calibration: npt.NDArray[np.float32] | None = None, *, weight_bits: int = 8
) -> bytes:
    """The network as the bytes of an int8 ONNX file; equal arguments give equal bytes.

    Input, output and names are those of `onnx_bytes`: float32, N dynamic, the normalisation inside.

    calibration : (n, c, h, w) float32 inputs from which the ranges of values are taken; None takes random ones in
        [0, 1], for timing.
    weight_bits : 8, or 7 for x86 processors without VNNI: they add two products of 8-bit numbers in 16 bits, and
        products of 8-bit weights would be cut off there. 7 bits cost no time and a fifth more error.

    Raises ModelError where calibration does not fit the network or a value of it is not finite.
    """
    import onnx

    model = onnx.load_model_from_string(onnx_bytes(network))
    first = network.specs[0]
    shape = (first.cin, first.size, first.size)
    if calibration is None:
        calibration = np.random.default_rng(0).random((RANDOM_PICTURES, *shape), dtype=np.float32)
    if calibration.shape[1:] != shape or not len(calibration):
        raise ModelError(
            f"calibration pictures are {calibration.shape}; a network that begins with {first} needs "
            f"(n, {', '.join(map(str, shape))}), n at least 1"
        )
    ranges = _ranges(model, calibration.astype(np.float32, copy=False))
    writer = _Writer(model.graph, ranges, LARGEST_WEIGHT[weight_bits])
    for node in model.graph.node:
        writer.node(node)
    graph = onnx.helper.make_graph(
        writer.nodes,
        model.graph.name,
        model.graph.input,
        model.graph.output,
        initializer=writer.initializers,
    )
    model.graph.CopyFrom(graph)
    return bytes(model.SerializeToString(deterministic=True))


def _ranges(model: Any, pictures: npt.NDArray[np.float32]) -> Ranges:
    """Ranges of all float values, by running the model with the extremes of each as outputs."""
    import onnx
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = [INPUT, *(name for node in model.graph.node for name in node.output)]
    for name in names:
        for op in ("ReduceMin", "ReduceMax"):
            extreme = f"{name}.{op}"
            watched.graph.node.append(onnx.helper.make_node(op, [name], [extreme], keepdims=0))
            info = onnx.helper.make_tensor_value_info(extreme, onnx.TensorProto.FLOAT, [])
            watched.graph.output.append(info)
    options = onnxruntime.SessionOptions()
    # One thread and no fusing: the same ranges every time, for every value of the graph.
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, ["CPUExecutionProvider"])
    outputs = [f"{name}.{op}" for name in names for op in ("ReduceMin", "ReduceMax")]
    extremes = np.array(
        [
            session.run(outputs, {INPUT: pictures[start : start + BATCH]})
            for start in range(0, len(pictures), BATCH)
        ],
        dtype=np.float64,
    )
    if not np.isfinite(extremes).all():
        bad = outputs[int(np.argmin(np.isfinite(extremes).all(axis=0)))].rpartition(".")[0]
        raise ModelError(
            f"{bad} is not finite on the calibration pictures, so it has no range; check the weights"
        )
    lows, highs = extremes[:, 0::2].min(axis=0), extremes[:, 1::2].max(axis=0)
    return {
        name: (min(0.0, float(low)), max(0.0, float(high)))
        for name, low, high in zip(names, lows, highs, strict=True)
    }


class _Writer:
    """Copies a graph node by node and puts quantisation between."""

    def __init__(self, graph: Any, ranges: Ranges, largest_weight: int) -> None:
        from onnx import numpy_helper

        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._largest_weight = largest_weight
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._output: str = graph.output[0].name
        self._source = _sources(graph)
        self._ranges = _shared(ranges, self._source)
        self._into_relu = _read_by_relu_alone(graph)
        self._quantised: dict[str, str] = {}
        self._written: set[str] = set()

    def node(self, node: Any) -> None:
        """One node of the float graph, its inputs and outputs quantised where it computes with integers."""
        import onnx

        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        integer = node.op_type in _INTEGER and not any(name in self._constants for name in _operands(node))
        if integer:
            copy.input[:] = self._integer_inputs(node)
        else:
            copy.input[:] = [self._quantised.get(name, name) for name in node.input]
        self.nodes.append(copy)
        for name in copy.input:
            if name in self._constants:
                self._constant(name, self._constants[name])
        # A classifier's logits stay as they are; a relu belongs to the integer node before it.
        if node.op_type == "Gemm" or not (integer or node.op_type == "Relu"):
            return
        for position, name in enumerate(node.output):
            if name == self._output:
                copy.output[position] = f"{name}.float"
                self._quantise(name, f"{name}.float", name)
            elif name not in self._into_relu:
                self._quantise(name, name, f"{name}.dequantised")

    def _integer_inputs(self, node: Any) -> list[str]:
        """What an integer node reads: quantised values, weights and biases."""
        if node.op_type in _WEIGHTED:
            value, weight, bias = node.input
            return [self._read(value), *self._weights(value, weight, bias)]
        return [name if name in self._constants else self._read(name) for name in node.input]

    def _read(self, value: str) -> str:
        if value not in self._quantised:
            self._quantise(value, value, f"{value}.dequantised")
        return self._quantised[value]

    def _quantise(self, value: str, source: str, result: str) -> None:
        """A pair of nodes after which a value has at most 256 different numbers."""
        from onnx import helper

        scale, zero = self._activation(value)
        step = f"{value}.quantised"
        self.nodes.append(helper.make_node("QuantizeLinear", [source, scale, zero], [step], name=step))
        self.nodes.append(helper.make_node("DequantizeLinear", [step, scale, zero], [result], name=result))
        self._quantised[value] = result

    def _activation(self, value: str) -> tuple[str, str]:
        """Names of scale and zero point of a value."""
        scale, zero = self._scale(value)
        source = self._source.get(value, value)
        return self._constant(f"{source}.scale", scale), self._constant(f"{source}.zero", zero)

    def _scale(self, value: str) -> tuple[Any, Any]:
        low, high = self._ranges[value]
        # A value that is zero throughout has any scale.
        scale = np.float32((high - low) / LEVELS) or np.float32(1)
        return scale, np.uint8(np.clip(np.rint(-low / scale), 0, LEVELS))

    def _weights(self, value: str, weight: str, bias: str) -> tuple[str, str]:
        """Names of the dequantised weight and bias of a node that reads `value`."""
        weights, biases = self._constants[weight], self._constants[bias].astype(np.float64)
        of_value = float(self._scale(value)[0])
        scales = np.abs(weights).reshape(len(weights), -1).max(axis=1) / float(self._largest_weight)
        # Where weights almost vanish the bias, in steps of both scales, must still fit into 32 bits.
        scales = np.maximum(scales, np.abs(biases) / (of_value * 2.0**30)).astype(np.float32)
        scales[scales == 0] = 1
        each = scales.reshape(-1, *[1] * (weights.ndim - 1))
        largest = self._largest_weight
        whole = np.clip(np.rint(weights / each), -largest, largest).astype(np.int8)
        bias_scales = (scales * of_value).astype(np.float32)
        whole_bias = np.rint(biases / bias_scales.astype(np.float64)).astype(np.int32)
        return self._dequantised(weight, whole, scales), self._dequantised(bias, whole_bias, bias_scales)

    def _dequantised(self, name: str, values: npt.NDArray[Any], scales: npt.NDArray[np.float32]) -> str:
        from onnx import helper

        zeros = np.zeros(len(values), values.dtype)
        inputs = [
            self._constant(f"{name}.quantised", values),
            self._constant(f"{name}.scale", scales),
            self._constant(f"{name}.zero", zeros),
        ]
        result = f"{name}.dequantised"
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [result], name=result, axis=0))
        return result

    def _constant(self, name: str, values: Any) -> str:
        from onnx import numpy_helper

        if name not in self._written:
            self._written.add(name)
            # A scale must stay a number: as a list of one, ONNX Runtime would not fuse the addition.
            self.initializers.append(numpy_helper.from_array(np.asarray(values), name))
        return name


def _operands(node: Any) -> list[str]:
    """Inputs that are computed with, as against weights, sizes and axes."""
    return list(node.input) if node.op_type in ("Add", "Mul", "Concat") else [node.input[0]]


def _sources(graph: Any) -> dict[str, str]:
    """Where a value that was only moved comes from; others are missing."""
    sources: dict[str, str] = {}
    for node in graph.node:
        if node.op_type in _MOVING:
            origin = sources.get(node.input[0], node.input[0])
            sources.update(dict.fromkeys(node.output, origin))
    return sources


def _shared(ranges: Ranges, sources: Mapping[str, str]) -> Ranges:
    """Ranges with those of moved values replaced by their source's."""
    return {name: ranges[sources.get(name, name)] for name in ranges}


def _read_by_relu_alone(graph: Any) -> set[str]:
    """Values that nothing but one relu reads: the kernel before it cuts them off itself."""
    readers = Counter(name for node in graph.node for name in node.input)
    return {node.input[0] for node in graph.node if node.op_type == "Relu" and readers[node.input[0]] == 1}
