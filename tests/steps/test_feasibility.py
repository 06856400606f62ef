"""The shape of the skeleton is fitted to device and budget before anything else."""

import numpy as np
import pytest

from hurricane.space import Shape
from hurricane.steps import feasibility
from tests.steps.quick import quick_job

FITTED = ("space.width=auto", 'space.choices=["mb_k3_e3"]')
AT_ONCE = "simulated:cpu?seed=0&gflops=20&gbps=10&overhead_us=0.1&jitter=0"


def test_another_depth_is_taken_only_where_it_buys_much_more_capacity(tmp_path):
    taken = []
    for budget_ms in (0.04, 0.06, 0.1, 0.2):
        job = quick_job(tmp_path / str(budget_ms), *FITTED, budget_ms=budget_ms, device=AT_ONCE)
        usual, *others = feasibility._families(job, ["mb_k3_e3"], feasibility.DEPTHS)
        gains = feasibility._capacities(job, [usual, *others]) / feasibility._capacities(job, [usual])
        gain, shape = max(
            zip(gains, [usual[1], *(shape for _, shape in others)], strict=True), key=lambda x: x[0]
        )
        assert job.shape == (shape if gain >= feasibility.WORTHWHILE * gains[0] else usual[1])
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


def test_the_run_is_searched_in_the_shape_that_was_decided(tmp_path):
    job = quick_job(tmp_path / "run", *FITTED, budget_ms=0.2)
    decided = job.run.decision("width")
    assert job.shape == Shape(decided["value"], decided["depth"])
    assert job.full_space == job.space_at(job.shape)


def test_a_run_from_before_depths_were_fitted_has_the_usual_one(tmp_path):
    job = quick_job(tmp_path / "run", *FITTED, budget_ms=0.2)
    old = {name: value for name, value in job.run.decision("width").items() if name != "depth"}
    job.run.decide("width", old)
    assert job.shape == Shape(old["value"], 1.0)


@pytest.mark.parametrize("depth", feasibility.DEPTHS)
def test_a_family_is_as_wide_as_its_share_of_the_budget_lets_it_be(tmp_path, depth):
    job = quick_job(tmp_path / "run", *FITTED, budget_ms=0.2)
    ((kind, shape),) = feasibility._families(job, ["mb_k3_e3"], [depth])
    costs = []
    for width in (shape.width, round(shape.width + feasibility.WIDTH_STEP, 2)):
        space = job.space_at(Shape(width, depth))
        arch = np.array([[layer.choices.index(kind) for layer in space.layers]])
        costs.append(feasibility.measured_ms(job, space, arch)[0])
    assert costs[0] <= feasibility.FILLED * 0.2
    assert shape.width == feasibility.WIDTHS[-1] or costs[1] > feasibility.FILLED * 0.2
