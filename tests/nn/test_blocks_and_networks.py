"""Torch modules: they compute what the graph says, and only the path that is asked for."""

import numpy as np
import pytest
import torch
from torch import nn

from hurricane import OPERATORS, ops
from hurricane.nn import Block, FixedNetwork, Supernet
from hurricane.nn.block import _in_place
from hurricane.ops import OpSpec
from tests.test_space import small_space

PLACES = [(16, 16, 1), (16, 24, 2), (24, 16, 1)]


def counted(module, images):
    """MACs of the convolutions and linear layers in a real forward pass, by hooks."""
    macs = 0

    def hook(layer, inputs, output):
        nonlocal macs
        weight = layer.weight
        pixels = output.shape[2] * output.shape[3] if output.ndim == 4 else 1
        macs += weight.numel() * pixels

    handles = [
        m.register_forward_hook(hook) for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)
    ]
    output = module(images)
    for handle in handles:
        handle.remove()
    return macs, output


@pytest.mark.parametrize(("cin", "cout", "stride"), PLACES)
@pytest.mark.parametrize("kind", [*OPERATORS, "skip"])
def test_counts_are_those_of_a_real_forward_pass(kind, cin, cout, stride):
    spec = OpSpec(kind, cin, cout, stride, 9)
    block = Block(spec)
    macs, output = counted(block, torch.rand(2, cin, 9, 9))
    assert macs == ops.graph(spec).macs
    assert sum(p.numel() for p in block.parameters()) == ops.graph(spec).params
    assert output.shape == (2, cout, spec.out_size, spec.out_size)


def test_a_supernet_moves_only_the_path_it_is_given():
    torch.manual_seed(0)
    space = small_space()
    model = Supernet(space)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for path in ([1, 1, 1], [0, 1, 1]):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer.zero_grad(set_to_none=True)
        model(torch.rand(4, 3, 8, 8), path).square().sum().backward()
        optimizer.step()
        moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        used = {layer.choices[i] for layer, i in zip(space.layers, path, strict=True)}
        for name in moved:
            if name.startswith("layers."):
                number, choice = name.split(".")[1:3]
                assert choice in used
                assert space.layers[int(number)].choices[path[int(number)]] == choice


def test_an_extracted_network_computes_what_its_path_does():
    torch.manual_seed(0)
    space = small_space()
    model = Supernet(space, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)).eval()
    images = torch.rand(3, 3, 8, 8)
    for path in space.random(5, np.random.default_rng(0)).tolist():
        network = model.extract(path).eval()
        assert isinstance(network, FixedNetwork)
        assert torch.equal(network(images), model(images, path))


def test_inherited_weights_are_mixed_with_fresh_ones_and_statistics_are_not():
    torch.manual_seed(0)
    space = small_space()
    model, fresh = (
        Supernet(space),
        FixedNetwork(space.narrow([(layer.choices[1],) for layer in space.layers])),
    )
    for value in model.buffers():
        value.fill_(3)
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    fresh.inherit(model, 0.25)
    theirs, statistics = model.state_dict(), dict(fresh.named_buffers())
    assert any(name.startswith("layers") for name in statistics)
    for name, value in fresh.state_dict().items():
        if name in statistics:
            assert torch.equal(value, theirs[name])
        else:
            torch.testing.assert_close(value, 0.25 * theirs[name] + 0.75 * before[name])


def test_folded_weights_hold_the_normalisation():
    torch.manual_seed(0)
    block = Block(OpSpec("stem", 3, 8, 2, 8))
    for _ in range(3):
        block(torch.rand(8, 3, 8, 8))
    block.eval()
    (weight, bias) = block.folded()[0]
    images = torch.rand(2, 3, 8, 8)
    folded = torch.relu(
        nn.functional.conv2d(images, torch.from_numpy(weight), torch.from_numpy(bias), stride=2, padding=1)
    )
    assert torch.allclose(folded, block(images), atol=1e-5)


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize("bf16", [False, True])
def test_what_is_overwritten_leaves_result_and_gradients_as_they_are(kind, bf16):
    block = Block(OpSpec(kind, 16, 16, 1, 9)).train()
    images = torch.rand(4, 16, 9, 9)
    before = images.clone()

    def through():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            made = block(images)
        return [made.detach(), *torch.autograd.grad(made.square().sum(), list(block.parameters()))]

    overwriting = through()
    block._in_place = frozenset()
    keeping = through()
    assert torch.equal(images, before)
    assert all(torch.equal(one, other) for one, other in zip(overwriting, keeping, strict=True))


def test_only_what_nobody_else_reads_is_overwritten():
    build = ops.GraphBuilder(4, 9)
    read_twice = build.conv(build.input, 4)
    build.relu(build.add(read_twice, build.relu(read_twice)))
    build.relu(build.conv(build.input, 4))
    assert _in_place(build.build()) == {5}
