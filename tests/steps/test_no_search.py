"""Without a search one operator stands at all layers, as wide as the budget allows, and gets all of the training."""

import re
import shutil

import numpy as np
import pytest

from hurricane import pipeline
from hurricane.errors import InfeasibleBudget, SpaceError
from hurricane.latency import Samples
from hurricane.nn import FixedNetwork
from hurricane.runs import append_row, read_rows
from hurricane.space import Shape
from hurricane.steps import feasibility, plan, report, retrain, search, supernet, verify
from hurricane.steps import plain as plain_step
from hurricane.steps.job import SilentView
from hurricane.steps.lengths import MINIMUM, Lengths
from hurricane.train.loop import Epoch
from tests.steps.quick import quick_job, state_of
from tests.steps.test_plan import Told

PLAIN = ("search.method=none",)
WIDE = (*PLAIN, "space.width=auto", 'space.choices=["sep_k3", "mb_k3_e3", "mb_k3_e6"]')


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A finished run without a search, in a folder in which one was begun."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    pipeline.run(quick_job(folder, *WIDE, "search.method=evolution", budget_ms=0.1), until="train")
    job = quick_job(folder, *WIDE, budget_ms=0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FixedNetwork, "inherit", lambda *_: pytest.fail("there is no supernet to inherit from"))
        return job, pipeline.run(job)


def measured(job, kind, width):
    return feasibility.cost_of(job, kind, Shape(width, job.shape.depth))


def test_it_ends_with_a_verified_model_of_one_operator(plain):
    job, status = plain
    verdict = pipeline.verdict(job)
    assert status == 0
    assert verdict["measured_ms"] <= 0.1
    assert set(verdict["architecture"]) == {job.plain["operator"]}
    assert set(state_of(job).values()) == {"done"}


def test_nothing_but_the_one_network_is_trained_and_nothing_scored(plain):
    job, _ = plain
    assert len(read_rows(job.run.path(retrain.NAME, "curve.jsonl"))) == 1
    record = job.run.record(retrain.NAME)
    assert (record["start"], record["inherited"]) == ("scratch", 0.0)
    assert job.run.record(supernet.NAME)["later"] is None
    (finalist,) = job.run.record(search.NAME)["finalists"]
    assert finalist["fits"]
    assert finalist["score"] is None


def test_its_report_tells_that_nothing_was_searched(plain):
    job, _ = plain
    page = job.run.path("report.html").read_text()
    assert "Keeps the budget" in page
    assert "Nothing was searched" in page
    assert "before it was trained" in page
    assert "supernet, stage" not in page
    assert "were measured yet" not in page


def test_the_operator_fills_the_budget_and_has_the_most_capacity_of_those_that_do(plain):
    job, _ = plain
    kind, width = job.plain["operator"], job.shape.width
    share = feasibility.FULL * job.budget_ms
    assert (
        measured(job, kind, width)
        <= share
        < measured(job, kind, round(width + 2 * feasibility.WIDTH_STEP, 2))
    )
    families = feasibility._families(job, feasibility.FAMILIES[:3], [job.shape.depth], feasibility.FULL)
    assert families[int(np.argmax(feasibility.capacities_of(job, families)))] == (kind, job.shape)


def test_the_epochs_of_a_search_go_to_the_one_training(plain):
    job, _ = plain
    auto = ("supernet.epochs=auto", "retrain.epochs=auto")
    searching = quick_job(job.run.folder.with_name("searching"), *auto)
    alone = quick_job(job.run.folder.with_name("alone"), *WIDE, *auto)
    wanted, lengths = (plan.default_lengths(one, 1e5) for one in (searching, alone))
    assert lengths == Lengths(0, 0, wanted.stage1 + wanted.stage2 + wanted.retrain, 0, 0)
    # Small data sets end within half an hour on two cores, however dear the network is.
    macs = 2e7
    cut = plan.default_lengths(alone, macs)
    rate = plan.ASSUMED_MACS_PER_S / macs
    assert cut.retrain < lengths.retrain
    assert plan.total_seconds(alone, cut, rate, 3 * rate) <= plan.SMALL_DATA_SECONDS


def test_settings_of_a_search_do_not_make_it_stale(plain):
    job, _ = plain
    again = pipeline.reopen(job.run.folder, ["search.evaluations=99", "supernet.warm_up=0.5"], SilentView())
    assert set(state_of(again).values()) == {"done"}


def test_the_first_epoch_tells_how_long_to_train_and_old_curves_do_not(tmp_path, monkeypatch):
    job = quick_job(tmp_path / "run", *WIDE, "run.time_limit_s=60", "retrain.epochs=auto", budget_ms=0.1)
    fast = {"epoch": 1, "pictures": 1e6, "loss": 1.0, "accuracy": None, "seconds": 0.01}
    append_row(job.run.path("supernet", "stage1", "curve.jsonl"), fast)
    monkeypatch.setattr(plan, "measure_speed", lambda *_: plan.Speed(1e5, 1e5, "fp32"))
    calls = []

    def slow(model, images, labels, recipe, draw_paths, *, until, checkpoint, on_epoch, on_step):
        calls.append((recipe.epochs, until))
        if until == 1:
            on_epoch(Epoch(1, len(labels), 1.0, 0.5, seconds=2.0))

    monkeypatch.setattr(retrain, "train", slow)
    pipeline.run(job, until="retrain")
    (planned, once), (cut, to_the_end) = calls
    assert (once, to_the_end) == (1, cut)
    assert cut < planned
    assert 2.0 * cut <= 60.0
    assert job.run.record(retrain.NAME)["epochs"] == cut


def test_a_training_that_was_planned_longer_before_comes_to_an_end_of_its_own(tmp_path, monkeypatch):
    limit = ("run.time_limit_s=60", "retrain.epochs=auto")
    job = quick_job(tmp_path / "run", *WIDE, *limit, budget_ms=0.1)
    monkeypatch.setattr(plan, "measure_speed", lambda *_: plan.Speed(1e5, 1e5, "fp32"))
    monkeypatch.setattr(retrain, "epochs_in", lambda checkpoint: 5000)
    calls = []
    monkeypatch.setattr(retrain, "train", lambda *given, until, **_: calls.append((given[3].epochs, until)))
    pipeline.run(job, until="retrain")
    assert calls[-1] == (5000 + MINIMUM["retrain"],) * 2
    assert job.run.record(retrain.NAME)["epochs"] == 5000 + MINIMUM["retrain"]


def test_where_the_exported_file_misses_the_budget_a_narrower_network_is_advised(
    plain, tmp_path, monkeypatch
):
    folder = shutil.copytree(plain[0].run.folder, tmp_path / "run")
    job = pipeline.reopen(folder, ["verify.rounds=3"], Told())
    monkeypatch.setattr(verify, "settled", lambda *_: Samples((0.2,)))
    assert pipeline.run(job) == 1
    advice, before = "\n".join(job.view.said), (job.plain["operator"], job.shape)
    margin = re.search(r"--set (search\.margin=[\d.]+) for a narrower one", advice)[1]
    followed = pipeline.reopen(folder, [margin], SilentView())
    pipeline.run(followed, until="profile")
    assert followed.plain["cost_ms"] < 0.9 * 0.1
    assert (followed.plain["operator"], followed.shape) != before
    given = quick_job(tmp_path / "given", *WIDE, "space.width=0.5", budget_ms=0.1)
    assert search.narrower(given) == "give a smaller space.width"


def test_another_budget_or_operator_is_decided_anew_by_any_command(tmp_path):
    width = quick_job(tmp_path / "run", *WIDE, budget_ms=0.1).shape.width
    more = quick_job(tmp_path / "run", *WIDE, budget_ms=0.2)
    assert state_of(more)["profile"] == "missing"
    assert pipeline.perform(more, "profile")
    assert more.shape.width > width
    other = pipeline.reopen(tmp_path / "run", ['space.choices=["choice_k3"]'], SilentView())
    assert state_of(other)["profile"] == "stale"
    assert pipeline.perform(other, "profile")
    assert other.plain["operator"] == "choice_k3"


def test_a_run_that_searched_can_go_on_without_and_back_in_its_former_shape(tmp_path):
    folder = tmp_path / "run"
    pipeline.run(quick_job(folder, "space.width=auto"), until="specialize")
    shape = quick_job(folder, "space.width=auto").shape
    without = pipeline.reopen(folder, PLAIN, SilentView())
    assert state_of(without)["profile"] == "stale"
    assert "not narrowed yet" in report.render(report.facts_of(without))
    pipeline.run(without, until="specialize")
    assert without.small_space.size == 1
    again = pipeline.reopen(folder, ["search.method=evolution"], SilentView())
    assert again.shape == shape
    assert "not narrowed yet" in report.render(report.facts_of(again))
    pipeline.run(again, until="specialize")
    assert again.small_space.size > 1


def test_at_a_given_width_the_most_capable_operator_that_keeps_the_budget_is_taken(tmp_path):
    costs = {}
    for budget_ms in (0.065, 10.0):
        job = quick_job(tmp_path / str(budget_ms), *WIDE, "space.width=0.5", budget_ms=budget_ms)
        costs[budget_ms] = job.plain["cost_ms"]
        assert job.shape == Shape(0.5, 1.0)
    assert costs[0.065] <= 0.065 < costs[10.0]
    with pytest.raises(InfeasibleBudget, match="raise --max-latency"):
        quick_job(tmp_path / "none", *WIDE, "space.width=0.5", budget_ms=0.02)


def test_other_operators_than_the_usual_ones_are_taken_where_none_of_those_will_do(tmp_path):
    only = quick_job(tmp_path / "only", *WIDE, 'space.choices=["mb_k5_e1", "skip"]', budget_ms=0.1)
    assert only.plain["operator"] == "mb_k5_e1"
    dear = quick_job(tmp_path / "dear", *WIDE, 'space.choices=["mb_k3_e6", "mb_k3_e1"]', budget_ms=0.03)
    assert dear.plain["operator"] == "mb_k3_e1"


def test_more_is_kept_free_where_that_is_asked_for(tmp_path):
    job = quick_job(tmp_path / "run", *WIDE, "search.margin=0.3", budget_ms=0.1)
    assert job.plain["cost_ms"] <= 0.07 * 1.1


def test_operators_that_cannot_stand_at_all_layers_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(feasibility, "stands_everywhere", lambda kind, space: False)
    monkeypatch.setattr(plain_step, "stands_everywhere", lambda kind, space: False)
    with pytest.raises(SpaceError, match="at all layers"):
        quick_job(tmp_path / "run", *WIDE, budget_ms=0.1)


def test_a_network_that_is_measured_above_the_budget_is_not_trained(tmp_path, monkeypatch):
    job = quick_job(tmp_path / "run", *WIDE, budget_ms=0.1)
    pipeline.run(job, until="train")
    monkeypatch.setattr(search, "_measured", lambda *_: ([{"fits": False, "measured_ms": 0.11}], None))
    with pytest.raises(InfeasibleBudget, match=r"search\.margin="):
        pipeline.run(job)
    assert state_of(job)["search"] == "missing"
