"""Convolutions as `nn.Conv2d`, but for how the gradient of wide depthwise kernels is computed on a CPU.

oneDNN, which computes torch's convolutions on x86, has a fast gradient of depthwise weights for kernels of up to three
columns only; at five and seven it takes many times as long as for the forward pass (`benchmarks/depthwise.py`). So it
is asked for that gradient in strips of three columns.
"""

import threading
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Columns of the kernel for which oneDNN is fast.
STRIP = 3
# Values that a strip sees at once, of as many pictures as that is: with all of a large batch it is three times as slow.
AT_ONCE = 2**19
_kept_by_thread = threading.local()


class Conv2d(nn.Conv2d):
    """`nn.Conv2d`, which is slow where `_in_strips` says so, with the gradient of this module there."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if _in_strips(self, input, weight):
            convolved: Tensor = _Depthwise.apply(input, weight, self.stride, self.padding)
            return convolved if bias is None else convolved + bias.to(convolved.dtype)[:, None, None]
        return super()._conv_forward(input, weight, bias)


def _in_strips(conv: nn.Conv2d, x: Tensor, weight: Tensor) -> bool:
    """Whether a convolution is one that torch's gradient is slow for, and a gradient is wanted."""
    return (
        conv.kernel_size[1] > STRIP
        and conv.in_channels == conv.groups == conv.out_channels
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and x.ndim == 4
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
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        # Under autocast the gradient is in the lower precision, in which torch computes, too.
        given = (gradient, x.to(gradient.dtype), weight, ctx.stride, ctx.padding)
        of_input = _input_gradient(*given).to(x.dtype) if ctx.needs_input_grad[0] else None
        return of_input, weight_gradient(*given), None, None


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
    for upstream, pictures in zip(gradient.split(at_once), x.split(at_once), strict=True):
        high, above, below = _window(x.shape[2], -padding[0], down + rows - padding[0])
        for first in range(0, columns, STRIP):
            last = min(first + STRIP, columns)
            wide, before, after = _window(x.shape[3], first - padding[1], right + last - padding[1])
            seen = _kept(len(pictures), channels, down + rows, last - first + right, x.dtype)
            _lay(seen, pictures[:, :, high, wide], (above, below), (before, after))
            strip = weight[..., first:last]
            total[..., first:last] += _torchs(upstream, seen, strip, stride, (0, 0), (False, True, False))[1]
    return total


def _kept(n: int, channels: int, height: int, width: int, dtype: torch.dtype) -> Tensor:
    """A tensor (n, c, height, width), channels last, in memory that this thread keeps; it holds anything."""
    needed = n * channels * height * width
    buffer: Tensor | None = getattr(_kept_by_thread, str(dtype), None)
    if buffer is None or buffer.numel() < needed:
        buffer = torch.empty(max(needed, AT_ONCE), dtype=dtype)
        setattr(_kept_by_thread, str(dtype), buffer)
    return buffer[:needed].view(n, height, width, channels).permute(0, 3, 1, 2)


def _lay(into: Tensor, inner: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    """Fill a tensor with an inner one and so many rows and columns of zeros before and after it."""
    height, width = into.shape[2] - rows[1], into.shape[3] - columns[1]
    into[:, :, : rows[0]] = 0
    into[:, :, height:] = 0
    into[:, :, rows[0] : height, : columns[0]] = 0
    into[:, :, rows[0] : height, width:] = 0
    into[:, :, rows[0] : height, columns[0] : width] = inner


def _window(size: int, first: int, last: int) -> tuple[slice, int, int]:
    """What of an axis lies between two places, which may be outside, and the zeros before and after it."""
    start = min(max(first, 0), size)
    stop = max(start, min(last, size))
    before = min(max(start - first, 0), last - first)
    return slice(start, stop), before, last - first - before - (stop - start)


def _input_gradient(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """The gradient of a depthwise convolution's input, (n, c, height, width): torch's own, which is fast."""
    return _torchs(gradient, x, weight, stride, padding, (True, False, False))[0]


def _torchs(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """torch's gradients of a depthwise convolution's input, weights and bias, as far as they are wanted."""
    lower = weight.to(gradient.dtype)
    rest = (None, stride, padding, (1, 1), False, (0, 0), len(weight), wanted)
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(gradient, x, lower, *rest)
    return gradients
