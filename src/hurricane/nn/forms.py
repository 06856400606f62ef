"""Forms: which operators of a layer are alike but for kernel, width and gate, so that weights can pass between them."""

from torch import nn

from hurricane import ops
from hurricane.nn.block import Block, ConvNorm
from hurricane.ops import OpSpec


def form(spec: OpSpec) -> tuple[tuple[str, bool, int], ...]:
    """An operator's primitives without gates, kernels and widths."""
    nodes = ops.graph(spec).nodes
    gating = {at for at, node in enumerate(nodes) if node.op == "conv" and not node.normed}
    gating |= {at for at, node in enumerate(nodes) if node.inputs and node.inputs[0] - 1 in gating}
    gating |= {at for at, node in enumerate(nodes) if node.op in ("mean", "hard_sigmoid", "mul")}
    return tuple((node.op, node.groups > 1, node.stride) for at, node in enumerate(nodes) if at not in gating)


def kin(one: Block, other: Block) -> bool:
    """Whether two operators have one form, and differ in widths only where both are inverted bottlenecks."""
    ours, theirs = chain(one), chain(other)
    if not ours or form(one.spec) != form(other.spec):
        return False
    alike = all(
        (a[0].out_channels, a[0].groups) == (b[0].out_channels, b[0].groups)
        for a, b in zip(ours, theirs, strict=True)
    )
    return alike or (inverted(ours) and inverted(theirs))


def chain(block: Block) -> list[ConvNorm]:
    """The convolutions of an operator with their normalisations, without those of its gate."""
    return [module for module in block.weighted.values() if isinstance(module, ConvNorm)]


def gates(block: Block) -> list[nn.Conv2d]:
    """The convolutions of an operator's gate."""
    return [module for module in block.weighted.values() if isinstance(module, nn.Conv2d)]


def depthwise(module: ConvNorm) -> bool:
    """Whether a convolution works channel by channel."""
    return module[0].groups == module[0].out_channels > 1


def inverted(modules: list[ConvNorm]) -> bool:
    """Whether a chain expands, convolves by channel, and projects."""
    return [depthwise(module) for module in modules] == [False, True, False]
