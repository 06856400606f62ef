"""Depthwise convolutions with wide kernels learn as torch's own do, by gradients that are computed strip by strip."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

import hurricane as hn
from hurricane.nn import Supernet, convolution
from hurricane.nn.convolution import Conv2d


def pair(channels, kernel, stride, padding, *, bias=False):
    ours = Conv2d(channels, channels, kernel, stride, padding, groups=channels, bias=bias)
    theirs = nn.Conv2d(channels, channels, kernel, stride, padding, groups=channels, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def learned(conv, images):
    """Output and gradients of input and parameters."""
    images = images.clone().requires_grad_()
    out = conv(images)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    return [out, *torch.autograd.grad(out, [images, *conv.parameters()], upstream)]


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    st.tuples(st.integers(1, 9), st.integers(4, 9)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.integers(1, 5),
    st.booleans(),
)
def test_outputs_and_gradients_are_those_of_torch(size, kernel, stride, padding, pictures, bias):
    assume(all(s + 2 * p >= k for s, p, k in zip(size, padding, kernel, strict=True)))
    ours, theirs = pair(3, kernel, stride, padding, bias=bias)
    images = torch.randn(pictures, 3, *size).contiguous(memory_format=torch.channels_last)
    for mine, other in zip(learned(ours, images), learned(theirs, images), strict=True):
        torch.testing.assert_close(mine, other, atol=2e-5, rtol=1e-4)


def test_a_large_batch_is_worked_through_in_parts(monkeypatch):
    ours, theirs = pair(4, 7, 2, 3)
    images, asked = torch.randn(9, 4, 12, 12), []
    monkeypatch.setattr(convolution, "AT_ONCE", 4 * 17 * 13 * 2)
    original = convolution._torchs
    monkeypatch.setattr(
        convolution, "_torchs", lambda *given: asked.append(len(given[1])) or original(*given)
    )
    for mine, other in zip(learned(ours, images), learned(theirs, images), strict=True):
        torch.testing.assert_close(mine, other, atol=2e-5, rtol=1e-4)
    # The input at once; the weights in three strips of each part.
    assert asked == [9] + [2] * 3 * 4 + [1] * 3


@pytest.mark.parametrize("bias", [False, True])
def test_bf16_gives_gradients_in_the_precision_of_what_they_belong_to(bias):
    ours, theirs = pair(16, 5, 1, 2, bias=bias)
    images = torch.randn(8, 16, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        mine, other = learned(ours, images), learned(theirs, images)
    assert [tensor.dtype for tensor in mine] == [torch.bfloat16, *[torch.float32] * (2 + bias)]
    for one, another in zip(mine, other, strict=True):
        assert (one - another).float().norm() < 0.01 * another.float().norm()


@pytest.mark.parametrize(
    ("conv", "size", "strips"),
    [
        (Conv2d(4, 4, 5, 1, 2, groups=4), 8, True),
        (Conv2d(4, 4, 3, 1, 1, groups=4), 8, False),
        (Conv2d(4, 4, 5, 1, 2, groups=2), 8, False),
        (Conv2d(4, 8, 5, 1, 2, groups=4), 8, False),
        (Conv2d(4, 4, 5, 1, 2, groups=4, device="meta"), 8, False),
        (Conv2d(4, 4, 5, 1, 2, groups=4, dilation=2), 8, False),
        (Conv2d(4, 4, 5, 1, 2, groups=4, padding_mode="reflect"), 8, False),
        (Conv2d(4, 4, 5, 1, "same", groups=4), 8, False),
    ],
)
def test_only_wide_depthwise_kernels_on_a_cpu_are_taken_apart(monkeypatch, conv, size, strips):
    used = []
    original = convolution._Depthwise.apply
    monkeypatch.setattr(convolution._Depthwise, "apply", lambda *given: used.append(1) or original(*given))
    images = torch.zeros(2, 4, size, size, device=conv.weight.device)
    conv(images).sum().backward()
    assert bool(used) == strips
    used.clear()
    with torch.no_grad():
        conv(images)
    conv.weight.requires_grad_(False)
    conv(images)
    assert not used


def test_pictures_need_no_gradient(monkeypatch):
    conv = Conv2d(2, 2, 5, 1, 2, groups=2, bias=False)
    images, wanted = torch.randn(2, 2, 6, 6), []
    original = convolution._torchs
    monkeypatch.setattr(convolution, "_torchs", lambda *given: wanted.append(given[-1]) or original(*given))
    torch.autograd.grad(conv(images).sum(), [conv.weight])
    assert set(wanted) == {(False, True, False)}


def test_workers_do_not_meet():
    conv = Conv2d(32, 32, 7, 1, 3, groups=32, bias=False)
    batches = [torch.randn(8, 32, 12, 12) for _ in range(6)]
    alone = [learned(conv, images) for images in batches]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda images: learned(conv, images), batches))
    for one, other in zip(alone, together, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("share", [False, True])
def test_a_supernet_learns_as_with_torchs_convolutions(monkeypatch, share):
    space = hn.preset("tiny", image_size=16, classes=3)
    torch.manual_seed(0)
    ours = Supernet(space, share=share).train()
    theirs = copy.deepcopy(ours)
    images, targets = torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 2, 0])
    for path in space.random(4, np.random.default_rng(0)).tolist():
        gradients = []
        for model, strip in ((ours, convolution.STRIP), (theirs, 99)):
            monkeypatch.setattr(convolution, "STRIP", strip)
            used = [p for block in model.blocks(path) for p in block.parameters()]
            loss = nn.functional.cross_entropy(model(images, path), targets)
            gradients.append(torch.autograd.grad(loss, used))
        for mine, other in zip(*gradients, strict=True):
            torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-3)
