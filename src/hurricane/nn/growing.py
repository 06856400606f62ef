"""Growing: untrained operators of a layer start from the trained one beside them (ours; Net2Net, arXiv 1511.05641).

Operators of one form, such as all inverted bottlenecks with an expansion, differ in kernel, width and gate only. A
larger kernel holds the smaller one in its middle, a wider hidden layer repeats channels and shares out what reads
them, and a gate starts open: what was grown computes nearly what it was grown from. Where forms differ the random
start stays.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hurricane import ops
from hurricane.nn.block import Block, ConvNorm
from hurricane.nn.network import Supernet
from hurricane.ops import OpSpec

# Repeated channels must part ways; relative to the weights' own spread.
NOISE = 0.05
# h-sigmoid(2) = 0.83: open, and not yet where its slope ends.
OPEN_GATE = 2.0


def form(spec: OpSpec) -> tuple[tuple[str, bool, int], ...]:
    """An operator's primitives without gates, kernels and widths: operators of equal form grow into each other."""
    nodes = ops.graph(spec).nodes
    gating = {at for at, node in enumerate(nodes) if node.op == "conv" and not node.normed}
    gating |= {at for at, node in enumerate(nodes) if node.inputs and node.inputs[0] - 1 in gating}
    gating |= {at for at, node in enumerate(nodes) if node.op in ("mean", "hard_sigmoid", "mul")}
    return tuple((node.op, node.groups > 1, node.stride) for at, node in enumerate(nodes) if at not in gating)


def grow(model: Supernet, layer: int, source: str, names: Sequence[str], seed: int) -> list[str]:
    """Let choices of a layer start from the weights of the choice `source`; the names of those that could."""
    choices = model.layers[layer]
    assert isinstance(choices, nn.ModuleDict)
    rng = torch.Generator().manual_seed(seed)
    trained = choices[source]
    assert isinstance(trained, Block)
    grown = []
    for name in names:
        block = choices[name]
        assert isinstance(block, Block)
        if name != source and _grown(trained, block, rng):
            grown.append(name)
    return grown


@torch.no_grad()
def _grown(source: Block, target: Block, rng: torch.Generator) -> bool:
    """Weights of `target` from those of `source`; False, and nothing changed, where their forms differ."""
    ours, theirs = _chain(target), _chain(source)
    if not ours or form(source.spec) != form(target.spec):
        return False
    widths = [(mine[0].out_channels, other[0].out_channels) for mine, other in zip(ours, theirs, strict=True)]
    if any(mine != other for mine, other in widths) and not _inverted(ours):
        return False
    hidden = torch.arange(widths[0][0]) % widths[0][1]
    if widths[0][0] < widths[0][1]:
        hidden = _most_used(theirs)[: widths[0][0]]
    for place, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        widened = widths[0][0] != widths[0][1]
        _copy(
            mine,
            other,
            hidden if widened and place > 0 else None,
            hidden if widened and place < 2 else None,
            rng,
        )
    for gate in _gates(target):
        gate.weight.mul_(0.1)
        assert gate.bias is not None
        gate.bias.fill_(OPEN_GATE if gate is _gates(target)[-1] else 0.0)
    return True


def _chain(block: Block) -> list[ConvNorm]:
    return [module for module in block.weighted.values() if isinstance(module, ConvNorm)]


def _gates(block: Block) -> list[nn.Conv2d]:
    return [module for module in block.weighted.values() if isinstance(module, nn.Conv2d)]


def _depthwise(module: ConvNorm) -> bool:
    return module[0].groups > 1


def _inverted(chain: list[ConvNorm]) -> bool:
    """Whether a chain expands, convolves by channel, and projects."""
    return [_depthwise(module) for module in chain] == [False, True, False]


def _most_used(chain: list[ConvNorm]) -> Tensor:
    """Hidden channels of a bottleneck, those that its projection weighs most first."""
    projection, norm = chain[2][0].weight, chain[1][1].weight
    return (projection.abs().sum(dim=(0, 2, 3)) * norm.abs()).argsort(descending=True)


def _copy(
    mine: ConvNorm, other: ConvNorm, reads: Tensor | None, gives: Tensor | None, rng: torch.Generator
) -> None:
    """Copy one convolution with its normalisation.

    reads, gives : for each input and output channel, which channel of the other it stands for; None is its own.
    """
    conv = mine[0]
    weight = _resized(other[0].weight, conv.kernel_size[0])
    if gives is not None:
        weight = weight[gives]
    if reads is not None and not _depthwise(mine):
        # Channels that stand for the same one share its weight out among them.
        copies = torch.bincount(reads, minlength=int(reads.max()) + 1)[reads].float()
        weight = weight[:, reads] / copies[None, :, None, None]
    noise = torch.randn(weight.shape, generator=rng) * float(weight.std()) * NOISE
    conv.weight.copy_(weight + noise)
    for ours, source in zip(mine[1].state_dict().values(), other[1].state_dict().values(), strict=True):
        ours.copy_(source if gives is None or source.ndim == 0 else source[gives])


def _resized(weight: Tensor, kernel: int) -> Tensor:
    """A kernel laid into the middle of a larger one, or the middle of a larger one."""
    margin = (kernel - weight.shape[2]) // 2
    return nn.functional.pad(weight, (margin,) * 4) if margin else weight
