"""Verify: a miss that the machine may be to blame for is measured again, any other is believed."""

import time

import pytest

from hurricane import config as config_file
from hurricane.latency import Samples
from hurricane.runs import Run
from hurricane.steps import verify
from hurricane.steps.job import Job


@pytest.fixture
def job(tmp_path):
    config = config_file.checked({"device": "simulated:cpu", "max_ms": 1.0})
    return Job(Run.create(tmp_path / "run", {}), config)


@pytest.mark.parametrize(
    ("medians", "known_ms", "result", "measurements"),
    [
        ([0.99], 0.95, 0.99, 1),
        ([1.04, 0.98], 0.97, 0.98, 2),
        ([1.02, 0.9], 1.0, 1.02, 1),
        ([1.2, 1.3, 0.97, 0.9], 0.96, 0.97, 3),
        ([1.2, 1.3, 1.15, 1.25, 0.9], 0.96, 1.15, 4),
        ([0.99, 0.5], 0.5, 0.99, 1),
    ],
    ids=[
        "kept",
        "a slight spell ends",
        "a narrow miss is believed",
        "a slow spell ends",
        "it stays slow",
        "kept though slow",
    ],
)
def test_a_miss_is_measured_again_where_the_same_network_was_much_faster_before(
    job, monkeypatch, medians, known_ms, result, measurements
):
    waiting, pauses = iter(medians), []
    monkeypatch.setattr(verify, "measure", lambda sessions, **how: [Samples((next(waiting),))])
    monkeypatch.setattr(time, "sleep", pauses.append)
    assert verify.settled(job, None, known_ms).median_ms == result
    assert len(pauses) == measurements - 1
