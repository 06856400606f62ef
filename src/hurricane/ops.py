"""Operators: one description each, from which everything else follows.

An `OpSpec` (kind, channels in and out, stride, input size) names one operator at one place. `graph`
turns it into a `Graph`: a short list of primitives (convolution, activation, shuffle, ...). That graph is
what `hurricane.nn` builds as a torch module, what `hurricane.export` writes for a device, and what is
counted here. No second place describes an operator, and none of this needs torch.

The pool is our reading of arXiv 1910.11609 (32 operators, see `OPERATORS`); `skip` is ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from hurricane import plugins
from hurricane.errors import OperatorError


@dataclass(frozen=True, slots=True, order=True)
class OpSpec:
    """One operator at one place of a network: the key of the latency table.

    `size` is the height and width of its input in pixels; its output has ceil(size / stride).
    """

    kind: str
    cin: int
    cout: int
    stride: int
    size: int

    @property
    def out_size(self) -> int:
        """Height and width of the output, pixels."""
        return -(-self.size // self.stride)

    def __str__(self) -> str:
        return f"{self.kind} {self.cin}->{self.cout} stride {self.stride} at {self.size} px"


@dataclass(frozen=True, slots=True)
class Node:
    """One primitive of a graph.

    op : "conv", "linear", "relu", "hard_sigmoid", "hard_swish", "add", "mul", "concat", "slice",
        "shuffle" or "mean" (global average, to 1 x 1).
    inputs : values it reads; 0 is the input of the graph, i + 1 the output of node i.
    channels, size : shape of its output (size: height and width, pixels).
    kernel, stride, groups : of "conv" (padding is kernel // 2); `groups` also of "shuffle".
    normed : a "conv" followed by batch normalisation and without a bias; otherwise it has a bias.
    start : first channel of a "slice".
    """

    op: str
    inputs: tuple[int, ...]
    channels: int
    size: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    normed: bool = True
    start: int = 0


@dataclass(frozen=True, slots=True)
class Graph:
    """The primitives of one operator in order of execution; the last node's output is the result.

    A graph without nodes is the identity: it costs nothing by construction.
    """

    cin: int
    size: int
    nodes: tuple[Node, ...]

    def channels_of(self, value: int) -> int:
        """Channels of a value (0: the input, i + 1: the output of node i)."""
        return self.cin if value == 0 else self.nodes[value - 1].channels

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the convolutions and linear layers for one picture."""
        return sum(
            node.size**2 * node.channels * self._fan_in(node)
            for node in self.nodes
            if node.op in ("conv", "linear")
        )

    @property
    def mixing_macs(self) -> int:
        """Multiply-accumulates of what mixes channels: all but those of depthwise convolutions."""
        return sum(
            node.size**2 * node.channels * self._fan_in(node)
            for node in self.nodes
            if node.op == "linear"
            or (node.op == "conv" and (node.groups == 1 or self._fan_in(node) > node.kernel**2))
        )

    @property
    def params(self) -> int:
        """Trained parameters: weights, biases, and scale and shift of the batch normalisations."""
        return sum(
            node.channels * (self._fan_in(node) + (2 if node.op == "conv" and node.normed else 1))
            for node in self.nodes
            if node.op in ("conv", "linear")
        )

    @property
    def seen_macs(self) -> float:
        """Multiply-accumulates without those on padding: at 4 pixels a 7 x 7 kernel sees a third of its taps."""
        counted = (node for node in self.nodes if node.op in ("conv", "linear"))
        return float(
            sum(node.size**2 * node.channels * self._fan_in(node) * self._seen(node) for node in counted)
        )

    @property
    def seen_params(self) -> float:
        """Trained weights, each weighted by how often it meets a pixel and not the padding."""
        counted = (node for node in self.nodes if node.op in ("conv", "linear"))
        return float(sum(node.channels * self._fan_in(node) * self._seen(node) for node in counted))

    @property
    def bends(self) -> int:
        """Channels with a rectifier behind them: how much of what is computed is not linear."""
        return sum(node.channels for node in self.nodes if node.op in ("relu", "hard_swish"))

    def _seen(self, node: Node) -> float:
        """Share of a convolution's taps that meet pixels."""
        read, reach = node.inputs[0], node.kernel // 2
        size = self.size if read == 0 else self.nodes[read - 1].size
        if node.kernel == 1 or size < 1:
            return 1.0
        centres = range(0, node.size * node.stride, node.stride)
        taps = sum(min(at + reach, size - 1) - max(at - reach, 0) + 1 for at in centres)
        return (taps / (node.kernel * node.size)) ** 2

    def _fan_in(self, node: Node) -> int:
        return self.channels_of(node.inputs[0]) // node.groups * node.kernel**2


class GraphBuilder:
    """Writes down a graph primitive by primitive; every method returns the value it made.

    `GraphBuilder.input` is the value that the operator receives.
    """

    input = 0

    def __init__(self, cin: int, size: int) -> None:
        self._cin, self._size = cin, size
        self._nodes: list[Node] = []

    def channels(self, value: int) -> int:
        """Channels of a value."""
        return self._cin if value == 0 else self._nodes[value - 1].channels

    def size(self, value: int) -> int:
        """Height and width of a value, pixels."""
        return self._size if value == 0 else self._nodes[value - 1].size

    def conv(
        self, x: int, cout: int, kernel: int = 1, stride: int = 1, groups: int = 1, normed: bool = True
    ) -> int:
        """A convolution of an odd kernel, followed by batch normalisation unless `normed` is False."""
        if kernel % 2 == 0:
            raise OperatorError(f"a kernel of {kernel} cannot be padded evenly; give an odd one")
        if self.channels(x) % groups or cout % groups:
            raise OperatorError(
                f"a convolution of {self.channels(x)} to {cout} channels cannot have {groups} groups; "
                "both channel counts must be multiples of the groups"
            )
        size = -(-self.size(x) // stride)
        return self._add(Node("conv", (x,), cout, size, kernel, stride, groups, normed))

    def depthwise(self, x: int, kernel: int, stride: int = 1) -> int:
        """A depthwise convolution with batch normalisation."""
        return self.conv(x, self.channels(x), kernel, stride, groups=self.channels(x))

    def relu(self, x: int) -> int:
        """max(x, 0)."""
        return self._elementwise("relu", x)

    def hard_sigmoid(self, x: int) -> int:
        """clip(x / 6 + 1/2, 0, 1)."""
        return self._elementwise("hard_sigmoid", x)

    def hard_swish(self, x: int) -> int:
        """x * hard_sigmoid(x)."""
        return self._elementwise("hard_swish", x)

    def add(self, a: int, b: int) -> int:
        """The sum of two values of equal shape."""
        return self._elementwise("add", a, b)

    def mul(self, a: int, b: int) -> int:
        """The product of `a` with `b`, which is of equal shape or of 1 x 1 pixels."""
        return self._elementwise("mul", a, b)

    def concat(self, a: int, b: int) -> int:
        """The channels of `a`, then those of `b`."""
        return self._add(Node("concat", (a, b), self.channels(a) + self.channels(b), self.size(a)))

    def slice(self, x: int, start: int, stop: int) -> int:
        """The channels from `start` up to `stop`."""
        return self._add(Node("slice", (x,), stop - start, self.size(x), start=start))

    def shuffle(self, x: int, groups: int) -> int:
        """The channel shuffle of ShuffleNet: channels of `groups` groups interleaved."""
        return self._add(Node("shuffle", (x,), self.channels(x), self.size(x), groups=groups))

    def mean(self, x: int) -> int:
        """The average over all pixels; 1 x 1 pixels remain."""
        return self._add(Node("mean", (x,), self.channels(x), 1))

    def linear(self, x: int, cout: int) -> int:
        """A linear layer with bias on a value of 1 x 1 pixels; the result has no pixel axes."""
        return self._add(Node("linear", (x,), cout, 1))

    def squeeze_excite(self, x: int) -> int:
        """`x` gated channel by channel: hidden width a quarter of what is gated, h-sigmoid gate."""
        width = self.channels(x)
        hidden = self.relu(self.conv(self.mean(x), max(1, width // 4), normed=False))
        return self.mul(x, self.hard_sigmoid(self.conv(hidden, width, normed=False)))

    def build(self) -> Graph:
        """The graph as written down so far."""
        return Graph(self._cin, self._size, tuple(self._nodes))

    def _elementwise(self, op: str, *inputs: int) -> int:
        return self._add(Node(op, inputs, self.channels(inputs[0]), self.size(inputs[0])))

    def _add(self, node: Node) -> int:
        self._nodes.append(node)
        return len(self._nodes)


class Operator(Protocol):
    """What a kind of operator must offer; third parties add theirs by the entry point `hurricane.operators`.

    kind : its name in search spaces and tables.
    unsupported(spec) : why it cannot stand at this place, or None where it can.
    write(spec, builder) : its primitives, from `builder.input` to the last value written, which must
        have `spec.cout` channels and `spec.out_size` pixels.
    """

    @property
    def kind(self) -> str: ...

    def unsupported(self, spec: OpSpec) -> str | None: ...

    def write(self, spec: OpSpec, builder: GraphBuilder) -> None: ...


@dataclass(frozen=True, slots=True)
class _Pooled:
    """An operator of the built-in pool: a kind, and the function that writes its graph."""

    kind: str
    body: Callable[[OpSpec, GraphBuilder], object]
    even: bool = False

    def unsupported(self, spec: OpSpec) -> str | None:
        if self.even and (spec.cin % 2 or spec.cout % 2):
            return f"a shuffle unit needs even channel counts, not {spec.cin} and {spec.cout}"
        return None

    def write(self, spec: OpSpec, builder: GraphBuilder) -> None:
        self.body(spec, builder)


def _residual(spec: OpSpec, b: GraphBuilder, y: int) -> int:
    return b.add(b.input, y) if spec.stride == 1 and spec.cin == spec.cout else y


def _separable(kernel: int, gated: bool) -> Callable[[OpSpec, GraphBuilder], object]:
    """Depthwise separable convolution with a linear projection (METHOD: 37 % where others learned 21 %)."""

    def body(spec: OpSpec, b: GraphBuilder) -> None:
        y = b.relu(b.depthwise(b.input, kernel, spec.stride))
        y = b.squeeze_excite(y) if gated else y
        _residual(spec, b, b.conv(y, spec.cout))

    return body


def _bottleneck(kernel: int, expansion: int, gated: bool) -> Callable[[OpSpec, GraphBuilder], object]:
    """Inverted bottleneck (MobileNetV2): expand, depthwise, project without activation."""

    def body(spec: OpSpec, b: GraphBuilder) -> None:
        y = b.input if expansion == 1 else b.relu(b.conv(b.input, spec.cin * expansion))
        y = b.relu(b.depthwise(y, kernel, spec.stride))
        y = b.squeeze_excite(y) if gated else y
        _residual(spec, b, b.conv(y, spec.cout))

    return body


def _shuffle_unit(kernels: tuple[int, ...], gated: bool) -> Callable[[OpSpec, GraphBuilder], object]:
    """ShuffleNetV2 unit; three kernels make the xception form of SPOS (depthwise first, thrice).

    Where the shape is kept, half of the channels pass by; elsewhere the other branch is a depthwise and
    a pointwise convolution. Both halves are concatenated and shuffled.
    """

    def body(spec: OpSpec, b: GraphBuilder) -> None:
        keeps_shape = spec.stride == 1 and spec.cin == spec.cout
        half = spec.cout // 2
        if keeps_shape:
            passed, y = b.slice(b.input, 0, half), b.slice(b.input, half, spec.cin)
        else:
            passed = b.depthwise(b.input, kernels[0], spec.stride)
            passed = b.relu(b.conv(passed, half))
            y = b.input
        if len(kernels) == 1:
            y = b.relu(b.conv(y, half))
        for position, kernel in enumerate(kernels):
            y = b.depthwise(y, kernel, spec.stride if position == 0 else 1)
            if gated and position == len(kernels) - 1:
                y = b.squeeze_excite(y)
            y = b.relu(b.conv(y, half))
        b.shuffle(b.concat(passed, y), 2)

    return body


def _skip(spec: OpSpec, b: GraphBuilder) -> None:
    """Nothing where the shape is kept; elsewhere the cheapest thing that changes it, a 1x1 convolution."""
    if spec.stride != 1 or spec.cin != spec.cout:
        b.conv(b.input, spec.cout, stride=spec.stride)


def _stem(spec: OpSpec, b: GraphBuilder) -> None:
    b.relu(b.conv(b.input, spec.cout, kernel=3, stride=spec.stride))


def _head(spec: OpSpec, b: GraphBuilder) -> None:
    b.relu(b.conv(b.input, spec.cout))


def _classifier(spec: OpSpec, b: GraphBuilder) -> None:
    b.linear(b.mean(b.input), spec.cout)


def _pool() -> tuple[_Pooled, ...]:
    operators = []
    for suffix, gated in (("", False), ("_se", True)):
        operators += [_Pooled(f"sep_k{k}{suffix}", _separable(k, gated)) for k in (3, 5, 7)]
        operators += [
            _Pooled(f"mb_k{k}_e{e}{suffix}", _bottleneck(k, e, gated)) for k in (3, 5, 7) for e in (1, 3, 6)
        ]
        operators += [
            _Pooled(f"choice_k{k}{suffix}", _shuffle_unit((k,), gated), even=True) for k in (3, 5, 7)
        ]
        operators.append(_Pooled(f"choicex{suffix}", _shuffle_unit((3, 3, 3), gated), even=True))
    return tuple(operators)


_POOL = _pool()
_FRAME = (_Pooled("stem", _stem), _Pooled("head", _head), _Pooled("classifier", _classifier))
_BUILT_IN: dict[str, Operator] = {op.kind: op for op in (*_POOL, *_FRAME, _Pooled("skip", _skip))}

OPERATORS: tuple[str, ...] = tuple(op.kind for op in _POOL)
"""Names of the 32 operators of the pool (arXiv 1910.11609; our reading of its list)."""


def find_operator(kind: str) -> Operator:
    """The operator of this kind, built in or from a plug-in; OperatorError where there is none."""
    if kind in _BUILT_IN:
        return _BUILT_IN[kind]
    added: dict[str, Operator] = plugins.load("hurricane.operators")
    if kind not in added:
        close = plugins.closest(kind, [*OPERATORS, "skip", *added])
        raise OperatorError(f"there is no operator {kind!r}{close}; `hurricane.OPERATORS` lists the pool")
    return added[kind]


def unsupported(spec: OpSpec) -> str | None:
    """Why the operator cannot stand at this place, or None where it can."""
    return find_operator(spec.kind).unsupported(spec)


@lru_cache(maxsize=8192)
def graph(spec: OpSpec) -> Graph:
    """The primitives of an operator; OperatorError where the kind is unknown or cannot stand there."""
    operator = find_operator(spec.kind)
    reason = operator.unsupported(spec)
    if reason is not None:
        raise OperatorError(f"{spec} cannot be built: {reason}")
    builder = GraphBuilder(spec.cin, spec.size)
    operator.write(spec, builder)
    result = builder.build()
    channels = result.channels_of(len(result.nodes))
    size = result.nodes[-1].size if result.nodes else spec.size
    if channels != spec.cout or (size != spec.out_size and spec.kind != "classifier"):
        raise OperatorError(
            f"{spec} wrote an output of {channels} channels at {size} px; "
            f"needed {spec.cout} channels at {spec.out_size} px"
        )
    return result
