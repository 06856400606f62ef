"""The hardware-aware space: what is kept depends on the device and the budget."""

import numpy as np
import pytest

import hurricane as hn
from hurricane import ops
from hurricane.latency import Samples
from hurricane.ops import OpSpec
from hurricane.specialization import capacities, judge


def costs_of(space, price):
    return hn.LatencyTable.from_costs(
        space, [[price(layer.spec(c)) for c in layer.choices] for layer in space.layers]
    )


def by_macs(spec):
    return 0.01 + ops.graph(spec).macs / 1e6


def hates_large_kernels(spec):
    return by_macs(spec) * (20 if "_k7" in spec.kind or "_k5" in spec.kind else 1)


@pytest.fixture(scope="module")
def space():
    return hn.preset("tiny", image_size=32, classes=10)


def test_as_many_are_kept_as_asked_at_each_layer(space):
    small = hn.specialize(space, costs_of(space, by_macs), keep=3)
    assert all(len(layer.choices) == 3 for layer in small.layers)


def test_devices_that_differ_get_different_spaces(space):
    ours = hn.specialize(space, costs_of(space, by_macs), max_ms=5.0)
    theirs = hn.specialize(space, costs_of(space, hates_large_kernels), max_ms=5.0)
    assert ours != theirs
    assert not any("k7" in choice for layer in theirs.layers for choice in layer.choices)


@pytest.mark.parametrize("budget", [1.5, 3.0, 5.0, 8.0])
def test_a_budget_lies_in_the_middle_of_the_narrowed_space(space, budget):
    table = costs_of(space, by_macs)
    small = hn.specialize(space, table, max_ms=budget)
    costs = table.predict(small, small.random(500, np.random.default_rng(0)))
    assert costs.min() < budget
    assert 0.5 * budget < np.median(costs) <= 1.02 * budget


def test_a_budget_nobody_meets_is_an_error_with_the_cheapest(space):
    table = costs_of(space, by_macs)
    with pytest.raises(hn.InfeasibleBudget) as caught:
        hn.specialize(space, table, max_ms=0.01)
    assert caught.value.cheapest_ms > 0.01


def test_twins_are_dropped_with_their_name(space):
    judged = judge(space, costs_of(space, by_macs))
    twin = next(j for j in judged.layers[1] if j.choice == "mb_k3_e1")
    assert not twin.kept
    assert "the same network as sep_k3" in twin.reason


def test_what_the_device_cannot_run_is_dropped_with_the_reason(space):
    rows = {spec: Samples((by_macs(spec),)) for spec in space.distinct_specs()}
    refused = {spec: "no shuffle here" for spec in rows if spec.kind.startswith("choice")}
    table = hn.LatencyTable(
        rows={spec: s for spec, s in rows.items() if spec not in refused}, unsupported=refused
    )
    judged = judge(space, table, keep=4)
    dropped = next(j for j in judged.layers[0] if j.choice == "choice_k3")
    assert "no shuffle here" in dropped.reason
    assert all("choice" not in choice for layer in judged.space.layers for choice in layer.choices)


def test_every_choice_gets_a_judgement_and_the_efficient_one_is_kept(space):
    judged = judge(space, costs_of(space, by_macs), max_ms=4.0)
    for layer, judgements, efficient in zip(
        judged.space.layers, judged.layers, judged.efficient, strict=True
    ):
        assert len(judgements) == 32
        assert {j.choice for j in judgements if j.kept} == set(layer.choices)
        assert efficient in layer.choices


def test_bends_count_beside_macs_and_parameters_unless_they_are_left_out():
    dear, cheap = ([ops.graph(OpSpec(kind, 16, 16, 1, 8))] for kind in ("mb_k3_e6", "sep_k3"))
    assert dear[0].bends == 2 * 6 * 16
    assert cheap[0].bends == 16
    product, bending = capacities([dear, cheap], "product"), capacities([dear, cheap], "bending")
    assert product[0] == bending[0] == 1
    assert bending[1] == pytest.approx((product[1] ** 2 / 12**0.5) ** 0.4)


def test_a_budget_that_is_no_number_is_an_error(space):
    with pytest.raises(hn.InfeasibleBudget):
        judge(space, costs_of(space, by_macs), max_ms=float("nan"))
