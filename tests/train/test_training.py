"""Training: repeatable, resumable after any epoch, and it learns."""

import signal
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import hurricane as hn
from hurricane.errors import RunError
from hurricane.nn import FixedNetwork, Supernet
from hurricane.train.batches import (
    augmented,
    evaluation_batches,
    steps_per_epoch,
    tensor_of,
    training_batches,
    with_parts,
)
from hurricane.train.loop import Recipe, epochs_in, train
from hurricane.train.scoring import _in_common, path_scorer, recalibrate, settle
from tests.test_space import small_space

RECIPE = Recipe(
    epochs=3,
    batch_size=16,
    learning_rate=0.05,
    momentum=0.9,
    weight_decay=1e-4,
    label_smoothing=0.1,
    flip=False,
)


def pictures_of(n=96, classes=3, seed=0, size=8):
    """Pictures whose class is the colour channel that is bright."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    pictures = rng.integers(0, 100, (n, size, size, 3), dtype=np.uint8)
    pictures[np.arange(n), :, :, labels] += 120
    return pictures, labels


def uniform(space):
    return lambda steps, rng: space.random(steps, rng)


def fresh(space=None):
    torch.manual_seed(0)
    return Supernet(space or small_space())


def test_training_learns_what_there_is_to_learn():
    space = small_space()
    model = fresh(space)
    pictures, labels = pictures_of()
    epochs = []
    train(model, pictures, labels, replace(RECIPE, epochs=8), uniform(space), on_epoch=epochs.append)
    assert epochs[-1].loss < epochs[0].loss
    fresh_pictures = pictures_of(seed=1)
    scorer = path_scorer(
        model, space, pictures, fresh_pictures, recalibration_pictures=64, rank_pictures=96, seed=0
    )
    assert scorer(space.random(3, np.random.default_rng(0))).min() > 0.8


def test_a_training_that_was_cut_off_ends_as_one_that_was_not(tmp_path):
    space = small_space()
    pictures, labels = pictures_of()
    whole = fresh(space)
    train(whole, pictures, labels, RECIPE, uniform(space))

    class KilledError(Exception):
        pass

    def kill(epoch):
        if epoch.number == 2:
            raise KilledError

    cut = fresh(space)
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KilledError):
        train(cut, pictures, labels, RECIPE, uniform(space), checkpoint=checkpoint, on_epoch=kill)
    again = Supernet(space)
    train(again, pictures, labels, RECIPE, uniform(space), checkpoint=checkpoint)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_a_training_in_two_parts_ends_as_one_in_one(tmp_path):
    space = small_space()
    whole, parts = fresh(space), fresh(space)
    train(whole, *pictures_of(), RECIPE, uniform(space))
    checkpoint, epochs = tmp_path / "checkpoint.safetensors", []
    assert epochs_in(checkpoint) == 0
    for until in (1, 1, None):
        train(
            parts,
            *pictures_of(),
            RECIPE,
            uniform(space),
            until=until,
            checkpoint=checkpoint,
            on_epoch=epochs.append,
        )
    assert [epoch.number for epoch in epochs] == [1, 2, 3]
    assert epochs_in(checkpoint) == RECIPE.epochs
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name


def test_a_damaged_checkpoint_is_begun_again(tmp_path):
    space = small_space()
    checkpoint = tmp_path / "checkpoint.safetensors"
    checkpoint.write_bytes(b"half a file")
    epochs = []
    assert epochs_in(checkpoint) == 0
    train(fresh(space), *pictures_of(), RECIPE, uniform(space), checkpoint=checkpoint, on_epoch=epochs.append)
    assert len(epochs) == RECIPE.epochs


def test_a_training_that_diverges_is_told():
    space = small_space()
    recipe = Recipe(2, 16, 1e30, 0.0, 0.0, 0.0, flip=False)
    with pytest.raises(RunError, match="diverged"):
        train(fresh(space), *pictures_of(), recipe, uniform(space))


def test_a_fixed_network_trains_by_the_same_loop():
    space = small_space(("sep_k3",)).narrow([["sep_k3"], ["sep_k3"], ["skip"]])
    torch.manual_seed(0)
    network = FixedNetwork(space)
    epochs = []
    train(
        network, *pictures_of(), RECIPE, lambda steps, rng: np.zeros((steps, 0), int), on_epoch=epochs.append
    )
    assert epochs[-1].accuracy > 0.8


def test_recalibration_depends_on_the_pictures_it_is_given_and_on_nothing_before():
    space = small_space()
    model = fresh(space)
    images = [tensor_of(pictures_of(seed=s)[0]) for s in (1, 2)]
    path = [0, 1, 2]
    recalibrate(model, path, images)
    first = {k: v.clone() for k, v in model.state_dict().items()}
    recalibrate(model, path, [tensor_of(pictures_of(seed=9)[0])])
    recalibrate(model, path, images)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in first.items())
    norm = next(m for m in model.stem.modules() if isinstance(m, nn.BatchNorm2d))
    assert norm.momentum == 0.1


def test_workers_share_a_batch_and_change_nothing_but_its_normalisation():
    space = small_space(("sep_k3",)).narrow([["sep_k3"], ["sep_k3"], ["skip"]])
    pictures, labels = pictures_of()
    repeated = []
    for _ in range(2):
        torch.manual_seed(0)
        network = FixedNetwork(space)
        recipe = replace(RECIPE, workers=2)
        train(network, pictures, labels, recipe, lambda steps, rng: np.zeros((steps, 0), int))
        repeated.append([p.detach().clone() for p in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*repeated, strict=True))
    epochs = []
    train(
        network,
        pictures,
        labels,
        recipe,
        lambda steps, rng: np.zeros((steps, 0), int),
        on_epoch=epochs.append,
    )
    assert epochs[-1].accuracy > 0.8


def test_scores_do_not_depend_on_the_number_of_workers():
    space = small_space()
    model = fresh(space)
    archs = space.random(5, np.random.default_rng(0))
    scores = [
        path_scorer(
            model,
            space,
            pictures_of()[0],
            pictures_of(seed=1),
            recalibration_pictures=64,
            rank_pictures=64,
            seed=0,
            workers=workers,
        )(archs)
        for workers in (1, 2)
    ]
    assert scores[0].tolist() == scores[1].tolist()


@pytest.fixture
def interruptible():
    """Ctrl-C interrupts, also where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("precision", "workers"), [("fp32", 1), ("fp32", 2), ("bf16", 1)])
def test_what_all_candidates_have_in_common_is_computed_once_and_changes_no_score(precision, workers):
    choices = ("sep_k3", "mb_k3_e3", "choice_k3")
    space = hn.preset("tiny", image_size=32, classes=4, width=0.25, depth=0.5, choices=choices)
    rng = np.random.default_rng(0)
    pictures, labels = rng.integers(0, 256, (80, 32, 32, 3), dtype=np.uint8), rng.integers(0, 4, 80)
    model = fresh(space)
    fixed = space.narrow(
        [layer.choices[:1] if number < 2 else layer.choices for number, layer in enumerate(space.layers)]
    )
    archs = fixed.random(6, rng)
    asked = {
        "recalibration_pictures": 64,
        "rank_pictures": 48,
        "seed": 0,
        "precision": precision,
        "workers": workers,
    }
    scores = []
    for each in (space, fixed):
        calls = []
        hook = model.layers[0][fixed.layers[0].choices[0]].register_forward_hook(
            lambda *_, calls=calls: calls.append(1)
        )
        scorer = path_scorer(model, each, pictures, (pictures, labels), **asked)
        before = len(calls)
        scores.append(scorer(each.translate(archs, fixed)).tolist())
        hook.remove()
        assert (before > 0, len(calls) > before) == (each is fixed, each is space)
    assert scores[0] == scores[1]


def test_pictures_are_kept_where_what_is_made_of_them_is_larger():
    large = hn.preset("tiny", image_size=32, classes=4, width=4, choices=("sep_k3", "mb_k3_e3"))
    small = hn.preset("tiny", image_size=32, classes=4, width=0.25, choices=("sep_k3", "mb_k3_e3"))
    assert (_in_common(large), _in_common(small)) == (0, 1)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_scoring_ends_its_threads_before_it_ends(monkeypatch):
    space, (pictures, labels) = small_space(), pictures_of()
    begun, ended = [], []

    def interrupted(*arguments):
        begun.append(arguments)
        if len(begun) == 2:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        made = settle(*arguments)
        ended.append(arguments)
        return made

    scorer = path_scorer(
        fresh(space), space, pictures, (pictures, labels), recalibration_pictures=64, rank_pictures=96, seed=0
    )
    monkeypatch.setattr("hurricane.train.scoring.settle", interrupted)
    archs = space.random(500, np.random.default_rng(0))
    with pytest.raises(KeyboardInterrupt):
        scorer(archs)
    assert len(begun) == len(ended) < len(archs)


def test_an_epoch_shows_every_picture_once():
    pictures = np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1).repeat(3, axis=3)
    rng = np.random.default_rng(0)
    batches = list(training_batches(pictures, np.arange(50), 16, flip=False, rng=rng))
    assert sorted(int(t) for _, targets in batches for t in targets) == list(range(50))
    assert len(batches) == steps_per_epoch(50, 16) == 4


def test_a_last_batch_of_one_is_left_out():
    pictures = np.zeros((33, 8, 8, 3), np.uint8)
    rng = np.random.default_rng(0)
    sizes = [len(t) for _, t in training_batches(pictures, np.zeros(33, int), 16, flip=True, rng=rng)]
    assert sizes == [16, 16]
    assert steps_per_epoch(33, 16) == 2


@pytest.mark.parametrize("size", [8, 32, 64])
@pytest.mark.parametrize("flip", [True, False])
def test_augmented_pictures_keep_shape_range_and_memory_format(size, flip):
    pictures = np.random.default_rng(0).integers(0, 256, (6, size, size, 3), dtype=np.uint8)
    images = augmented(pictures, flip=flip, rng=np.random.default_rng(1))
    assert images.shape == (6, 3, size, size)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_evaluation_pictures_are_only_scaled():
    pictures, labels = pictures_of(5)
    ((images, targets),) = evaluation_batches(pictures, labels, 8)
    assert torch.equal(images, torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255)
    assert targets.tolist() == labels.tolist()


def test_a_preset_trains_at_eight_pixels():
    space = hn.preset("tiny", image_size=8, classes=3, width=0.25)
    torch.manual_seed(0)
    epochs = []
    recipe = Recipe(1, 16, 0.05, 0.9, 0.0, 0.0, flip=False)
    train(Supernet(space), *pictures_of(64), recipe, uniform(space), on_epoch=epochs.append)
    assert np.isfinite(epochs[0].loss)


@pytest.mark.parametrize("size", [32, 64])
def test_squares_are_hidden_in_the_share_asked_for_and_pictures_stay_as_they_were(size):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (200, size, size, 3), dtype=np.uint8)
    before = pictures.copy()
    plain = augmented(pictures, flip=False, rng=np.random.default_rng(1))
    hidden = augmented(pictures, flip=False, rng=np.random.default_rng(1), erased=0.5)
    assert (pictures == before).all()
    assert hidden.shape == plain.shape

    def flat(images):
        """Share of the neighbours that are equal: noise has hardly any, a hidden square nothing else."""
        return (images[..., 1:, 1:] == images[..., :-1, :-1]).all(1).float().mean((1, 2))

    if size == 32:  # shifted by whole pixels, so a square stays flat
        squares = flat(hidden)
        assert 0.35 < float((squares > flat(plain).max()).float().mean()) < 0.65
        assert float(squares.max()) < 0.3


def test_nothing_is_hidden_where_no_share_is_given():
    pictures = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    one, other = (
        augmented(pictures, flip=True, rng=np.random.default_rng(1), **more) for more in ({}, {"erased": 0.0})
    )
    assert torch.equal(one, other)


def test_mixed_pictures_show_parts_of_others_and_their_targets_say_how_much():
    n, size = 6, 16
    # Picture i is of the one value i, so every pixel tells whose it is.
    images = (torch.arange(n).float()[:, None, None, None]).expand(n, 3, size, size).clone()
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(200):
        made, targets = with_parts(images.clone(), torch.eye(n), 1.0, rng)
        owners = torch.stack([(made[:, 0] == i).float().mean((1, 2)) for i in range(n)], dim=1)
        assert torch.allclose(targets, owners, atol=1e-6)
        areas.append(1 - float(targets.diagonal().mean()))
    assert min(areas) < 0.1 < 0.5 < max(areas)


def test_as_many_batches_are_mixed_as_asked_for():
    pictures, labels = pictures_of(1600)
    batches = training_batches(
        pictures, labels, 8, flip=False, rng=np.random.default_rng(0), mixed=0.5, classes=3
    )
    soft = [bool(((targets > 0) & (targets < 1)).any()) for _, targets in batches]
    # A small rectangle may hold no pixel.
    assert 0.3 < np.mean(soft) < 0.6


def test_nothing_is_mixed_where_no_share_is_given_and_labels_stay_numbers():
    pictures, labels = pictures_of(64)
    more = {"flip": True, "classes": 3}
    with_none = training_batches(pictures, labels, 16, rng=np.random.default_rng(1), mixed=0.0, **more)
    before = training_batches(pictures, labels, 16, rng=np.random.default_rng(1), flip=True)
    for (images, targets), (same, numbers) in zip(with_none, before, strict=True):
        assert torch.equal(images, same)
        assert targets.dtype == torch.int64
        assert torch.equal(targets, numbers)


@pytest.mark.parametrize("workers", [1, 2])
def test_training_learns_from_mixed_pictures(workers):
    space = small_space()
    model = fresh(space)
    pictures, labels = pictures_of()
    epochs = []
    recipe = replace(RECIPE, epochs=12, mixed=0.5, workers=workers)
    train(model, pictures, labels, recipe, uniform(space), on_epoch=epochs.append)
    assert epochs[-1].accuracy > 0.6
    assert epochs[-1].loss < epochs[0].loss
