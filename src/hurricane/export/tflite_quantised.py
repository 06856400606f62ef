"""A lowered network in int8: TensorFlow Lite's full-integer scheme, which the phones' kernels compute.

Weights are symmetric with a scale for each channel, biases int32, values asymmetric with one scale. Ranges of values
are the least and the greatest that the float32 file shows on the calibration inputs.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hurricane.export.network import Network
from hurricane.export.tflite_file import litert, written
from hurricane.export.tflite_graph import (
    IMAGES,
    LOGITS,
    Array,
    Operation,
    Quantisation,
    TfliteGraph,
    Value,
)
from hurricane.export.tflite_lowering import lowered

Range = tuple[float, float]

# What only moves numbers keeps their scale: kernels do not convert in between.
_MOVING = ("CONCATENATION", "PAD", "RESHAPE", "SPLIT", "STRIDED_SLICE", "TRANSPOSE")
# Where the channels of the output lie in a weight.
_CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
# A channel this much smaller than the largest contributes nothing; XNNPACK refuses factors below 2**-32.
_LEAST_SHARE = 2.0**-16
# A bias may be large where weights are almost zero; it must fit into 32 bits with room for the sum.
_LARGEST_BIAS = 2.0**30


def tflite_int8_bytes(network: Network, calibration: npt.NDArray[np.float32] | None = None) -> bytes:
    """The network as the bytes of an int8 TensorFlow Lite file; equal networks and inputs give equal bytes.

    Whole networks keep float32 `images` and `logits`; parts of one take and give int8, as inside the network.
    calibration : (n, c, h, w) inputs; None takes a random one in [0, 1], enough for timing.
    """
    graph = lowered(network)
    if calibration is None:
        spec = network.specs[0]
        shape = (1, spec.cin, spec.size, spec.size)
        calibration = np.random.default_rng(0).random(shape, dtype=np.float32)
    return written(quantised(graph, observed(graph, calibration)))


def observed(graph: TfliteGraph, images: npt.NDArray[np.float32]) -> dict[str, Range]:
    """The least and the greatest number of every value that is computed, over all inputs (n, c, h, w)."""
    runtime = litert("interpreter")
    interpreter = runtime.Interpreter(
        model_content=written(graph),
        num_threads=1,
        # XNNPACK keeps what lies between to itself; the plain kernels show it.
        experimental_op_resolver_type=runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    numbers = {
        name: number for number, (name, value) in enumerate(graph.values.items()) if value.constant is None
    }
    seen = dict.fromkeys(numbers, (0.0, 0.0))  # zero must have a number of its own: padding is made of it
    ordered = images if graph.input == IMAGES else images.transpose(0, 2, 3, 1)
    for image in ordered:
        interpreter.set_tensor(numbers[graph.input], np.ascontiguousarray(image[None]))
        interpreter.invoke()
        for name, number in numbers.items():
            seen[name] = _widened(seen[name], interpreter.tensor(number)())
    return seen


def _widened(limits: Range, content: Array) -> Range:
    """A range that holds what is seen too. A view into the runtime is gone when this returns, as it asks for."""
    return min(limits[0], float(content.min())), max(limits[1], float(content.max()))


def quantised(graph: TfliteGraph, ranges: Mapping[str, Range]) -> TfliteGraph:
    """The graph in int8, given the range of every value that is computed."""
    front = _front(graph)
    shared = _shared(graph, {name: limits for name, limits in ranges.items() if name not in _before(front)})
    values = {
        name: value
        if name not in shared
        else replace(value, dtype="int8", quantisation=_asymmetric(shared[name]))
        for name, value in graph.values.items()
    }
    for each in graph.operations[len(front) :]:
        if each.op in _CHANNEL_AXIS:
            x, weight, bias = each.inputs
            values[weight], values[bias] = _weights(
                graph.values[weight], graph.values[bias], _scale_of(values[x]), _CHANNEL_AXIS[each.op]
            )
        elif each.op == "MUL" and graph.values[each.inputs[1]].constant is not None:
            values[each.inputs[1]] = _factor(graph.values[each.inputs[1]])
    return _with_edges(replace(graph, values=values), front)


def _front(graph: TfliteGraph) -> tuple[Operation, ...]:
    """The operations that prepare pictures, before they are laid out with channels last: they stay in float32.

    One rounding of normalised pictures loses less than three, and takes no longer.
    """
    if graph.input != IMAGES:
        return ()
    kinds = [each.op for each in graph.operations]
    return graph.operations[: kinds.index("TRANSPOSE")]


def _before(front: tuple[Operation, ...]) -> set[str]:
    """The values that the first operations read."""
    return {name for each in front for name in each.inputs}


def _shared(graph: TfliteGraph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Ranges of values with one range for all that must have the same scale."""
    group = {name: {name} for name in ranges}
    for each in graph.operations:
        if each.op not in _MOVING:
            continue
        moved = [name for name in (*each.inputs, *each.outputs) if name in ranges]
        together = set().union(*(group[name] for name in moved))
        group.update(dict.fromkeys(together, together))
    return {
        name: (min(ranges[other][0] for other in names), max(ranges[other][1] for other in names))
        for name, names in group.items()
    }


def _asymmetric(limits: Range) -> Quantisation:
    """256 steps over a range that is widened to include zero, and zero at a whole step."""
    least, greatest = min(limits[0], 0.0), max(limits[1], 0.0)
    span = greatest - least or 1.0
    scale = np.float32(span / 255)
    zero_point = int(np.clip(round(-128 - least / float(scale)), -128, 127))
    return Quantisation(scale.reshape(1), zero_point)


def _scale_of(value: Value) -> float:
    assert value.quantisation is not None
    return float(value.quantisation.scales[0])


def _weights(weight: Value, bias: Value, input_scale: float, axis: int) -> tuple[Value, Value]:
    """A weight in int8 with a scale for each output channel, and its bias in int32 at the scale of the sums."""
    content, shift = _numbers(weight), _numbers(bias)
    largest = np.abs(content).max(axis=tuple(a for a in range(content.ndim) if a != axis))
    least = max(float(largest.max()) * _LEAST_SHARE, 1e-9)
    scales = np.maximum(np.maximum(largest, least) / 127, np.abs(shift) / (input_scale * _LARGEST_BIAS))
    scales = scales.astype(np.float32)
    along = scales.reshape([-1 if a == axis else 1 for a in range(content.ndim)])
    steps = np.clip(np.rint(content / along), -127, 127).astype(np.int8)
    sums = (np.float32(input_scale) * scales).astype(np.float32)
    shifts = np.rint(shift / sums.astype(np.float64)).astype(np.int32)
    return (
        Value(weight.shape, steps, "int8", Quantisation(scales, axis=axis)),
        Value(bias.shape, shifts, "int32", Quantisation(sums)),
    )


def _factor(value: Value) -> Value:
    """A constant that values are multiplied with, in int8."""
    content = _numbers(value)
    scale = np.array([np.abs(content).max() / 127], np.float32)
    return Value(value.shape, np.rint(content / scale[0]).astype(np.int8), "int8", Quantisation(scale))


def _numbers(value: Value) -> npt.NDArray[np.float64]:
    content: Array | None = value.constant
    assert content is not None
    return np.asarray(content, np.float64)


def _with_edges(graph: TfliteGraph, front: tuple[Operation, ...]) -> TfliteGraph:
    """The graph with float32 `images` and `logits`, converted right after the front and at the very end."""
    values, inside = dict(graph.values), list(graph.operations[len(front) :])
    first: tuple[Operation, ...] = ()
    last: tuple[Operation, ...] = ()
    if graph.input == IMAGES:
        pictures = front[-1].outputs[0] if front else IMAGES
        inside, first = _converted(values, inside, pictures, "QUANTIZE")
    if graph.output == LOGITS:
        inside, last = _converted(values, inside, LOGITS, "DEQUANTIZE")
    return replace(graph, values=values, operations=(*front, *first, *inside, *last))


def _converted(
    values: dict[str, Value], operations: list[Operation], name: str, op: str
) -> tuple[list[Operation], tuple[Operation, ...]]:
    """Operations that read or write an int8 twin of a value, which becomes float32; and what converts the two."""
    twin = f"{name}.int8"
    values[twin] = values[name]
    values[name] = replace(values[name], dtype="float32", quantisation=None)
    ends = ((name,), (twin,)) if op == "QUANTIZE" else ((twin,), (name,))
    return [_renamed(each, name, twin) for each in operations], (Operation(op, *ends),)


def _renamed(each: Operation, old: str, new: str) -> Operation:
    inputs, outputs = (
        tuple(new if name == old else name for name in names) for names in (each.inputs, each.outputs)
    )
    return replace(each, inputs=inputs, outputs=outputs)
