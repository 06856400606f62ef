"""Sharing: operators of one form at a layer have one set of convolution weights, of which each takes its part.

A smaller kernel is the middle of the largest, a narrower bottleneck its first channels, so every path trains what the
others go on from, as in once-for-all (arXiv 1908.09791) and AutoFormer (arXiv 2107.00651, "weight entanglement").
Normalisations and gates stay each operator's own. The whole is one parameter: in a step, momentum and weight decay move
what the path leaves out of it, too.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from hurricane.nn.block import Block
from hurricane.nn.convolution import Conv2d
from hurricane.nn.forms import chain, kin


class SharedConv(Conv2d):
    """A convolution whose weights are a part of `whole`: first channels, middle of the kernel.

    `weight` is the whole; in `state_dict` stands the part, as if it were the convolution's own.
    """

    def __init__(self, conv: nn.Conv2d, whole: nn.Parameter) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size[0],
            stride=conv.stride[0],
            padding=conv.padding,
            groups=conv.groups,
            bias=False,
        )
        self.weight = whole

    def part(self) -> Tensor:
        """The weights that count here, (out, in / groups, kernel, kernel): a view of the whole."""
        kernel = self.kernel_size[0]
        margin = (self.weight.shape[2] - kernel) // 2
        middle = slice(margin, margin + kernel)
        return self.weight[: self.out_channels, : self.in_channels // self.groups, middle, middle]

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.part(), None)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}weight"] = self.part() if keep_vars else self.part().detach().clone()

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        given = state_dict.get(f"{prefix}weight")
        if given is None:
            missing_keys.append(f"{prefix}weight")
        elif given.shape != self.part().shape:
            error_msgs.append(f"{prefix}weight is {tuple(given.shape)}, not {tuple(self.part().shape)}")
        else:
            with torch.no_grad():
                self.part().copy_(given)


def share(blocks: Iterable[Block]) -> None:
    """Let operators of one layer share weights where their forms allow; what is shared starts at random."""
    families: list[list[Block]] = []
    for block in blocks:
        for family in families:
            if kin(family[0], block):
                family.append(block)
                break
        else:
            families.append([block])
    for family in families:
        if len(family) > 1:
            _share(family)


def _share(family: list[Block]) -> None:
    for place in zip(*(chain(block) for block in family), strict=True):
        shapes = torch.tensor([module[0].weight.shape for module in place])
        whole = nn.Parameter(torch.empty(*shapes.amax(0).tolist()))
        nn.init.kaiming_normal_(whole, mode="fan_out", nonlinearity="relu")
        for module in place:
            conv = module[0]
            assert isinstance(conv, nn.Conv2d)
            module[0] = SharedConv(conv, whole)
