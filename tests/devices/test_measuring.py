"""The one measurement, on sessions that tell made-up times."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hurricane.devices import measure
from hurricane.devices.measuring import MAX_KEPT, MAX_RUNS, MIN_RUNS
from hurricane.errors import ConfigError


class Told:
    """A session whose rounds last what it is told, one figure a round; the last one goes on."""

    def __init__(self, *rounds_ms, log=None, name=""):
        self.rounds_ms, self.round, self.calls, self.values = rounds_ms, -1, [], []
        self.log, self.name = log, name

    def run(self, images):
        return images

    def time(self, runs):
        self.calls.append(runs)
        if len(self.calls) % 3 == 1:  # warm-up in two calls, then the block
            self.round += 1
            if self.log is not None:
                self.log.append(self.name)
        now = self.rounds_ms[min(self.round, len(self.rounds_ms) - 1)]
        values = [now * factor for factor in np.linspace(0.99, 1.01, runs)]
        if len(self.calls) % 3 == 0:
            self.values += values
        return values

    @property
    def blocks(self):
        return self.calls[2::3]


def test_sessions_take_turns_so_that_a_slow_spell_hits_all_a_little():
    log = []
    measure([Told(1.0, log=log, name=name) for name in "abc"], rounds=3, seconds=0.01)
    assert "".join(log) == "abcabcabc"


def test_a_turn_lasts_as_long_as_asked_within_its_limits():
    quick, usual, slow = Told(1e-4), Told(0.5), Told(1000.0)
    measure([quick, usual, slow], rounds=2, seconds=0.05)
    assert quick.blocks == [MAX_RUNS] * 2
    assert usual.blocks == pytest.approx([100] * 2, abs=2)
    assert slow.blocks == [MIN_RUNS] * 2
    # Two runs, then twenty milliseconds more.
    assert usual.calls[:2] == [2, pytest.approx(40, abs=1)]


def test_rounds_in_a_slow_spell_are_left_out_and_counted():
    session = Told(3.0, 1.0, 1.04)
    samples = measure([session], rounds=3, seconds=0.05)[0]
    assert samples.median_ms == pytest.approx(1.02, rel=0.02)
    assert max(samples.values_ms) < 1.1
    assert samples.dropped == session.blocks[0]
    assert samples.unstable is None


def test_what_disagrees_is_measured_again_and_only_that():
    steady, shaky = Told(1.0), Told(1.0, 1.3, 1.5, 1.01)
    samples = measure([steady, shaky], rounds=3, seconds=0.01)
    assert len(steady.blocks) == 3
    assert len(shaky.blocks) == 4
    assert [sample.unstable for sample in samples] == [None, None]
    assert samples[1].dropped == sum(shaky.blocks[1:3])


def test_what_never_agrees_says_so_with_figures():
    session = Told(2.0, 1.0, 1.5, 1.08, 1.4, 1.2)
    samples = measure([session], rounds=3, seconds=0.01)[0]
    assert len(session.blocks) == 6
    assert samples.unstable is not None
    assert "6 rounds" in samples.unstable
    assert "best 1 ms, next 1.08, 1.2 ms" in samples.unstable


def test_what_is_slower_for_all_is_taken_out():
    paces = [1.0, 1.3, 0.96, 1.0, 2.5]
    sessions = [Told(*(level * pace for pace in paces)) for level in (0.5, 1.0, 3.0, 7.0)]
    samples = measure(sessions, rounds=5, seconds=0.01)
    assert [one.median_ms for one in samples] == pytest.approx([0.5, 1.0, 3.0, 7.0], rel=1e-6)
    assert [one.dropped for one in samples] == [0] * 4
    assert [one.unstable for one in samples] == [None] * 4


def test_what_is_slower_for_one_of_many_is_left_out():
    sessions = [Told(1.0), Told(2.0), Told(3.0), Told(4.0, 5.0, 4.0, 4.0, 4.0)]
    samples = measure(sessions, rounds=5, seconds=0.01)
    assert [one.median_ms for one in samples] == pytest.approx([1.0, 2.0, 3.0, 4.0])
    assert samples[3].dropped == sessions[3].blocks[1]


def test_together_the_middle_round_counts_and_alone_the_best():
    shaky = (1.0, 1.04, 1.09, 1.12, 1.25)
    alone = measure([Told(*shaky)], rounds=5, seconds=0.01)[0]
    among = measure([Told(3.0), Told(4.0), Told(5.0), Told(*shaky)], rounds=5, seconds=0.01)[3]
    assert alone.median_ms == pytest.approx(1.04, rel=0.002)
    assert among.median_ms == pytest.approx(1.05, rel=0.002)


def test_a_round_more_for_one_is_told_at_the_pace_of_others_that_have_it_too():
    shaky = Told(1.0, 1.2, 1.5, 1.08)
    steady = [Told(level, level, level, 1.08 * level) for level in (2.0, 3.0, 4.0)]
    samples = measure([*steady, shaky], rounds=3, seconds=0.01)
    assert [len(one.blocks) for one in steady] == [4, 4, 4]
    assert [one.median_ms for one in samples[:3]] == pytest.approx([2.0, 3.0, 4.0])


def test_one_or_two_do_not_tell_the_pace_of_the_machine():
    samples = measure([Told(1.0, 1.3, 1.3), Told(2.0, 2.6, 2.6)], rounds=3, seconds=0.01)
    assert [one.median_ms for one in samples] == pytest.approx([1.0, 2.0])


def test_one_round_is_one_round():
    session = Told(1.0)
    assert measure([session], rounds=1, seconds=0.01)[0].unstable is None
    assert len(session.blocks) == 1


@given(st.floats(1e-3, 50.0), st.integers(1, 4), st.floats(0.001, 0.2))
def test_samples_are_bounded_in_number_and_keep_their_quantiles(each_ms, rounds, seconds):
    session = Told(each_ms)
    samples = measure([session], rounds=rounds, seconds=seconds)[0]
    assert len(samples.values_ms) == min(MAX_KEPT, sum(session.blocks))
    assert samples.median_ms == pytest.approx(np.median(session.values), rel=2e-4)
    assert samples.p10_ms == pytest.approx(np.percentile(session.values, 10), rel=2e-4)
    assert samples.p90_ms == pytest.approx(np.percentile(session.values, 90), rel=2e-4)
    assert samples.values_ms == tuple(sorted(samples.values_ms)) or len(session.values) <= MAX_KEPT
    assert set(samples.values_ms) <= set(session.values)
    assert samples.dropped == 0


def test_progress_counts_turns_and_nothing_to_measure_is_no_error():
    told = []
    measure([Told(1.0), Told(2.0)], rounds=2, seconds=0.01, progress=lambda *now: told.append(now))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert measure([]) == []


@pytest.mark.parametrize(("rounds", "seconds"), [(0, 0.05), (3, 0.0), (3, float("nan"))])
def test_rounds_and_seconds_must_be_positive(rounds, seconds):
    with pytest.raises(ConfigError, match="above 0"):
        measure([Told(1.0)], rounds=rounds, seconds=seconds)
