"""Growing: untrained operators of a layer start from the trained one beside them (ours; Net2Net, arXiv 1511.05641).

Operators of one form, such as all inverted bottlenecks with an expansion, differ in kernel, width and gate only. A
larger kernel holds the smaller one in its middle, a wider hidden layer repeats channels and shares out what reads
them, and a gate starts open: what was grown computes nearly what it was grown from. Where forms differ the random
start stays. Where operators share their weights, what the trained one leaves free of them is filled likewise, but that
channels which are repeated keep their weight and their copies get nearly none.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hurricane.nn.block import Block, ConvNorm
from hurricane.nn.forms import chain, gates, kin
from hurricane.nn.network import Supernet
from hurricane.nn.sharing import SharedConv

# Repeated channels must part ways; relative to the weights' own spread.
NOISE = 0.05
# h-sigmoid(2) = 0.83: open, and not yet where its slope ends.
OPEN_GATE = 2.0


@torch.no_grad()
def grow(model: Supernet, layer: int, source: str, names: Sequence[str], seed: int) -> list[str]:
    """Let choices of a layer start from the weights of the choice `source`; the names of those that could."""
    choices = model.layers[layer]
    assert isinstance(choices, nn.ModuleDict)
    rng = torch.Generator().manual_seed(seed)
    trained = choices[source]
    assert isinstance(trained, Block)
    _fill(trained, rng)
    grown = []
    for name in names:
        block = choices[name]
        assert isinstance(block, Block)
        if name != source and kin(trained, block):
            _grow(trained, block, rng)
            grown.append(name)
    return grown


def _grow(source: Block, target: Block, rng: torch.Generator) -> None:
    """Weights of `target` from those of `source`, which is its kin."""
    ours, theirs = chain(target), chain(source)
    width, trained = ours[0][0].out_channels, theirs[0][0].out_channels
    chosen = width < trained and not _shared(theirs[0])
    hidden = (_most_used(theirs) if chosen else torch.arange(trained))[torch.arange(width) % trained]
    for place, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        reads, gives = _hidden_at(place, hidden if width != trained else None)
        if not _shared(mine):
            mine[0].weight.copy_(_weights(other[0].weight, mine[0].kernel_size[0], reads, gives, rng))
        for values, known in zip(mine[1].state_dict().values(), other[1].state_dict().values(), strict=True):
            values.copy_(known if gives is None or known.ndim == 0 else known[gives])
    for gate in gates(target):
        gate.weight.mul_(0.1)
        assert gate.bias is not None
        gate.bias.fill_(OPEN_GATE if gate is gates(target)[-1] else 0.0)


def _fill(source: Block, rng: torch.Generator) -> None:
    """What `source` leaves free of weights that it shares: grown from its part, which stays as it is."""
    modules = chain(source)
    for place, module in enumerate(modules):
        conv = module[0]
        if isinstance(conv, SharedConv):
            part, whole = conv.part().clone(), conv.weight
            room = whole.shape[1 if place == 2 else 0]
            widened = whole.shape[:2] != part.shape[:2]
            reads, gives = _hidden_at(
                place, torch.arange(room) % modules[0][0].out_channels if widened else None
            )
            grown = _weights(part, whole.shape[2], reads, gives, rng)
            if reads is not None:
                # The trained channels keep their weight, so their copies get nearly none.
                grown *= NOISE
            whole.copy_(grown)
            conv.part().copy_(part)


def _shared(module: ConvNorm) -> bool:
    return isinstance(module[0], SharedConv)


def _hidden_at(place: int, hidden: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Of the hidden channels of a bottleneck, those that its convolution at a place reads, and those it gives."""
    return (hidden if place == 2 else None), (hidden if place < 2 else None)


def _most_used(modules: list[ConvNorm]) -> Tensor:
    """Hidden channels of a bottleneck, those that its projection weighs most first."""
    projection, norm = modules[2][0].weight, modules[1][1].weight
    return (projection.abs().sum(dim=(0, 2, 3)) * norm.abs()).argsort(descending=True)


def _weights(
    known: Tensor, kernel: int, reads: Tensor | None, gives: Tensor | None, rng: torch.Generator
) -> Tensor:
    """Weights of one convolution from known ones.

    reads, gives : for each input and output channel, which channel of the known it stands for; None is its own.
    """
    weight = _resized(known, kernel)
    if gives is not None:
        weight = weight[gives]
    if reads is not None:
        # Channels that stand for the same one share its weight out among them.
        copies = torch.bincount(reads, minlength=int(reads.max()) + 1)[reads].float()
        weight = weight[:, reads] / copies[None, :, None, None]
    return weight + torch.randn(weight.shape, generator=rng) * float(weight.std()) * NOISE


def _resized(weight: Tensor, kernel: int) -> Tensor:
    """A kernel laid into the middle of a larger one, or the middle of a larger one."""
    margin = (kernel - weight.shape[2]) // 2
    return nn.functional.pad(weight, (margin,) * 4) if margin else weight
