"""Networks of a search space: the supernet that holds every choice, and the network of one architecture."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from hurricane.nn.block import Block, FoldedWeights, Normalisation
from hurricane.nn.sharing import share as share_weights
from hurricane.space import SearchSpace


def through(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
    """What blocks make of a batch, one after the other."""
    for block in blocks:
        x = block(x)
    return x


class Supernet(nn.Module):
    """Every choice of every layer; a path says which of them run.

    `supernet(images, path)`: images (n, 3, image_size, image_size) in [0, 1], path one index a layer,
    result logits (n, classes). Nothing is ever "active": the path is an argument.

    share : whether choices of one form at a layer share the weights of their convolutions (see `nn.sharing`); else
        each has its own. What `state_dict` holds is the same either way.
    """

    def __init__(
        self,
        space: SearchSpace,
        mean: tuple[float, ...] = (0.5,) * 3,
        std: tuple[float, ...] = (0.25,) * 3,
        *,
        share: bool = False,
    ) -> None:
        super().__init__()
        self.space = space
        self.normalisation = Normalisation(mean, std)
        self.stem = Block(space.stem)
        self.layers = nn.ModuleList(
            nn.ModuleDict({choice: Block(layer.spec(choice)) for choice in layer.choices})
            for layer in space.layers
        )
        if share:
            for choices in self.layers:
                assert isinstance(choices, nn.ModuleDict)
                share_weights(block for block in choices.values() if isinstance(block, Block))
        self.head, self.classifier = (Block(spec) for spec in space.tail)

    def forward(self, images: Tensor, path: Sequence[int]) -> Tensor:
        return through(self.blocks(path), self.normalisation(images))

    def blocks(self, path: Sequence[int]) -> Iterator[Block]:
        """The blocks on a path in order: stem, one a layer, head, classifier."""
        yield self.stem
        for choices, layer, index in zip(self.layers, self.space.layers, path, strict=True):
            assert isinstance(choices, nn.ModuleDict)
            block = choices[layer.choices[index]]
            assert isinstance(block, Block)
            yield block
        yield self.head
        yield self.classifier

    def inherit(self, other: "Supernet", share: float = 1.0) -> None:
        """Take over the weights of every block that `other` has under the same layer and choice.

        share : of their weights in the mixture with our own, 0 to 1; statistics are always theirs. Weights learned
            before, shrunk and mixed with fresh ones, generalise better after a long training than when it goes on from
            them as they are (Ash and Adams: "On warm-starting neural network training", arXiv 1910.08475).
        """
        theirs, ours, statistics = other.state_dict(), self.state_dict(), dict(self.named_buffers())
        mixed = {
            key: theirs[key] if key in statistics else torch.lerp(ours[key], theirs[key], share)
            for key in ours.keys() & theirs.keys()
        }
        # What both have and no more: weights that are shared belong to operators that `other` lacks, too.
        self.load_state_dict(mixed, strict=False)

    def extract(self, path: Sequence[int]) -> "FixedNetwork":
        """The network of one architecture with a copy of this supernet's weights."""
        names = [(name,) for name in self.space.names(list(path))]
        network = FixedNetwork(self.space.narrow(names))
        network.inherit(self)
        network.normalisation.load_state_dict(self.normalisation.state_dict())
        return network


class FixedNetwork(Supernet):
    """The network of one architecture: a supernet of a space with one choice a layer, whose path is known."""

    def __init__(
        self, space: SearchSpace, mean: tuple[float, ...] = (0.5,) * 3, std: tuple[float, ...] = (0.25,) * 3
    ) -> None:
        assert space.size == 1
        super().__init__(space, mean, std)

    def forward(self, images: Tensor, path: Sequence[int] | None = None) -> Tensor:
        return super().forward(images, path or ())

    def blocks(self, path: Sequence[int]) -> Iterator[Block]:
        """All blocks in order; the path may be left empty."""
        return super().blocks(path or (0,) * len(self.space.layers))

    def folded(self) -> tuple[FoldedWeights, ...]:
        """Folded weights of each operator in order, as the exporter takes them."""
        with torch.no_grad():
            return tuple(block.folded() for block in self.blocks(()))
