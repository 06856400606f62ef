"""Latency tables and models: what is known is priced, what is not is an error."""

import numpy as np
import pytest

import hurricane as hn
from hurricane.errors import LatencyError
from hurricane.latency import Samples
from hurricane.latency_model import LatencyModel
from tests.test_space import small_space


def table_of(space, seed=0, fixed_ms=0.5):
    rng = np.random.default_rng(seed)
    return hn.LatencyTable.from_costs(space, [rng.uniform(0.1, 1, n) for n in space.counts], fixed_ms)


def test_a_prediction_is_the_sum_of_the_costs():
    space = small_space()
    table = hn.LatencyTable.from_costs(space, [[1, 2, 3], [10, 20, 30], [100, 200, 300, 400]], fixed_ms=0.5)
    assert table.predict(space, [[0, 1, 3], [2, 0, 0]]).tolist() == [421.5, 113.5]


def test_a_narrowing_is_priced_by_layer_and_name():
    space = small_space()
    table = hn.LatencyTable.from_costs(space, [[1, 2, 3], [10, 20, 30], [100, 200, 300, 400]])
    narrow = space.narrow([["choice_k3"], ["mb_k3_e3", "sep_k3"], ["skip"]])
    assert table.predict(narrow, [[0, 0, 0], [0, 1, 0]]).tolist() == [423, 413]


def test_costs_of_other_layers_are_no_prices():
    space = small_space()
    table = hn.LatencyTable.from_costs(space, [[1, 2, 3], [10, 20, 30], [100, 200, 300, 400]])
    shorter = hn.SearchSpace(space.layers[:1], 8, 2, space.stem_channels, space.stem_stride, 8)
    with pytest.raises(LatencyError, match="costs of 3 layers, not of 1"):
        table.predict(shorter, [[0]])


@pytest.mark.parametrize("cost", [-1.0, float("nan"), float("inf")])
def test_a_cost_that_is_no_cost_is_refused(cost):
    with pytest.raises(LatencyError, match="mb_k3_e3 at layer 0"):
        hn.LatencyTable.from_costs(small_space(), [[1, cost, 3], [1, 2, 3], [1, 2, 3, 4]])


@pytest.mark.parametrize(
    "costs",
    [
        [[1, 2, 3]],
        [[1, 2], [1, 2, 3], [1, 2, 3, 4]],
        [[1, None, 3], [1, 2, 3], [1, 2, 3, 4]],
        [1, 2, 3],
        None,
    ],
)
def test_missing_costs_are_refused(costs):
    with pytest.raises(LatencyError):
        hn.LatencyTable.from_costs(small_space(), costs)


def test_an_operator_that_was_never_timed_is_named_and_never_free():
    space = small_space()
    timed = {spec: Samples((1.0,)) for spec in space.distinct_specs() if spec.kind != "choice_k3"}
    table = hn.LatencyTable(rows=timed)
    with pytest.raises(LatencyError, match=r"choice_k3 8->8 stride 1 at 8 px was never timed"):
        table.predict(space, [[0, 0, 0]])
    known = space.narrow([["sep_k3"], ["sep_k3"], ["skip"]])
    assert table.predict(known, [[0, 0, 0]])[0] == 6.0


def test_an_operator_that_the_device_cannot_run_is_refused_with_the_reason():
    space = small_space(("sep_k3",))
    spec = space.layers[0].spec("sep_k3")
    rows = {s: Samples((1.0,)) for s in space.distinct_specs() if s != spec}
    with pytest.raises(LatencyError, match=r"cannot run.*no depthwise"):
        hn.LatencyTable(rows=rows, unsupported={spec: "no depthwise"}).costs(space)


def test_a_saved_table_is_read_back_whole(tmp_path):
    space = small_space()
    rows = {spec: Samples((1.0, 2.0, 1 / 3), "noisy", 4) for spec in space.distinct_specs()}
    table = hn.LatencyTable(rows=rows, provenance={"device": "somewhere"}, unsupported={})
    table.save(tmp_path / "table.json")
    assert hn.LatencyTable.load(tmp_path / "table.json") == table


GIVEN = '{"format": 1, "provenance": {}, "rows": [], "unsupported": [], '


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": 1}',
        '{"format": 99, "rows": []}',
        GIVEN + '"given": [{"skip": -1}], "given_fixed_ms": 0}',
        GIVEN + '"given": [{"skip": "x"}], "given_fixed_ms": 0}',
        GIVEN + '"given": [1], "given_fixed_ms": 0}',
        GIVEN + '"given": null, "given_fixed_ms": NaN}',
    ],
)
def test_a_damaged_table_is_an_error_that_names_the_file(tmp_path, text):
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(LatencyError, match=r"table\.json"):
        hn.LatencyTable.load(path)


def test_a_profiled_table_that_is_read_back_predicts_the_same_to_the_last_digit(tmp_path):
    space = small_space()
    table = hn.profile(hn.open_device("simulated:cpu"), space)
    table.save(tmp_path / "table.json")
    assert hn.LatencyTable.load(tmp_path / "table.json") == table


def test_a_fit_recovers_factor_and_offset():
    space = small_space()
    table = table_of(space)
    archs = space.random(12, np.random.default_rng(1))
    model = hn.fit_latency(space, archs, 1.15 * table.predict(space, archs) + 0.3, prior=table)
    fresh = space.random(50, np.random.default_rng(2))
    expected = 1.15 * table.predict(space, fresh) + 0.3
    assert np.abs(model.predict(space, fresh) / expected - 1).max() < 0.01


def test_a_fit_is_not_led_astray_by_one_slow_spell():
    space = small_space()
    table = table_of(space)
    archs = space.random(12, np.random.default_rng(1))
    measured = 1.1 * table.predict(space, archs)
    measured[3] *= 4
    model = hn.fit_latency(space, archs, measured, prior=table)
    fresh = space.random(50, np.random.default_rng(2))
    error = np.abs(model.predict(space, fresh) / (1.1 * table.predict(space, fresh)) - 1)
    assert np.median(error) < 0.03


def test_without_a_table_costs_are_learned_from_whole_networks():
    space = small_space()
    table = table_of(space)
    archs = space.random(200, np.random.default_rng(1))
    model = hn.fit_latency(space, archs, table.predict(space, archs))
    fresh = space.random(50, np.random.default_rng(2))
    assert np.abs(model.predict(space, fresh) / table.predict(space, fresh) - 1).max() < 0.01
    assert all((layer >= 0).all() for layer in model.costs(space).layers)


def test_an_interval_holds_most_of_what_is_measured():
    space = small_space()
    table, rng = table_of(space), np.random.default_rng(3)
    archs = space.random(40, rng)
    measured = table.predict(space, archs) * rng.normal(1, 0.05, 40)
    model = hn.fit_latency(space, archs, measured, prior=table)
    fresh = space.random(200, rng)
    truth = table.predict(space, fresh) * rng.normal(1, 0.05, 200)
    low, high = model.interval(space, fresh).T
    assert 0.8 < np.mean((low <= truth) & (truth <= high)) <= 1.0


def test_a_model_prices_narrowings_and_refuses_what_it_never_saw():
    space = small_space()
    table = table_of(space)
    archs = space.random(10, np.random.default_rng(1))
    narrow = space.narrow([["sep_k3"], ["sep_k3"], ["skip", "sep_k3"]])
    model = hn.fit_latency(narrow, narrow.random(10, np.random.default_rng(1)), np.ones(10), prior=table)
    assert model.predict(narrow, [[0, 0, 0]]).shape == (1,)
    with pytest.raises(LatencyError, match="knows no"):
        model.predict(space, archs)


def test_a_model_survives_being_written_and_read():
    space = small_space()
    archs = space.random(10, np.random.default_rng(1))
    model = hn.fit_latency(space, archs, table_of(space).predict(space, archs))
    again = LatencyModel.from_json(model.to_json())
    assert np.allclose(again.predict(space, archs), model.predict(space, archs))
    assert again.measured_ms == model.measured_ms


@pytest.mark.parametrize("measured", [[1.0], [1.0, 0.0], [1.0, float("nan")]])
def test_measurements_that_are_none_are_refused(measured):
    with pytest.raises(LatencyError):
        hn.fit_latency(small_space(), [[0, 0, 0], [1, 1, 1]], measured)
