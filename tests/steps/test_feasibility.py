"""The shape of the skeleton is fitted to device and budget before anything else."""

import numpy as np
import pytest

from hurricane import config as config_file
from hurricane import pipeline
from hurricane.errors import InfeasibleBudget
from hurricane.space import Shape
from hurricane.steps import feasibility
from hurricane.steps.job import SilentView
from tests.steps.quick import quick_job, state_of

FITTED = ("space.width=auto", 'space.choices=["mb_k3_e3"]')
AT_ONCE = "simulated:cpu?seed=0&gflops=20&gbps=10&overhead_us=0.1&jitter=0"


def test_another_depth_is_taken_only_where_it_buys_much_more_capacity(tmp_path):
    taken = []
    for budget_ms in (0.04, 0.06, 0.1, 0.2):
        job = quick_job(tmp_path / str(budget_ms), *FITTED, budget_ms=budget_ms, device=AT_ONCE)
        usual, *others = feasibility._families(job, ["mb_k3_e3"], feasibility.DEPTHS, feasibility.FULL)
        gains = feasibility.capacities_of(job, [usual, *others]) / feasibility.capacities_of(job, [usual])
        gain, most = max(
            zip(gains, [usual[1], *(shape for _, shape in others)], strict=True), key=lambda x: x[0]
        )
        full = most if gain >= feasibility.WORTHWHILE * gains[0] else usual[1]
        assert job.shape == feasibility._widest(job, "mb_k3_e3", full.depth, feasibility.FILLED)
        assert job.shape.width < full.width
        taken.append(job.shape.depth)
    assert len(set(taken)) > 1


def test_a_depth_that_is_given_is_kept_and_the_width_fitted_to_it(tmp_path):
    shapes = [
        quick_job(tmp_path / depth, *FITTED, f"space.depth={depth}", budget_ms=0.1, device=AT_ONCE).shape
        for depth in ("0.5", "1.5")
    ]
    assert [shape.depth for shape in shapes] == [0.5, 1.5]
    assert shapes[0].width > shapes[1].width


def test_with_a_given_width_the_depth_is_the_usual_one(tmp_path):
    job = quick_job(tmp_path / "run")
    assert job.shape == Shape(0.5, 1.0)
    assert feasibility.depths(job) == (1.0,)


def test_a_budget_that_only_shallow_networks_keep_is_no_hopeless_one(tmp_path):
    job = quick_job(tmp_path / "run", *FITTED, budget_ms=0.03, device=AT_ONCE)
    assert job.shape == Shape(feasibility.WIDTHS[0], 0.5)
    usual = job.space_at(Shape(feasibility.WIDTHS[0], 1.0))
    assert feasibility.measured_ms(job, usual, np.zeros((1, len(usual.layers)), int))[0] > 0.03


def test_a_budget_that_no_family_leaves_room_in_is_met_by_a_shallow_one(tmp_path):
    job = quick_job(tmp_path / "run", *FITTED, budget_ms=0.024, device=AT_ONCE)
    assert job.shape.depth == min(feasibility.DEPTHS)
    assert job.run.decision("width")["cheap_ms"] <= 0.024
    with pytest.raises(InfeasibleBudget, match="smallest skeleton"):
        quick_job(tmp_path / "less", *FITTED, budget_ms=0.01, device=AT_ONCE)


def test_a_budget_that_no_family_keeps_is_met_by_random_networks_shape(tmp_path):
    least = quick_job(tmp_path / "enough", *FITTED, budget_ms=0.024, device=AT_ONCE)
    budget_ms = feasibility.cost_of(least, "mb_k3_e3", least.shape) / 0.98
    job = quick_job(tmp_path / "run", *FITTED, budget_ms=budget_ms, device=AT_ONCE)
    assert job.run.decision("width")["reason"].startswith("fitted so that random networks")
    assert job.shape == Shape(feasibility.WIDTHS[0], min(feasibility.DEPTHS))


def test_a_budget_that_constrains_nothing_is_told_so(tmp_path):
    job = quick_job(tmp_path / "run", *FITTED, budget_ms=1000, device=AT_ONCE)
    assert job.shape.width == feasibility.WIDTHS[-1]
    assert job.run.decision("width")["reason"].startswith("the widest")


@pytest.fixture
def shallow(tmp_path):
    """A run in a shape of half the depth."""
    job = quick_job(tmp_path / "run", *FITTED, budget_ms=0.03, device=AT_ONCE)
    assert job.shape.depth == 0.5
    return job


def test_a_run_is_searched_in_the_shape_that_was_decided(shallow):
    assert len(shallow.full_space.layers) == 5


def test_a_depth_given_later_counts_for_every_command(shallow):
    pipeline.run(shallow, until="profile")
    assert state_of(shallow)["profile"] == "done"
    deeper = pipeline.reopen(shallow.run.folder, ["space.depth=1.0"], SilentView())
    assert deeper.shape == Shape(shallow.shape.width, 1.0)
    assert state_of(deeper)["profile"] == "stale"


@pytest.mark.parametrize("said", ["space.depth=0.5", "space.width=0.25"])
def test_a_shape_stays_when_what_was_fitted_is_said_in_full(shallow, said):
    before = {**shallow.run.decision("width"), "reason": "not measured again"}
    shallow.run.decide("width", before)
    again = pipeline.reopen(shallow.run.folder, [said], SilentView())
    pipeline.run(again, until="profile")
    assert again.run.decision("width") == before
    assert again.shape == shallow.shape


def test_a_width_stays_when_what_was_chosen_is_said_in_full(tmp_path):
    job = quick_job(tmp_path / "run", "space.width=auto")
    assert job.run.decision("width")["value"] != 2.0
    width = {**job.run.decision("width"), "value": 2.0}
    job.run.decide("width", width)
    settings = {**job.config.space.model_dump(), "preset": "tiny", "image_size": job.identity["image_size"]}
    config = job.config.model_copy(
        update={"space": config_file.SpaceSection(**settings), "device": "simulated"}
    )
    pipeline.run(pipeline.start(job.run.folder, config, SilentView(), command="test"), until="profile")
    assert job.run.decision("width") == width


def test_a_run_from_before_depths_were_fitted_keeps_the_usual_one(tmp_path):
    job = quick_job(tmp_path / "run", *FITTED, "space.depth=1.0", budget_ms=0.2)
    old = {name: value for name, value in job.run.decision("width").items() if name != "depth"}
    job.run.decide("width", old)
    again = pipeline.reopen(job.run.folder, [], SilentView())
    pipeline.run(again, until="profile")
    assert again.shape == Shape(old["value"], 1.0)
    assert again.run.decision("width") == old


@pytest.mark.parametrize("depth", feasibility.DEPTHS)
def test_a_family_is_as_wide_as_its_share_of_the_budget_lets_it_be(tmp_path, depth):
    job = quick_job(tmp_path / "run", *FITTED, budget_ms=0.2)
    ((kind, shape),) = feasibility._families(job, ["mb_k3_e3"], [depth], feasibility.FILLED)
    costs = []
    for width in (shape.width, round(shape.width + feasibility.WIDTH_STEP, 2)):
        space = job.space_at(Shape(width, depth))
        arch = np.array([[layer.choices.index(kind) for layer in space.layers]])
        costs.append(feasibility.measured_ms(job, space, arch)[0])
    assert costs[0] <= feasibility.FILLED * 0.2
    assert shape.width == feasibility.WIDTHS[-1] or costs[1] > feasibility.FILLED * 0.2


LEADING = ("space.width=auto", 'space.choices=["sep_k3", "mb_k3_e3"]', "space.depth=1.0")


@pytest.mark.parametrize(("margin", "share"), [(0.02, 0.95), (0.05, 0.92), (0.1, 0.87)])
def test_the_operator_that_leads_fills_what_the_search_may_use(tmp_path, margin, share):
    job = quick_job(tmp_path / "run", *LEADING, f"search.margin={margin}", budget_ms=0.2, device=AT_ONCE)
    assert "mb_k3_e3 everywhere" in job.run.decision("width")["reason"]
    wider = Shape(round(job.shape.width + feasibility.WIDTH_STEP, 2), 1.0)
    costs = [feasibility.cost_of(job, "mb_k3_e3", shape) / 0.2 for shape in (job.shape, wider)]
    assert costs[0] <= share < costs[1]


def test_where_next_to_nothing_is_cheaper_the_space_is_narrower(tmp_path):
    choices = ("space.width=auto", 'space.choices=["sep_k3", "sep_k5"]', "space.depth=1.0")
    job = quick_job(tmp_path / "run", *choices, budget_ms=0.1, device=AT_ONCE)
    assert job.shape == feasibility._widest(job, "sep_k3", 1.0, feasibility.FILLED)
    assert "sep_k3 everywhere takes about 80%" in job.run.decision("width")["reason"]
    roomy = quick_job(tmp_path / "roomy", *LEADING, budget_ms=0.2, device=AT_ONCE)
    assert feasibility.cost_of(roomy, "sep_k3", roomy.shape) < feasibility.FILLED * 0.2


def test_where_the_leading_operator_leaves_no_room_another_one_may(tmp_path):
    choices = ("space.width=auto", 'space.choices=["sep_k3", "mb_k3_e3"]', "space.depth=0.5")
    job = quick_job(tmp_path / "measured", *choices, budget_ms=0.1, device=AT_ONCE)
    narrowest = Shape(feasibility.WIDTHS[0], 0.5)
    budget_ms = feasibility.cost_of(job, "mb_k3_e3", narrowest) / 0.9
    filled = quick_job(tmp_path / "run", *choices, budget_ms=budget_ms, device=AT_ONCE)
    assert feasibility.cost_of(filled, "sep_k3", filled.shape) <= feasibility.FILLED * budget_ms
    assert feasibility.best_family(filled, ["sep_k3", "mb_k3_e3"], feasibility.FULL)[0] == "mb_k3_e3"
