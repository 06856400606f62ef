"""Batches beside a witness."""

import math
import time

import numpy as np
import pytest

from hurricane.devices import Watched, beside, watching
from hurricane.devices.watching import WITNESS_TURNS
from hurricane.latency import Samples


@pytest.fixture
def machine(monkeypatch):
    """What one measurement after the other is slowed down by, and the pauses that were made."""

    class Machine:
        def __init__(self):
            self.slowness, self.calls, self.pauses = [], [], []

        def measured(self, number):
            factor = self.slowness.pop(0) if self.slowness else 1.0
            self.calls.append(number)
            return [Samples((factor * (number + 1),)), Samples((factor * 10.0,))], Samples((factor * 2.0,))

    found = Machine()
    monkeypatch.setattr(time, "sleep", found.pauses.append)
    return found


def medians(watched):
    return [[one.median_ms for one in watched.samples(number)] for number in range(len(watched))]


def test_a_quiet_machine_measures_every_batch_once(machine):
    watched = Watched(machine.measured)
    for _ in range(3):
        watched.add()
    watched.settle()
    assert machine.calls == [0, 1, 2]
    assert medians(watched) == [[1.0, 10.0], [2.0, 10.0], [3.0, 10.0]]


@pytest.mark.parametrize("slowness", [[1.3, 1.0, 1.2], [1.0, 1.3, 1.2], [1.2, 1.2, 1.0]])
def test_what_was_measured_in_a_slow_spell_is_measured_again(machine, slowness):
    machine.slowness = slowness.copy()
    watched = Watched(machine.measured)
    for _ in range(3):
        watched.add()
    assert watched.due() == [
        number for number, factor in enumerate(slowness) if factor > 1.15 * min(slowness)
    ]
    watched.settle()
    assert medians(watched) == [[1.0, 10.0], [2.0, 10.0], [3.0, 10.0]]


def test_a_machine_that_stays_slow_is_not_waited_for_without_end(machine):
    machine.slowness = [1.0] + [1.5] * 100
    watched = Watched(machine.measured, most=4)
    watched.add()
    watched.add()
    watched.settle()
    assert machine.calls == [0, 1, 1, 1, 1]
    assert len(machine.pauses) == 2
    assert watched.due() == []


def test_the_time_at_which_the_witness_was_fastest_counts_at_the_usual_pace(machine):
    machine.slowness = [1.0, 1.3, 1.4, 1.0]
    watched = Watched(machine.measured, most=2)
    for _ in range(2):
        watched.add()
    watched.settle()
    assert watched.witness_ms == [2.0, 2.6]
    assert watched.usual_ms == 2.3
    assert watched.pace(1) == pytest.approx(1.3 / 1.15)
    assert medians(watched) == pytest.approx(np.array([[1.15, 11.5], [2.3, 11.5]]))


class Paced:
    """A session on a machine whose pace changes from turn to turn of all."""

    def __init__(self, each_ms, machine):
        self.each_ms, self.machine, self.calls = each_ms, machine, 0

    def run(self, images):
        return images

    def time(self, runs):
        self.calls += 1
        if self.calls % 3 == 1:
            self.machine["turn"] += 1
            self.machine["order"].append(self.each_ms)
        pace = self.machine["paces"][self.machine["turn"] // self.machine["together"]]
        return [pace * self.each_ms] * runs


@pytest.mark.parametrize("count", [1, 4, 16])
def test_a_witness_takes_its_turns_among_the_others(count):
    paces = [1.0, 1.2, 0.9, 1.1, 1.0]
    machine = {"turn": -1, "order": [], "together": count + WITNESS_TURNS, "paces": paces}
    witness, *sessions = (Paced(1.0 + number, machine) for number in range(count + 1))
    samples, beside_it = beside(witness, sessions, rounds=len(paces), seconds=0.01)
    assert [one.median_ms for one in samples] == pytest.approx([2.0 + number for number in range(count)])
    assert beside_it.median_ms == pytest.approx(1.0)
    assert witness.calls == 3 * WITNESS_TURNS * len(paces)
    first_round = machine["order"][: machine["together"]]
    gaps = np.diff([place for place, each in enumerate(first_round) if each == 1.0])
    assert max(gaps) <= -(-count // WITNESS_TURNS) + 1


def test_every_turn_of_the_witness_counts(monkeypatch):
    def measured(sessions, **more):
        turns = iter([1.0, 2.0, 6.0])
        return [Samples((next(turns) if session == "witness" else 9.0,)) for session in sessions]

    monkeypatch.setattr(watching, "measure", measured)
    samples, witness = beside("witness", ["other"] * 4, rounds=1, seconds=0.01)
    assert [one.median_ms for one in samples] == [9.0] * 4
    assert witness.values_ms == (1.0, 2.0, 6.0)


def test_a_batch_without_a_witness_is_told_as_it_came_and_stays_out_of_the_usual_pace(machine):
    machine.slowness = [1.0, 1.0, 1.1]
    watched = Watched(lambda number: ([], Samples((math.nan,))) if number == 0 else machine.measured(number))
    for _ in range(3):
        watched.add()
    assert watched.due() == []
    assert watched.pace(0) == 1.0
    assert watched.usual_ms == pytest.approx(2.0)
    assert medians(watched)[1:] == pytest.approx(np.array([[2.0, 10.0], [3.0, 10.0]]))


def test_a_second_time_that_does_not_count_leaves_the_first(machine):
    calls = []

    def measured(number):
        calls.append(number)
        return ([], Samples((math.inf,))) if calls.count(0) > 1 and number == 0 else machine.measured(number)

    machine.slowness = [1.3, 1.0]
    watched = Watched(measured)
    watched.add()
    watched.add()
    watched.settle()
    assert calls == [0, 1, 0, 0]
    assert len(watched.samples(0)) == 2
