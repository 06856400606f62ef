"""A network as a TensorFlow Lite file, written node by node from the operators' graphs.

Converting a torch module takes 2 to 5 s an operator and an environment of 2 GB; writing the flatbuffer takes a few
milliseconds. The tables are those of the schema that the runtime's own package carries.
"""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hurricane.errors import MissingExtraError
from hurricane.export.network import Network
from hurricane.export.tflite_graph import Operation, TfliteGraph, Value
from hurricane.export.tflite_lowering import lowered

IDENTIFIER = b"TFL3"
# Of the file format; 3 since 2017.
_VERSION = 3
_ALIGNMENT = 16
_OPTIONS = {
    "ADD": "AddOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "DEQUANTIZE": "DequantizeOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "MEAN": "ReducerOptions",
    "MUL": "MulOptions",
    "PAD": "PadOptions",
    "QUANTIZE": "QuantizeOptions",
    "RESHAPE": "ReshapeOptions",
    "SPLIT": "SplitOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SUB": "SubOptions",
    "TRANSPOSE": "TransposeOptions",
}
# Versions of operations that came with int8 (lite/tools/versioning/op_version.cc tells them); 1 where none did.
_INT8_VERSIONS = {
    "ADD": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEQUANTIZE": 2,
    "FULLY_CONNECTED": 4,
    "MEAN": 2,
    "MUL": 2,
    "PAD": 2,
    "SPLIT": 2,
    "STRIDED_SLICE": 2,
    "TRANSPOSE": 2,
}


def tflite_bytes(network: Network) -> bytes:
    """The network as the bytes of a float32 TensorFlow Lite file; equal networks give equal bytes.

    Input `images` float32 (N, C, H, W), N is 1 unless resized; output `logits` (N, classes). Parts of a network
    have `images_nhwc` and `features_nhwc` instead. Raises MissingExtraError without the package of the schema.
    """
    return written(lowered(network))


def written(graph: TfliteGraph) -> bytes:
    """A graph as the bytes of a file."""
    schema = litert("schema_py_generated")
    import flatbuffers  # a dependency of the runtime's package

    names = list(graph.values)
    numbers = {name: number for number, name in enumerate(names)}
    integers = any(value.dtype == "int8" for value in graph.values.values())
    kinds = sorted({each.op for each in graph.operations})
    subgraph = schema.SubGraphT(
        tensors=[
            _tensor(schema, name, value, buffer)
            for buffer, (name, value) in enumerate(graph.values.items(), 1)
        ],
        inputs=[numbers[graph.input]],
        outputs=[numbers[graph.output]],
        operators=[_operator(schema, each, kinds, numbers) for each in graph.operations],
        name="main",
    )
    model = schema.ModelT(
        version=_VERSION,
        operatorCodes=[_code(schema, kind, _INT8_VERSIONS.get(kind, 1) if integers else 1) for kind in kinds],
        subgraphs=[subgraph],
        description="hurricane",
        # The first buffer is empty by convention.
        buffers=[
            _Buffer(schema, None),
            *(_Buffer(schema, value.constant) for value in graph.values.values()),
        ],
        signatureDefs=[_signature(schema, graph, numbers)],
    )
    size = sum(value.constant.nbytes for value in graph.values.values() if value.constant is not None)
    builder = flatbuffers.Builder(size + 1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def litert(module: str) -> Any:
    """A module of the runtime's package; MissingExtraError where it cannot be imported."""
    try:
        return importlib.import_module(f"ai_edge_litert.{module}")
    except ImportError as error:
        raise MissingExtraError(
            f"LiteRT cannot be imported ({error}); install it with `pip install 'hurricane-nas[litert]'`"
        ) from error


class _Buffer:
    """The content of a constant, at a multiple of 16 bytes: kernels read vectors from it in place.

    The generated class would align it to one byte.
    """

    def __init__(self, schema: Any, content: npt.NDArray[np.generic] | None) -> None:
        self._schema, self._content = schema, content

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the name that the generated classes call
        data = b"" if self._content is None else self._content.tobytes()
        vector = None
        if data:
            builder.StartVector(1, len(data), _ALIGNMENT)
            builder.head -= len(data)
            builder.Bytes[builder.head : builder.head + len(data)] = data
            vector = builder.EndVector()
        self._schema.BufferStart(builder)
        if vector is not None:
            self._schema.BufferAddData(builder, vector)
        return int(self._schema.BufferEnd(builder))


def _tensor(schema: Any, name: str, value: Value, buffer: int) -> Any:
    tensor = schema.TensorT(
        shape=list(value.shape),
        type=getattr(schema.TensorType, value.dtype.upper()),
        buffer=buffer if value.constant is not None else 0,
        name=name,
        hasRank=True,
    )
    if value.constant is None:
        tensor.shapeSignature = [-1, *value.shape[1:]]
    if value.quantisation is not None:
        scales = value.quantisation.scales
        tensor.quantization = schema.QuantizationParametersT(
            scale=scales.tolist(),
            zeroPoint=[value.quantisation.zero_point] * len(scales),
            quantizedDimension=value.quantisation.axis,
        )
    return tensor


def _operator(schema: Any, each: Operation, kinds: Sequence[str], numbers: dict[str, int]) -> Any:
    operator = schema.OperatorT(
        opcodeIndex=kinds.index(each.op),
        inputs=[numbers[name] for name in each.inputs],
        outputs=[numbers[name] for name in each.outputs],
    )
    if each.op in _OPTIONS:
        table = _OPTIONS[each.op]
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
        operator.builtinOptions = getattr(schema, f"{table}T")(**each.options)
    return operator


def _code(schema: Any, kind: str, version: int) -> Any:
    number = getattr(schema.BuiltinOperator, kind)
    # Old readers know the first field only, a byte, whose 127 says "look at the other one".
    return schema.OperatorCodeT(deprecatedBuiltinCode=min(number, 127), version=version, builtinCode=number)


def _signature(schema: Any, graph: TfliteGraph, numbers: dict[str, int]) -> Any:
    inputs, outputs = (
        [schema.TensorMapT(name=name, tensorIndex=numbers[name])] for name in (graph.input, graph.output)
    )
    return schema.SignatureDefT(
        inputs=inputs, outputs=outputs, signatureKey="serving_default", subgraphIndex=0
    )
