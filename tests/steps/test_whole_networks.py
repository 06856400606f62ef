"""Whole networks that correct a table: predicted before they are measured, no more of them than it takes."""

import time
from dataclasses import replace

import numpy as np
import pytest

import hurricane as hn
from hurricane.devices import measure_architectures, open_device
from hurricane.steps import whole_networks
from hurricane.steps.whole_networks import BATCH, FEWEST, Batches, Plan

CHOICES = ("sep_k3", "mb_k3_e3", "choice_k3", "mb_k5_e1")


@pytest.fixture(scope="module")
def known():
    """A device, a space, its table and a first model."""
    device = open_device("simulated:cpu?jitter=0.01")
    space = hn.preset("tiny", image_size=16, classes=10, width=0.5, choices=CHOICES)
    table = hn.profile(device, space)
    archs = space.random(4, np.random.default_rng(0))
    return device, space, table, whole_networks.fitted(Batches(device, space, plan()), table, archs)


def plan(networks=24, error=0.02):
    return Plan(networks, error, rounds=2, seconds=0.01)


def everywhere(space):
    return lambda model: space.random(200, np.random.default_rng(1))


def narrowed(space):
    return space.narrow([layer.choices[:3] for layer in space.layers])


def test_measuring_ends_once_predictions_are_right_enough(known):
    device, space, table, first = known
    small = narrowed(space)
    model, held_out = whole_networks.corrected(
        Batches(device, small, plan()), table, first, everywhere(small)
    )
    assert len(held_out) == len(model.archs) == FEWEST + BATCH
    assert np.mean([one.error for one in held_out[-FEWEST:]]) <= 0.02


def test_measuring_ends_at_the_bound_where_predictions_are_never_right_enough(known):
    device, space, table, first = known
    small, told = narrowed(space), []
    model, held_out = whole_networks.corrected(
        Batches(device, small, plan(10, 0.0)), table, first, everywhere(small), told.append
    )
    assert told == [4, 8, 10]
    assert len(model.archs) == len(held_out) == 10


def test_each_network_is_predicted_by_a_fit_that_has_not_seen_it(known):
    device, space, table, first = known
    small = narrowed(space)
    model, held_out = whole_networks.corrected(
        Batches(device, small, plan(12, 0.0)), table, first, everywhere(small)
    )
    assert [one.known for one in held_out] == [4] * 4 + [4] * 4 + [8] * 4
    assert len({one.architecture for one in held_out}) == 12
    archs = np.array([small.indices(one.architecture) for one in held_out])
    assert np.array_equal(archs, model.archs)
    before = hn.fit_latency(small, archs[:8], model.measured_ms[:8], prior=table)
    assert [one.predicted_ms for one in held_out[8:]] == pytest.approx(before.predict(small, archs[8:]))
    assert all(one.low_ms < one.predicted_ms < one.high_ms for one in held_out)


def test_networks_that_were_measured_before_count_where_they_are_of_the_same_space(known):
    device, space, table, _ = known
    batches = Batches(device, space, plan(8, 0.0))
    first = whole_networks.fitted(batches, table, space.random(4, np.random.default_rng(0)))
    model, held_out = whole_networks.corrected(batches, table, first, everywhere(space))
    assert model.archs[:4] == first.archs
    assert len(model.archs) == 8
    assert len(held_out) == 4


def test_a_space_with_few_architectures_is_measured_whole(known):
    device, space, table, first = known
    small = space.narrow(
        [layer.choices[: 2 if number < 2 else 1] for number, layer in enumerate(space.layers)]
    )
    model, _ = whole_networks.corrected(
        Batches(device, small, plan(24, 0.0)), table, first, everywhere(small)
    )
    assert len(model.archs) == 4


def test_candidates_lie_near_the_budget_or_anywhere_where_none_do(known):
    _, space, _, first = known
    middle = float(np.median(first.predict(space, space.random(100, np.random.default_rng(0)))))
    low, high = whole_networks.NEAR_BUDGET
    costs = first.predict(space, whole_networks.near(space, middle, 0)(first))
    assert low * middle <= costs.min() <= costs.max() <= high * middle
    assert len(whole_networks.near(space, 1000 * middle, 0)(first)) == whole_networks.CANDIDATES


@pytest.mark.parametrize("spell", [(0, 2), (3, 6)])
def test_a_slow_spell_of_the_machine_is_seen_and_measured_again(known, monkeypatch, spell):
    device, space, table, first = known
    small, calls, slept = narrowed(space), [], []
    real = whole_networks.beside

    def disturbed(witness, sessions, **more):
        factor = 1.5 if spell[0] <= len(calls) < spell[1] else 1.0
        calls.append(factor)
        samples, beside = real(witness, sessions, **more)
        return [slowed(one, factor) for one in samples], slowed(beside, factor)

    monkeypatch.setattr(whole_networks, "beside", disturbed)
    monkeypatch.setattr(time, "sleep", slept.append)
    batches = Batches(device, small, plan(16, 0.0))
    model, held_out = whole_networks.corrected(batches, table, first, everywhere(small))
    assert len(held_out) == 16
    assert len(calls) > 4
    assert max(one.error for one in held_out[12:]) < 0.2
    truth = measure_architectures(device, small, np.array(model.archs), rounds=2, seconds=0.01)
    assert model.measured_ms == pytest.approx([one.median_ms for one in truth], rel=0.02)
    assert [one.measured_ms for one in held_out] == list(model.measured_ms)


def slowed(samples, factor):
    return replace(samples, values_ms=tuple(factor * value for value in samples.values_ms))


@pytest.mark.parametrize("paces", [[1.0, 1.06, 0.97, 1.03], [1.04, 1.0, 1.0, 1.09]])
def test_a_machine_whose_pace_wanders_tells_networks_at_its_usual_pace(known, monkeypatch, paces):
    device, space, _, _ = known
    archs, left = space.random(16, np.random.default_rng(5)), list(paces)
    real = whole_networks.beside

    def wandering(witness, sessions, **more):
        factor = left.pop(0)
        samples, beside = real(witness, sessions, **more)
        return [slowed(one, factor) for one in samples], slowed(beside, factor)

    monkeypatch.setattr(whole_networks, "beside", wandering)
    batches = Batches(device, space, plan())
    for start in range(0, 16, BATCH):
        medians = batches.medians(archs[start : start + BATCH])
    truth = [one.median_ms for one in measure_architectures(device, space, archs, rounds=2, seconds=0.01)]
    usual = np.median(paces)
    assert medians == pytest.approx(usual * np.array(truth), rel=1e-9)
    assert batches.paces == pytest.approx(np.repeat(paces, BATCH) / usual, rel=1e-9)


def test_a_witness_of_before_tells_what_two_sittings_have_in_common(known, monkeypatch):
    device, space, _, _ = known
    archs = space.random(8, np.random.default_rng(6))
    first = Batches(device, space, plan())
    before = first.medians(archs)
    real = whole_networks.beside

    def slower(witness, sessions, **more):
        samples, beside = real(witness, sessions, **more)
        return [slowed(one, 1.07) for one in samples], slowed(beside, 1.07)

    monkeypatch.setattr(whole_networks, "beside", slower)
    later = Batches(device, space, plan(), first.witness)
    moved = later.medians(archs) / (later.usual_ms / first.usual_ms)
    assert moved == pytest.approx(before, rel=1e-9)


def test_predictions_made_in_a_slow_minute_are_told_at_the_pace_found_usual_later(known, monkeypatch):
    device, space, table, _ = known
    calls, real = [], whole_networks.beside

    def slow_at_first(witness, sessions, **more):
        factor = 1.12 if len(calls) < 3 else 1.0
        calls.append(factor)
        samples, beside = real(witness, sessions, **more)
        return [slowed(one, factor) for one in samples], slowed(beside, factor)

    monkeypatch.setattr(whole_networks, "beside", slow_at_first)
    batches = Batches(device, space, plan(28, 0.0))
    first = whole_networks.fitted(batches, table, space.random(4, np.random.default_rng(0)))
    _, held_out = whole_networks.corrected(batches, table, first, everywhere(space))
    assert calls == [1.12] * 3 + [1.0] * 4
    assert max(one.error for one in held_out) < 0.06


def test_slow_networks_have_fewer_turns(known, monkeypatch):
    device, space, _, _ = known
    asked = []
    real = whole_networks.beside

    def counting(witness, sessions, **more):
        asked.append(more["rounds"])
        return real(witness, sessions, **{**more, "rounds": 1})

    monkeypatch.setattr(whole_networks, "beside", counting)
    slow = open_device("simulated:cpu?overhead_us=200000")
    for one in (device, slow):
        Batches(one, space, Plan(4, 0.0, 5, 0.02)).medians(space.random(4, np.random.default_rng(0)))
    assert asked == [5 * whole_networks.TURNS, 5]
