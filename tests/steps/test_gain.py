"""What a search can gain above one operator at all layers is known, and told, before anything is trained."""

import shutil

import numpy as np
import pytest

from hurricane import config as config_file
from hurricane import pipeline
from hurricane.space import Shape
from hurricane.steps import gain
from hurricane.steps.feasibility import FILLED, everywhere
from hurricane.steps.job import SilentView
from tests.steps.quick import QUICK

DEVICE = "simulated:cpu?seed=0&gflops=20&gbps=10&overhead_us=0.1&jitter=0"
FITTED = ("space.width=auto", "space.depth=0.5", "specialize.keep=2")


class Listening(SilentView):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def until_specialized(folder, *settings, budget_ms=0.1):
    config = config_file.with_settings(
        config_file.checked({"device": DEVICE, "max_ms": budget_ms}), [*QUICK, *FITTED, *settings]
    )
    job = pipeline.start(folder, config, Listening(), command="test")
    pipeline.run(job, until="specialize")
    return job


def gain_of(job):
    return gain.of(job, job.small_space, job.latency_model)


def told(job):
    return [said for said in job.view.said if "mix channels" in said]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return until_specialized(tmp_path_factory.mktemp("gain") / "run")


@pytest.fixture
def job(original, tmp_path):
    """A copy of a run up to its space, to be changed at will."""
    shutil.copytree(original.run.folder, tmp_path / "run")
    return pipeline.reopen(tmp_path / "run", [], Listening())


@pytest.mark.parametrize("margin", [0.0, 0.02, 0.3])
def test_the_most_that_a_search_can_have_is_what_trying_everything_finds(job, margin):
    job = pipeline.reopen(job.run.folder, [f"search.margin={margin}"], Listening())
    space = job.small_space
    archs = np.stack([axis.ravel() for axis in np.indices([len(la.choices) for la in space.layers])], axis=1)
    assert len(archs) == space.size
    fits = job.latency_model.predict(space, archs) <= job.budget_ms * (1 - margin)
    assert gain_of(job).most == space.mixing_macs(archs[fits]).max()


def test_it_stands_beside_the_operator_that_fills_the_budget_in_this_shape(job):
    space, found = job.space_at(job.shape), gain_of(job)
    assert f"{found.operator} everywhere" in job.run.decision("width")["reason"]
    assert found.plain == space.mixing_macs(everywhere(found.operator, space))[0]


def test_the_run_says_it_once_and_so_does_its_report(original):
    sentence = gain.sentence(gain_of(original))
    assert told(original) == [sentence]
    pipeline.perform(original, "report", force=True)
    page = original.run.path("report.html").read_text(encoding="utf-8")
    assert f"{sentence[0].upper()}{sentence[1:]}." in page


@pytest.mark.parametrize(
    "settings",
    [
        ["space.width=0.5"],
        # Next to nothing is cheaper than the leading operator, so the space is narrower than that would be.
        ['space.choices=["mb_k3_e3"]'],
    ],
)
def test_where_no_operator_fills_the_budget_in_the_shape_nothing_is_told(tmp_path, settings):
    job = until_specialized(tmp_path / "run", *settings)
    assert gain_of(job) is None
    assert told(job) == []
    assert ("width" in settings[0]) or f"{FILLED:.0%}" in job.run.decision("width")["reason"]


def test_where_even_the_widest_leaves_the_budget_unused_nothing_is_told(tmp_path):
    assert told(until_specialized(tmp_path / "run", budget_ms=1000.0)) == []


def test_the_operator_that_fills_another_budget_is_no_comparison(job):
    other = pipeline.start(
        job.run.folder, job.config.model_copy(update={"max_ms": 0.09}), SilentView(), command="test"
    )
    assert gain_of(other) is None


def test_nor_is_one_in_another_shape(job):
    decided = job.run.decision("width")
    given = pipeline.reopen(job.run.folder, [f"space.width={decided['value'] + 0.2}"], SilentView())
    assert given.shape != Shape(decided["value"], decided["depth"])
    assert gain_of(given) is None


def test_an_operator_that_was_left_out_later_is_no_comparison(job):
    others = [name for name in job.config.space.choices if name != job.run.decision("width")["leading"]]
    settings = ["space.choices=[" + ", ".join(f'"{name}"' for name in others) + "]"]
    later = pipeline.reopen(job.run.folder, settings, Listening())
    for command in ("profile", "specialize"):
        pipeline.perform(later, command)
    assert gain_of(later) is None
    assert told(later) == []


def test_without_a_search_nothing_is_told(job):
    assert gain_of(pipeline.reopen(job.run.folder, ["search.method=none"], SilentView())) is None


def test_a_run_begun_before_this_was_told_says_nothing(job):
    job.run.decide("width", {k: v for k, v in job.run.decision("width").items() if k != "leading"})
    assert gain_of(pipeline.reopen(job.run.folder, [], SilentView())) is None


def test_a_budget_that_the_corrected_model_sees_nothing_within_is_left_to_the_search(job):
    class Dear:
        def costs(self, space):
            costs = job.latency_model.costs(space)
            return type(costs)(costs.layers, costs.fixed_ms + job.budget_ms)

    assert gain.of(job, job.small_space, Dear()) is None


@pytest.mark.parametrize(
    ("most", "count", "words", "advised"),
    [
        (1_500_000, "1.5", "50% more than", False),
        (1_050_000, "1.05", "5% more than", True),
        (1_001_000, "1", "as many as", True),
        (900_000, "0.9", "10% fewer than", True),
        (1_234_500_000, "1,234", "more than", False),
    ],
)
def test_where_there_is_little_to_gain_a_user_is_told_what_else_to_do(most, count, words, advised):
    sentence = gain.sentence(gain.Gain("mb_k3_e6", 1_000_000, most))
    assert f" {count} million MACs" in sentence
    assert f"{words} mb_k3_e6 at all layers" in sentence
    assert ("--no-search" in sentence) == advised
