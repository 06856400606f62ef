"""Batches beside a witness."""

import time

import pytest

from hurricane.devices import Watched
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


@pytest.mark.parametrize("slowness", [[1.3, 1.0, 1.2], [1.0, 1.3, 1.1], [1.2, 1.2, 1.0]])
def test_what_was_measured_in_a_slow_spell_is_measured_again(machine, slowness):
    machine.slowness = slowness.copy()
    watched = Watched(machine.measured)
    for _ in range(3):
        watched.add()
    assert watched.due() == [
        number for number, factor in enumerate(slowness) if factor > 1.05 * min(slowness)
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


def test_the_fastest_median_of_each_thing_counts(machine):
    machine.slowness = [1.0, 1.3, 1.4]
    watched = Watched(machine.measured, most=2)
    watched.add()
    watched.add()
    watched.settle()
    assert medians(watched)[1] == [2.6, 13.0]
