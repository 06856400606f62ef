"""Shared weights: what operators of one form have in common, and that nothing else of a supernet changes by it."""

import numpy as np
import pytest
import torch

import hurricane as hn
from hurricane import plugins
from hurricane.errors import RunError
from hurricane.nn import Block, Supernet, grow
from hurricane.nn.forms import kin
from hurricane.ops import OpSpec
from hurricane.train.loop import Recipe, train
from hurricane.train.scoring import path_scorer
from hurricane.train.weights import load_weights, save_tensors

CHOICES = (*hn.OPERATORS, "skip")


@pytest.fixture
def space():
    return hn.preset("tiny", image_size=16, classes=3, choices=CHOICES)


@pytest.fixture
def shared(space):
    torch.manual_seed(0)
    return Supernet(space, share=True).eval()


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8), rng.integers(0, 3, 40)


def weights_of(model, layer, name):
    state = model.state_dict()
    return torch.cat([state[key].flatten() for key in state if key.startswith(f"layers.{layer}.{name}.")])


def test_a_shared_supernet_looks_like_any_other_and_holds_less(space, shared):
    own = Supernet(space)
    assert {k: v.shape for k, v in shared.state_dict().items()} == {
        k: v.shape for k, v in own.state_dict().items()
    }
    held, whole = (sum(p.numel() for p in model.parameters()) for model in (shared, own))
    assert held < 0.5 * whole


@torch.no_grad()
def test_an_extracted_network_computes_what_its_path_does(space, shared):
    images = torch.rand(3, 3, 16, 16)
    for path in space.random(6, np.random.default_rng(0)).tolist():
        assert torch.equal(shared(images, path), shared.extract(path).eval()(images))


@torch.no_grad()
def test_a_file_of_weights_gives_the_same_supernet(tmp_path, space, shared):
    save_tensors(tmp_path / "weights.safetensors", shared.state_dict())
    again = Supernet(space, share=True).eval()
    load_weights(tmp_path / "weights.safetensors", again)
    images = torch.rand(3, 3, 16, 16)
    for path in space.random(6, np.random.default_rng(1)).tolist():
        assert torch.equal(shared(images, path), again(images, path))


def test_weights_of_another_shape_or_none_are_refused(shared):
    state = shared.state_dict()
    key = "layers.1.mb_k3_e3.weighted.0.0.weight"
    with pytest.raises(RuntimeError, match=key):
        shared.load_state_dict({k: v for k, v in state.items() if k != key})
    with pytest.raises(RuntimeError, match=key):
        shared.load_state_dict({**state, key: state[key][:4]})


def test_training_one_operator_trains_its_kin_and_no_other_form(space, shared, pictures):
    path = [layer.choices.index("mb_k7_e6") for layer in space.layers]
    kin, others = ("mb_k3_e3", "mb_k5_e6_se"), ("sep_k3", "choice_k5")
    before = {name: weights_of(shared, 1, name) for name in (*kin, *others)}
    recipe = Recipe(1, 20, 0.1, 0.9, 0.0, 0.1)
    train(shared, *pictures, recipe, lambda steps, rng: np.array([path] * steps))
    for name, was in before.items():
        assert torch.equal(weights_of(shared, 1, name), was) == (name in others), name


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path, space, pictures):
    def trained(stops):
        torch.manual_seed(0)
        model, checkpoint = Supernet(space, share=True), tmp_path / f"{len(stops)}.safetensors"
        for until in stops:
            train(
                model,
                *pictures,
                Recipe(3, 20, 0.1, 0.9, 1e-4, 0.1),
                lambda steps, rng: space.random(steps, rng),
                until=until,
                checkpoint=checkpoint,
            )
        return model.state_dict()

    at_once, resumed = trained([3]), trained([1, 2, 3])
    assert all(torch.equal(value, resumed[key]) for key, value in at_once.items())


def test_scores_do_not_depend_on_the_number_of_workers(space, shared, pictures):
    few = {"recalibration_pictures": 20, "rank_pictures": 20, "seed": 0}
    archs = space.random(4, np.random.default_rng(0))
    alone, side_by_side = (
        path_scorer(shared, space, pictures[0], pictures, **few, workers=workers)(archs) for workers in (1, 2)
    )
    assert np.array_equal(alone, side_by_side)


def test_a_file_of_operators_with_weights_of_their_own_is_refused(tmp_path, space, shared):
    save_tensors(tmp_path / "own.safetensors", Supernet(space).state_dict())
    with pytest.raises(RunError, match="do not share"):
        load_weights(tmp_path / "own.safetensors", shared)


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_what_a_shared_supernet_inherits_stays(space, shared, share):
    path = [layer.choices.index("mb_k3_e3") for layer in space.layers]
    one = Supernet(space).extract(path)
    before = {key: value.clone() for key, value in shared.state_dict().items()}
    shared.inherit(one, share)
    after = shared.state_dict()
    for key, value in one.state_dict().items():
        if value.is_floating_point() and "running" not in key:
            assert torch.allclose(after[key], torch.lerp(before[key], value, share)), key


def test_an_operator_that_shares_is_folded_by_its_own_part(space, shared):
    path = [layer.choices.index("mb_k3_e3") for layer in space.layers]
    extracted = shared.extract(path).eval().folded()[1]
    folded = shared.layers[0]["mb_k3_e3"].folded()
    for ours, theirs in zip(folded, extracted, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("layer", [1, 2], ids=["stride 1", "stride 2"])
@pytest.mark.parametrize(
    ("source", "targets"),
    [
        ("mb_k3_e3", ("mb_k5_e3", "mb_k7_e6", "mb_k3_e6_se")),
        ("mb_k5_e6", ("mb_k7_e6", "mb_k5_e6_se")),
        ("choice_k3", ("choice_k5", "choice_k7_se")),
    ],
)
def test_growing_fills_what_is_shared_and_leaves_the_trained_operator_as_it_is(
    shared, layer, source, targets
):
    x = torch.randn(4, shared.space.layers[layer].cin, 8, 8)
    blocks = shared.layers[layer]
    for module in blocks[source].modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
            module.running_mean.normal_(0, 0.1)
    trained = blocks[source](x)

    def difference(name):
        return float((blocks[name](x) - trained).norm() / (trained - trained.mean()).norm())

    before = [difference(name) for name in targets]
    assert set(targets) <= set(grow(shared, layer, source, shared.space.layers[layer].choices, seed=0))
    assert torch.equal(trained, blocks[source](x))
    for name, was in zip(targets, before, strict=True):
        assert difference(name) < min(0.25, was), name


def test_grouped_convolutions_of_other_groups_are_no_kin(monkeypatch):
    class Grouped:
        def __init__(self, kind, groups):
            self.kind, self.groups = kind, groups

        def unsupported(self, spec):
            return None

        def write(self, spec, b):
            b.conv(b.input, spec.cout, 3, spec.stride, groups=self.groups)

    operators = {f"grouped_{groups}": Grouped(f"grouped_{groups}", groups) for groups in (2, 4)}
    monkeypatch.setattr(plugins, "load", lambda group: operators if group == "hurricane.operators" else {})
    two, four, same = (Block(OpSpec(f"grouped_{groups}", 8, 8, 1, 8)) for groups in (2, 4, 2))
    assert kin(two, same)
    assert not kin(two, four)
