"""Growing: what was grown computes nearly what it was grown from."""

import pytest
import torch

import hurricane as hn
from hurricane.nn import Supernet, form, grow
from hurricane.ops import OpSpec

CHOICES = (*hn.OPERATORS, "skip")


@pytest.fixture
def trained():
    """A supernet whose normalisations are no longer those of the start."""
    torch.manual_seed(0)
    model = Supernet(hn.preset("tiny", image_size=16, classes=3, choices=CHOICES))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return model.eval()


@torch.no_grad()
def difference(model, layer, source, target):
    torch.manual_seed(1)
    x = torch.randn(4, model.space.layers[layer].cin, 8, 8)
    theirs, ours = (model.layers[layer][name](x) for name in (source, target))
    return float((ours - theirs).norm() / (theirs - theirs.mean()).norm())


@pytest.mark.parametrize("layer", [1, 2], ids=["stride 1", "stride 2"])
@pytest.mark.parametrize(
    ("source", "targets"),
    [
        ("mb_k3_e3", ("mb_k5_e3", "mb_k7_e6", "mb_k3_e6_se")),
        ("sep_k3", ("sep_k7", "mb_k5_e1", "sep_k5_se")),
        ("choice_k3", ("choice_k5", "choice_k7_se")),
    ],
)
def test_larger_kernels_widths_and_gates_start_as_what_they_grew_from(trained, layer, source, targets):
    before = [difference(trained, layer, source, target) for target in targets]
    grown = grow(trained, layer, source, trained.space.layers[layer].choices, seed=0)
    assert set(targets) <= set(grown)
    for target, was in zip(targets, before, strict=True):
        assert difference(trained, layer, source, target) < min(0.25, was)


def test_smaller_kernels_and_widths_keep_most_of_it(trained):
    before = difference(trained, 1, "mb_k5_e6", "mb_k3_e3")
    grow(trained, 1, "mb_k5_e6", ["mb_k3_e3"], seed=0)
    assert difference(trained, 1, "mb_k5_e6", "mb_k3_e3") < 0.7 * before


def test_other_forms_and_the_source_stay_as_they_are(trained):
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    grown = grow(trained, 1, "mb_k3_e3", trained.space.layers[1].choices, seed=0)
    assert "mb_k3_e3" not in grown
    assert {"sep_k3", "mb_k3_e1", "choice_k3", "choicex", "skip"}.isdisjoint(grown)
    for key, value in trained.state_dict().items():
        changed = any(key.startswith(f"layers.1.{name}.") for name in grown)
        assert changed or torch.equal(value, before[key]), key


def test_nothing_grows_from_an_operator_without_weights(trained):
    assert grow(trained, 1, "skip", trained.space.layers[1].choices, seed=0) == []


def test_growing_is_repeatable(trained):
    results = []
    for _ in range(2):
        grow(trained, 1, "sep_k3", ["sep_k7"], seed=3)
        results.append([p.clone() for p in trained.layers[1]["sep_k7"].parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_repeated_channels_part_ways(trained):
    grow(trained, 1, "mb_k3_e3", ["mb_k3_e6"], seed=0)
    expansion = next(iter(trained.layers[1]["mb_k3_e6"].weighted.values()))[0].weight
    half = len(expansion) // 2
    assert not torch.allclose(expansion[:half], expansion[half:])


def test_a_form_leaves_out_kernel_width_and_gate():
    def form_of(kind):
        return form(OpSpec(kind, 8, 8, 1, 8))

    assert form_of("mb_k3_e3") == form_of("mb_k7_e6_se")
    assert form_of("sep_k3") == form_of("mb_k5_e1_se")
    kinds = ("sep_k3", "mb_k3_e3", "choice_k3", "choicex", "skip")
    assert len({form_of(kind) for kind in kinds}) == len(kinds)
    assert form(OpSpec("mb_k3_e3", 8, 16, 1, 8)) != form_of("mb_k3_e3")  # no residual
