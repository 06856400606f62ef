"""Places: chosen by the setting, batches and models brought there, and nothing that stays behind.

Without a GPU, torch's "meta" device stands for one: tensors there have no values, so what is created elsewhere, or read
before an epoch ends, is an error. Tests that need a GPU are skipped where there is none.
"""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import hurricane as hn
from hurricane.errors import ConfigError, RunError
from hurricane.nn import Supernet
from hurricane.train import place
from hurricane.train.batches import steps_per_epoch, tensor_of, training_batches
from hurricane.train.loop import train
from hurricane.train.scoring import logits_of, path_scorer, recalibrate
from tests.test_space import small_space
from tests.train.test_training import RECIPE, fresh, pictures_of, uniform

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")


def with_gpus(monkeypatch, number, unusable=""):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
    monkeypatch.setattr(place, "unusable", lambda where: unusable)


@pytest.mark.parametrize(
    ("trainer", "gpus", "expected"),
    [
        ("auto", 0, "cpu"),
        ("auto", 2, "cuda:0"),
        ("cpu", 0, "cpu"),
        ("cpu", 2, "cpu"),
        ("cuda", 2, "cuda:0"),
        ("cuda:1", 2, "cuda:1"),
    ],
)
def test_the_place_is_the_one_asked_for_and_a_gpu_where_there_is_one(monkeypatch, trainer, gpus, expected):
    with_gpus(monkeypatch, gpus)
    assert place.chosen(trainer) == expected


@pytest.mark.parametrize(
    ("trainer", "gpus", "words"),
    [
        ("cuda", 0, "run.trainer is cuda, but torch sees no CUDA GPU"),
        ("cuda:1", 1, "sees cuda:0 only"),
        ("cuda:2", 2, "sees cuda:0 to cuda:1"),
    ],
)
def test_a_gpu_that_is_not_here_is_told(monkeypatch, trainer, gpus, words):
    with_gpus(monkeypatch, gpus)
    with pytest.raises(ConfigError, match=words):
        place.chosen(trainer)


def test_a_gpu_that_cannot_be_used_is_passed_over_by_auto_and_refused_where_it_is_asked_for(monkeypatch):
    with_gpus(monkeypatch, 1, unusable="no kernel image is available")
    assert place.chosen("auto") == place.chosen("cpu") == "cpu"
    assert place.passed_over("auto") == "no kernel image is available"
    assert place.passed_over("cpu") == ""
    with pytest.raises(ConfigError, match=r"cannot use cuda:0 \(no kernel image is available\); give"):
        place.chosen("cuda")
    with_gpus(monkeypatch, 0, unusable="never tried")
    assert place.passed_over("auto") == ""


def test_a_gpu_is_tried_once_and_what_it_says_is_one_line(monkeypatch):
    tried = []

    def broken(images, weights):
        tried.append(images.device)
        raise RuntimeError("no kernel image is available\nCompile with TORCH_USE_CUDA_DSA")

    place.unusable.cache_clear()
    monkeypatch.setattr(place.F, "conv2d", broken)
    assert [place.unusable("meta") for _ in range(2)] == ["no kernel image is available"] * 2
    assert tried == [torch.device("meta")]
    place.unusable.cache_clear()


def test_trying_a_place_leaves_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    place.unusable.cache_clear()
    assert place.unusable("cpu") == ""
    assert torch.rand(1) == expected
    place.unusable.cache_clear()


def test_work_is_shared_on_the_cpu_only():
    assert place.workers_at("cpu", 4) == 4
    assert place.workers_at("cuda:0", 4) == 1


class Told:
    """A tensor of the CPU, as far as moving goes, that keeps what is asked of it."""

    device = torch.device("cpu")

    def __init__(self):
        self.asked = []

    def pin_memory(self):
        self.asked.append("pinned")
        return self

    def to(self, place, non_blocking=False):
        self.asked.append((place, non_blocking))
        return self


def test_what_goes_to_a_gpu_is_pinned_and_not_waited_for():
    batch = Told()
    assert place.moved(batch, "cuda:1") is batch
    assert batch.asked == ["pinned", ("cuda:1", True)]


def test_nothing_moves_on_the_cpu():
    images = torch.rand(2, 3, 8, 8)
    assert place.moved(images, "cpu") is images


def test_a_model_is_back_on_the_cpu_whatever_ends_its_training(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    model, moves = nn.Linear(2, 2), []
    monkeypatch.setattr(model, "to", lambda where, **_: moves.append(where))
    with contextlib.suppress(KeyError), place.placed(model, "cuda:0"):
        assert moves == ["cuda:0"]
        raise KeyError
    assert moves == ["cuda:0", "cpu"]


def test_what_ended_a_training_is_told_where_a_broken_gpu_keeps_the_model(monkeypatch):
    model = nn.Linear(2, 2)

    def to(where, **_):
        if where == "cpu":
            raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setattr(model, "to", to)
    with pytest.raises(KeyboardInterrupt), place.placed(model, "cuda:0"):
        raise KeyboardInterrupt
    with pytest.raises(RuntimeError, match="launch failure"), place.placed(model, "cuda:0"):
        pass


def test_a_gpu_whose_memory_is_too_small_is_a_sentence():
    with pytest.raises(RunError, match="memory of cuda:0 is too small"), place.within_memory("cuda:0"):
        raise torch.OutOfMemoryError


def test_bf16_is_used_where_the_place_has_it(monkeypatch):
    assert isinstance(place.autocast("bf16", "cpu"), torch.autocast)
    assert not isinstance(place.autocast("fp32", "cpu"), torch.autocast)
    monkeypatch.setattr(place, "_has_bf16", lambda where: False)
    assert not isinstance(place.autocast("bf16", "cuda:0"), torch.autocast)


def test_bf16_is_used_on_a_gpu_that_has_it(monkeypatch):
    monkeypatch.setattr(place, "_has_bf16", lambda where: where == "cuda:1")
    monkeypatch.setattr(torch, "autocast", lambda kind, dtype: (kind, dtype))
    assert place.autocast("bf16", "cuda:1") == ("cuda", torch.bfloat16)
    assert not isinstance(place.autocast("bf16", "cuda:0"), tuple)
    assert not isinstance(place.autocast("fp32", "cuda:1"), tuple)


def every_choice(space):
    """Paths of an epoch that run every choice of every layer."""
    last = np.array([len(layer.choices) - 1 for layer in space.layers])
    return lambda steps, rng: np.minimum(np.arange(steps)[:, None], last)


@pytest.mark.parametrize("size", [8, 48])
def test_batches_are_made_where_they_are_to_be(size):
    rng = np.random.default_rng(0)
    for images, targets in training_batches(
        *pictures_of(size=size), 16, flip=True, rng=rng, mixed=0.5, classes=3, place="meta"
    ):
        assert images.device.type == targets.device.type == "meta"
        assert images.shape == (16, 3, size, size)
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_a_whole_epoch_of_all_operators_runs_where_it_is_told_to_and_waits_for_nothing():
    space = hn.preset("tiny", image_size=8, classes=3, width=0.25)
    pictures, labels = pictures_of(2 * max(len(layer.choices) for layer in space.layers))
    steps = []
    recipe = replace(RECIPE, batch_size=2, workers=2, precision="bf16", flip=True, mixed=0.5, place="meta")
    with pytest.raises(NotImplementedError, match="no data"):  # the loss is read, after the last step
        train(Supernet(space), pictures, labels, recipe, every_choice(space), on_step=steps.append)
    assert len(steps) == steps_per_epoch(len(labels), 2) >= 32


def test_what_is_left_on_the_cpu_is_found_that_way():
    model, steps = fresh(), []
    model.normalisation._apply = lambda *_, **__: model.normalisation  # is not moved
    with pytest.raises(RuntimeError, match="not on the expected device"):
        train(
            model, *pictures_of(), replace(RECIPE, place="meta"), uniform(model.space), on_step=steps.append
        )
    assert not steps


def test_recalibration_and_logits_are_computed_where_the_model_is():
    model = fresh().to("meta")
    images = [tensor_of(pictures_of(seed=seed)[0]) for seed in (1, 2)]
    recalibrate(model, [0, 1, 2], images, "bf16")
    with pytest.raises(NotImplementedError, match="no data"):  # logits come back to the CPU
        logits_of(model, [0, 1, 2], images)


def test_a_scorer_keeps_a_copy_and_its_batches_on_its_place():
    space = small_space()
    model = fresh(space)
    sizes = {"recalibration_pictures": 64, "rank_pictures": 96, "seed": 0}
    scorer = path_scorer(
        model, space, pictures_of()[0], pictures_of(seed=1), **sizes, workers=2, place="meta"
    )
    assert [place.place_of(one) for one in scorer._models] == ["meta"]
    assert {images.device.type for images in (*scorer._calibration, *scorer._ranking)} == {"meta"}
    assert place.place_of(model) == "cpu"


@needs_cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_on_a_gpu_comes_to_what_it_comes_to_on_the_cpu(precision):
    space, ends = small_space(), []
    for where in ("cpu", "cuda:0"):
        model, epochs = fresh(space), []
        recipe = replace(RECIPE, place=where, precision=precision)
        train(model, *pictures_of(), recipe, uniform(space), on_epoch=epochs.append)
        assert all(tensor.device.type == "cpu" for tensor in model.state_dict().values())
        assert epochs[-1].place == where
        ends.append(epochs)
    assert ends[1][0].loss == pytest.approx(ends[0][0].loss, rel=0.05)
    assert ends[1][-1].loss == pytest.approx(ends[0][-1].loss, rel=0.2)


@needs_cuda
def test_scores_on_a_gpu_are_those_of_the_cpu():
    space = small_space()
    model = fresh(space)
    train(model, *pictures_of(), replace(RECIPE, epochs=8), uniform(space))
    archs = space.random(5, np.random.default_rng(0))
    sizes = {"recalibration_pictures": 64, "rank_pictures": 96, "seed": 0}
    scores = [
        path_scorer(model, space, pictures_of()[0], pictures_of(seed=1), **sizes, place=where)(archs)
        for where in ("cpu", "cuda:0")
    ]
    assert scores[1] == pytest.approx(scores[0], abs=0.03)
    assert place.place_of(model) == "cpu"


@needs_cuda
def test_a_training_begun_on_a_gpu_goes_on_there_and_on_the_cpu(tmp_path):
    space = small_space()

    def stop(epoch):
        if epoch.number == 2:
            raise InterruptedError

    for where in ("cuda:0", "cpu"):
        checkpoint, epochs = tmp_path / f"{where[:3]}.safetensors", []
        begun = replace(RECIPE, place="cuda:0")
        with pytest.raises(InterruptedError):
            train(fresh(space), *pictures_of(), begun, uniform(space), checkpoint=checkpoint, on_epoch=stop)
        recipe = replace(RECIPE, place=where)
        train(
            fresh(space),
            *pictures_of(),
            recipe,
            uniform(space),
            checkpoint=checkpoint,
            on_epoch=epochs.append,
        )
        assert [epoch.number for epoch in epochs] == [3]
        assert np.isfinite(epochs[0].loss)


@needs_cuda
def test_no_step_waits_for_the_gpu():
    space, seen = small_space(), []
    pictures, labels = pictures_of()

    def begin(steps, rng):
        torch.cuda.set_sync_debug_mode("error")
        return space.random(steps, rng)

    def count(pictures_seen):
        seen.append(pictures_seen)
        if sum(seen) % len(labels) == 0:
            torch.cuda.set_sync_debug_mode("default")

    try:
        train(fresh(space), pictures, labels, replace(RECIPE, place="cuda:0"), begin, on_step=count)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sum(seen) == RECIPE.epochs * len(labels)
