"""What a search can gain above one operator at all layers is known, and told, before anything is trained."""

import numpy as np
import pytest

from hurricane import config as config_file
from hurricane import pipeline
from hurricane.steps import feasibility, gain
from hurricane.steps.job import SilentView
from tests.steps.quick import QUICK

DEVICE = "simulated:cpu?seed=0&gflops=20&gbps=10&overhead_us=0.1&jitter=0"
FITTED = ("space.width=auto", "space.depth=0.5", "specialize.keep=2")


class Listening(SilentView):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def gain_of(job):
    return job.run.record("space")["gain"]


def until_specialized(folder, *settings, budget_ms=0.1):
    config = config_file.with_settings(
        config_file.checked({"device": DEVICE, "max_ms": budget_ms}), [*QUICK, *FITTED, *settings]
    )
    job = pipeline.start(folder, config, Listening(), command="test")
    pipeline.run(job, until="specialize")
    return job


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return until_specialized(tmp_path_factory.mktemp("gain") / "run")


def test_the_most_that_a_search_can_have_is_what_trying_everything_finds(job):
    space, found = job.small_space, gain_of(job)
    sizes = [len(layer.choices) for layer in space.layers]
    archs = np.stack([axis.ravel() for axis in np.indices(sizes)], axis=1)
    assert len(archs) == space.size
    fits = job.latency_model.predict(space, archs) <= job.budget_ms * (1 - job.config.search.margin)
    best = space.mixing_macs(archs[fits]).max()
    # Costs are rounded up to thousandths of the room, so a hair less may be found.
    assert 0.98 * best <= found["most_mixing_macs"] <= best


def test_it_is_told_beside_the_plain_network_that_the_shape_was_fitted_to(job):
    found = gain_of(job)
    assert f"{found['operator']} everywhere" in job.run.decision("width")["reason"]
    space = job.space_at(job.shape)
    # The space may be narrower than the plain network: where next to nothing costs less.
    assert found["mixing_macs"] >= space.mixing_macs(feasibility.everywhere(found["operator"], space))[0]
    assert gain.in_words(found) in job.view.said


def test_the_report_tells_it_too(job):
    pipeline.perform(job, "report", force=True)
    page = job.run.path("report.html").read_text(encoding="utf-8")
    sentence = gain.in_words(gain_of(job))
    assert sentence[1:] + "." in page


def test_where_no_plain_network_was_fitted_nothing_is_told(tmp_path):
    given = until_specialized(tmp_path / "given", "space.width=0.5")
    assert gain_of(given) is None
    assert not any("mix channels" in said for said in given.view.said)


def test_the_plain_network_of_another_budget_is_no_comparison(job):
    later = pipeline.reopen(job.run.folder, [], SilentView())
    other = later.config.model_copy(update={"max_ms": 0.09})
    again = pipeline.start(job.run.folder, other, SilentView(), command="test")
    assert gain.above_plain(again, again.small_space, again.latency_model) is None
    assert gain.above_plain(job, job.small_space, job.latency_model) == gain_of(job)


def test_a_budget_that_the_corrected_model_sees_nothing_within_is_left_to_the_search(job):
    class Dear:
        def costs(self, space):
            costs = job.latency_model.costs(space)
            return type(costs)(costs.layers, costs.fixed_ms + job.budget_ms)

    assert gain.above_plain(job, job.small_space, Dear()) is None


@pytest.mark.parametrize(
    ("most", "told", "advised"),
    [
        (1_500_000, "50% more than", False),
        (1_050_000, "5% more than", True),
        (1_001_000, "as many as", True),
        (900_000, "10% fewer than", True),
    ],
)
def test_where_there_is_little_to_gain_a_user_is_told_what_else_to_do(most, told, advised):
    sentence = gain.in_words({"operator": "mb_k3_e6", "mixing_macs": 1_000_000, "most_mixing_macs": most})
    assert f"{told} mb_k3_e6 at all layers" in sentence
    assert ("--no-search" in sentence) == advised
