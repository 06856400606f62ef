"""Without a search one operator stands at all layers, as wide as the budget allows, and gets all of the training."""

import numpy as np
import pytest

from hurricane import pipeline
from hurricane.errors import InfeasibleBudget, SpaceError
from hurricane.runs import read_rows
from hurricane.space import Shape
from hurricane.steps import feasibility, plan, retrain, search, supernet
from hurricane.steps.job import SilentView
from tests.steps.quick import quick_job, state_of

PLAIN = ("search.method=none",)
WIDE = (*PLAIN, "space.width=auto", 'space.choices=["sep_k3", "mb_k3_e3", "mb_k3_e6"]')


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    job = quick_job(tmp_path_factory.mktemp("plain") / "run", *WIDE, budget_ms=0.1)
    return job, pipeline.run(job)


def measured(job, kind, width):
    space = job.space_at(Shape(width, job.shape.depth))
    arch = [[layer.choices.index(kind) for layer in space.layers]]
    return feasibility.measured_ms(job, space, np.array(arch))[0]


def test_it_ends_with_a_verified_model_of_one_operator(plain):
    job, status = plain
    verdict = pipeline.verdict(job)
    assert status == 0
    assert verdict["measured_ms"] <= 0.1
    assert set(verdict["architecture"]) == {job.run.decision("width")["operator"]}
    assert set(state_of(job).values()) == {"done"}


def test_nothing_but_the_one_network_is_trained_and_nothing_scored(plain):
    job, _ = plain
    assert not list(job.run.path(supernet.NAME).rglob("curve.jsonl"))
    assert not list(job.run.folder.rglob("scored.jsonl"))
    assert len(read_rows(job.run.path(retrain.NAME, "curve.jsonl"))) == 1
    assert job.run.record(retrain.NAME)["start"] == "scratch"
    (finalist,) = job.run.record(search.NAME)["finalists"]
    assert finalist["fits"]
    assert finalist["score"] is None


def test_its_report_tells_that_nothing_was_searched(plain):
    job, _ = plain
    page = job.run.path("report.html").read_text()
    assert "Keeps the budget" in page
    assert "Nothing was searched" in page
    assert "supernet, stage" not in page


def test_the_operator_fills_the_budget_and_has_the_most_capacity_of_those_that_do(plain):
    job, _ = plain
    kind, width = job.run.decision("width")["operator"], job.shape.width
    share = feasibility.FILLED_ALONE * job.budget_ms
    assert (
        measured(job, kind, width)
        <= share
        < measured(job, kind, round(width + 2 * feasibility.WIDTH_STEP, 2))
    )
    families = feasibility._families(
        job, feasibility.FAMILIES[:3], [job.shape.depth], feasibility.FILLED_ALONE
    )
    assert families[int(np.argmax(feasibility._capacities(job, families)))] == (kind, job.shape)


def test_the_epochs_of_a_search_go_to_the_one_training(plain):
    job, _ = plain
    searching = quick_job(
        job.run.folder.with_name("searching"), "supernet.epochs=auto", "retrain.epochs=auto"
    )
    alone = quick_job(job.run.folder.with_name("alone"), *WIDE, "retrain.epochs=auto")
    wanted, lengths = (plan.default_lengths(one, 1e5) for one in (searching, alone))
    assert (lengths.stage1, lengths.stage2, lengths.evaluations, lengths.random_evaluations) == (0, 0, 0, 0)
    assert lengths.retrain >= wanted.retrain + wanted.stage1 + wanted.stage2


def test_another_budget_is_filled_anew(tmp_path):
    width = quick_job(tmp_path / "run", *WIDE, budget_ms=0.1).shape.width
    more = quick_job(tmp_path / "run", *WIDE, budget_ms=0.2)
    pipeline.run(more, until="profile")
    assert more.shape.width > width
    assert more.run.decision("width")["cheap_ms"] <= 0.2


def test_a_run_that_searched_can_go_on_without_and_back(tmp_path):
    folder = tmp_path / "run"
    pipeline.run(quick_job(folder), until="profile")
    without = pipeline.reopen(folder, PLAIN, SilentView())
    assert state_of(without)["profile"] == "stale"
    pipeline.run(without, until="specialize")
    assert without.small_space.size == 1
    again = pipeline.reopen(folder, ["search.method=evolution"], SilentView())
    assert state_of(again)["profile"] == "stale"
    pipeline.run(again, until="specialize")
    assert again.small_space.size > 1


def test_at_a_given_width_the_most_capable_operator_that_keeps_the_budget_is_taken(tmp_path):
    costs = {}
    for budget_ms in (0.065, 10.0):
        job = quick_job(tmp_path / str(budget_ms), *WIDE, "space.width=0.5", budget_ms=budget_ms)
        costs[budget_ms] = job.run.decision("width")["dear_ms"]
        assert job.shape == Shape(0.5, 1.0)
    assert costs[0.065] <= 0.065 < costs[10.0]
    with pytest.raises(InfeasibleBudget, match="raise --max-latency"):
        quick_job(tmp_path / "none", *WIDE, "space.width=0.5", budget_ms=0.02)


def test_other_operators_than_the_usual_ones_are_taken_where_there_are_no_others(tmp_path):
    job = quick_job(tmp_path / "run", *WIDE, 'space.choices=["mb_k5_e1", "skip"]', budget_ms=0.1)
    assert job.run.decision("width")["operator"] == "mb_k5_e1"


def test_operators_that_cannot_stand_at_all_layers_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(feasibility, "_stands_everywhere", lambda kind, space: False)
    with pytest.raises(SpaceError, match="at all layers"):
        quick_job(tmp_path / "run", *WIDE, budget_ms=0.1)


def test_a_network_that_is_measured_above_the_budget_is_not_trained(tmp_path, monkeypatch):
    job = quick_job(tmp_path / "run", *WIDE, budget_ms=0.1)
    pipeline.run(job, until="train")
    monkeypatch.setattr(search, "_measured", lambda *_: ([{"fits": False, "measured_ms": 0.11}], None))
    with pytest.raises(InfeasibleBudget, match=r"space\.width="):
        pipeline.run(job)
    assert state_of(job)["search"] == "missing"
