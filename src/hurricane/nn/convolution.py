"""Convolutions as `nn.Conv2d`, but that on a CPU wide depthwise kernels learn several times as fast.

oneDNN, which computes torch's convolutions on x86, has a fast gradient of depthwise weights for kernels of up to three
columns only; at five and seven it takes many times as long as for the forward pass (`benchmarks/depthwise.py`). So it
is asked for that gradient in strips of three columns.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Columns of the kernel for which oneDNN is fast.
STRIP = 3
# Values of the padded input that are worked on at once: what glibc keeps when it is freed, and caches hold.
AT_ONCE = 2**19


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` with the gradient of this module."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if _in_strips(self, input, weight):
            convolved: Tensor = _Depthwise.apply(input, weight, self.stride, self.padding)
            return convolved if bias is None else convolved + bias[:, None, None]
        return super()._conv_forward(input, weight, bias)


def _in_strips(conv: nn.Conv2d, x: Tensor, weight: Tensor) -> bool:
    """Whether a convolution is one that torch's gradient is slow for, and a gradient is wanted."""
    return (
        conv.kernel_size[1] > STRIP
        and conv.in_channels == conv.groups == conv.out_channels
        and x.device.type == "cpu"
        and torch.is_grad_enabled()
        and weight.requires_grad
    )


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        of_weight = weight_gradient(gradient, x.to(gradient.dtype), weight, ctx.stride, ctx.padding)
        if not ctx.needs_input_grad[0]:
            return None, of_weight, None, None
        of_input = _backward(gradient, x, weight, ctx.stride, ctx.padding, 0)
        return of_input.to(x.dtype), of_weight, None, None


def weight_gradient(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """The gradient of a depthwise convolution's weights, (c, 1, kernel, kernel), strip by strip.

    gradient : of the output, (n, c, out_height, out_width). x : the input, (n, c, height, width), of the same type.
    weight : (c, 1, kernel, kernel); only its shape and type count.
    """
    channels, _, rows, columns = weight.shape
    # Per direction, from the first place of the kernel to the last.
    down, right = (step * (size - 1) for step, size in zip(stride, gradient.shape[2:], strict=True))
    at_once = max(1, AT_ONCE // (channels * (down + rows) * (right + STRIP)))
    total = weight.new_zeros(weight.shape)
    for theirs, ours in zip(gradient.split(at_once), x.split(at_once), strict=True):
        padded = F.pad(ours, (padding[1], padding[1], padding[0], padding[0]))
        for first in range(0, columns, STRIP):
            last = min(first + STRIP, columns)
            seen = padded[:, :, : down + rows, first : last + right]
            total[..., first:last] += _backward(theirs, seen, weight[..., first:last], stride, (0, 0), 1)
    return total


def _backward(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int], of: int
) -> Tensor:
    """torch's own gradient of a depthwise convolution: `of` its input, 0, or its weights, 1."""
    result: Tensor = torch.ops.aten.convolution_backward(
        gradient,
        x.to(gradient.dtype),
        weight.to(gradient.dtype),
        None,
        stride,
        padding,
        (1, 1),
        False,
        (0, 0),
        len(weight),
        [of == 0, of == 1, False],
    )[of]
    return result
