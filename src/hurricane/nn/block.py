"""One operator as a torch module, built from its graph."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hurricane import ops
from hurricane.nn.convolution import Conv2d
from hurricane.ops import Node, OpSpec

Weights = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
FoldedWeights = tuple[Weights, ...]


class Block(nn.Module):
    """An operator: input (n, cin, size, size) float, output (n, cout, out_size, out_size).

    A classifier gives (n, cout). The graph of the spec is interpreted; only convolutions and linear
    layers hold weights, under the position of their node.
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.spec = spec
        self.graph = ops.graph(spec)
        self.weighted = nn.ModuleDict(
            {
                str(position): _weighted(node, self.graph.channels_of(node.inputs[0]))
                for position, node in enumerate(self.graph.nodes)
                if node.op in ("conv", "linear")
            }
        )
        self._in_place = _in_place(self.graph)

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for position, node in enumerate(self.graph.nodes):
            inputs = [values[i] for i in node.inputs]
            if node.op in ("conv", "linear"):
                values.append(self.weighted[str(position)](*inputs))
            elif position in self._in_place:
                values.append(F.relu(inputs[0], inplace=True))
            else:
                values.append(_apply(node, inputs))
        return values[-1]

    def folded(self) -> FoldedWeights:
        """Weight and bias of each convolution and linear layer in order, batch normalisation folded in."""
        return tuple(_folded(module) for module in self.weighted.values())


class ConvNorm(nn.Sequential):
    """A convolution without bias and its batch normalisation."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(conv, nn.BatchNorm2d(conv.out_channels))


class Normalisation(nn.Module):
    """Pictures in [0, 1] to pictures of mean 0 and standard deviation 1 in each channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


def _in_place(graph: ops.Graph) -> frozenset[int]:
    """Positions of rectifiers that may overwrite what they read: of a convolution, and read by nobody else."""
    reads = Counter(i for node in graph.nodes for i in node.inputs)
    return frozenset(
        position
        for position, node in enumerate(graph.nodes)
        if node.op == "relu"
        and node.inputs[0] > 0
        and graph.nodes[node.inputs[0] - 1].op == "conv"
        and reads[node.inputs[0]] == 1
    )


def _weighted(node: Node, cin: int) -> nn.Module:
    if node.op == "linear":
        return FlatLinear(cin, node.channels)
    conv = Conv2d(
        cin,
        node.channels,
        node.kernel,
        stride=node.stride,
        padding=node.kernel // 2,
        groups=node.groups,
        bias=not node.normed,
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return ConvNorm(conv) if node.normed else conv


def _apply(node: Node, inputs: list[Tensor]) -> Tensor:
    x = inputs[0]
    match node.op:
        case "relu":
            return F.relu(x)
        case "hard_sigmoid":
            return F.hardsigmoid(x)
        case "hard_swish":
            return F.hardswish(x)
        case "add":
            return x + inputs[1]
        case "mul":
            return x * inputs[1]
        case "concat":
            return torch.cat(inputs, dim=1)
        case "slice":
            return x[:, node.start : node.start + node.channels]
        case "shuffle":
            return F.channel_shuffle(x, node.groups)
        case "mean":
            # The classifier's linear layer takes (n, c); squeeze-and-excitation takes (n, c, 1, 1).
            return x.mean(dim=(2, 3), keepdim=True)
    raise AssertionError(f"{node.op} is not a primitive")


def _folded(module: nn.Module) -> Weights:
    if isinstance(module, ConvNorm):
        conv, norm = module[0], module[1]
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        assert norm.running_var is not None and norm.running_mean is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = conv.state_dict()["weight"] * scale[:, None, None, None]
        bias = norm.bias - norm.running_mean * scale
    else:
        assert isinstance(module, nn.Conv2d | nn.Linear)
        assert module.bias is not None
        weight, bias = module.weight, module.bias
    return weight.detach().float().numpy().copy(), bias.detach().float().numpy().copy()


class FlatLinear(nn.Linear):
    """A linear layer on (n, c, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1))
