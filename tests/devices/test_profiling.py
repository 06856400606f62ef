"""Profiles and whole networks, on the simulated device (and one small profile on the real one)."""

import importlib.util
from dataclasses import replace

import numpy as np
import onnx
import pytest

import hurricane as hn
from hurricane import ops
from hurricane.devices import measure_architectures, open_device, profiling
from hurricane.errors import ConfigError, LatencyError, ModelError, SpaceError
from hurricane.latency import LatencyTable, Samples
from hurricane.ops import OpSpec

NEEDS_OPENVINO = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs hurricane-nas[openvino]"
)
QUIET = "simulated:cpu?jitter=0"
CHOICES = ("skip", "sep_k3", "mb_k3_e1", "mb_k3_e3_se", "choice_k3", "choicex_se")


@pytest.fixture
def space():
    return hn.preset("tiny", image_size=16, classes=10, width=0.5, depth=0.5, choices=CHOICES)


class Watched:
    """A device that counts what is exported; `refusing` kinds do not load."""

    def __init__(self, inner, refusing=()):
        self.inner, self.refusing, self.exported = inner, refusing, []

    name = property(lambda self: self.inner.name)
    suffix = property(lambda self: self.inner.suffix)

    def facts(self):
        return self.inner.facts()

    def unsupported(self, spec):
        return self.inner.unsupported(spec)

    def export(self, network, calibration=None):
        self.exported.append(network.specs)
        return self.inner.export(network)

    def load(self, content):
        if any(spec.kind in self.refusing for spec in self.exported[-1]):
            raise ModelError(f"the compiler stopped at {self.exported[-1][0].kind}")
        return self.inner.load(content)


def test_a_table_prices_whole_networks_as_the_device_runs_them(space):
    device = open_device(QUIET)
    table = hn.profile(device, space)
    archs = space.random(20, np.random.default_rng(0))
    measured = np.array([samples.median_ms for samples in measure_architectures(device, space, archs)])
    left = measured - table.predict(space, archs)
    # What operators do not have: the overhead of the one call, and the normalisation.
    assert left == pytest.approx(np.full(20, left[0]), rel=1e-6)
    assert 0.005 <= left[0] < 0.01


def test_every_operator_of_the_space_is_in_the_table_and_nothing_else(space):
    table = hn.profile(open_device("simulated"), space)
    assert tuple(table.rows) == space.distinct_specs()
    assert not table.unsupported
    assert table.provenance["device"] == open_device("simulated").name
    assert table.provenance["stack"] == 4
    assert 0.004 < table.provenance["overhead_ms"] < 0.006
    assert all(row.median_ms > 0 for spec, row in table.rows.items() if ops.graph(spec).nodes)


def test_operators_of_one_graph_are_timed_once_and_share_the_figure(space):
    device = Watched(open_device("simulated"))
    table = hn.profile(device, space)
    distinct = {ops.graph(spec) for spec in space.distinct_specs() if ops.graph(spec).nodes}
    assert len(device.exported) == len(distinct) + 1  # and the almost empty model
    for layer in space.layers:
        assert table.rows[layer.spec("sep_k3")] is table.rows[layer.spec("mb_k3_e1")]


def test_what_does_nothing_costs_nothing_and_says_so(space):
    table = hn.profile(open_device("simulated"), space)
    free = [spec for spec in table.rows if not ops.graph(spec).nodes]
    assert free
    assert [table.rows[spec].median_ms for spec in free] == [0.0] * len(free)
    assert table.provenance["free"] == [str(spec) for spec in free]
    changing = [spec for spec in table.rows if spec.kind == "skip" and spec not in free]
    assert all(table.rows[spec].median_ms > 0 for spec in changing)


def test_only_what_keeps_its_shape_is_stacked():
    classes = 16  # as many as head channels: a classifier whose channels agree still cannot be chained
    layer = hn.LayerSpec(8, 16, 2, 8, ("sep_k3",))
    space = hn.SearchSpace((layer, hn.LayerSpec(16, 16, 1, 4, ("sep_k3",))), 8, classes, 8, 1, 16)
    device = Watched(open_device("simulated"))
    hn.profile(device, space, stack=3)
    copies = {specs[0].kind + str(specs[0].stride): len(specs) for specs in device.exported[1:]}
    assert copies == {"stem1": 1, "head1": 3, "classifier1": 1, "sep_k32": 1, "sep_k31": 3}


def test_a_stack_and_a_single_cost_the_same_where_nothing_disturbs(space):
    one, four = (hn.profile(open_device(QUIET), space, stack=stack) for stack in (1, 4))
    for spec, row in one.rows.items():
        assert four.rows[spec].median_ms == pytest.approx(row.median_ms, rel=1e-6, abs=1e-9)


def test_operators_timed_in_a_slow_spell_are_timed_again_and_the_bar_steps_back(space, monkeypatch):
    truth = hn.profile(open_device("simulated"), space)
    real, calls, progress, told = profiling.beside, [], [], []

    def disturbed(witness, sessions, **more):
        calls.append(len(sessions))
        factor = 1.5 if len(calls) == 1 else 1.0
        samples, beside = real(witness, sessions, **more)
        return [slowed(one, factor) for one in samples], slowed(beside, factor)

    monkeypatch.setattr(profiling, "beside", disturbed)
    table = hn.profile(
        open_device("simulated"),
        space,
        on_rows=told.append,
        progress=lambda done, total: progress.append(done),
    )
    assert {spec: row.median_ms for spec, row in table.rows.items()} == {
        spec: row.median_ms for spec, row in truth.rows.items()
    }
    groups = len(set(map(frozenset, told)))
    assert len(calls) == groups + 1
    assert set(told[groups]) == set(told[0])
    assert progress[-2] < progress[-3] == progress[-1]


def slowed(samples, factor):
    return replace(samples, values_ms=tuple(factor * value for value in samples.values_ms))


def test_a_first_group_that_does_not_load_leaves_the_others_as_they_are(space, monkeypatch):
    monkeypatch.setattr(profiling, "GROUP", 4)
    specs = [spec for spec in space.distinct_specs() if ops.graph(spec).nodes]
    first = list({ops.graph(spec): spec for spec in specs}.values())[:4]
    truth = hn.profile(open_device("simulated"), space)
    table = hn.profile(_Stubborn(open_device("simulated"), first), space)
    assert {ops.graph(spec) for spec in table.unsupported} == {ops.graph(spec) for spec in first}
    assert table.rows
    for spec, row in table.rows.items():
        assert row.median_ms == pytest.approx(truth.rows[spec].median_ms, rel=0.01)


class _Stubborn(Watched):
    """A device that does not load stacks of given operators."""

    def __init__(self, inner, refused):
        super().__init__(inner)
        self.refused = {ops.graph(spec) for spec in refused}

    def load(self, content):
        if ops.graph(self.exported[-1][0]) in self.refused:
            raise ModelError("it does not load")
        return self.inner.load(content)


def test_an_operator_that_loads_only_once_keeps_its_first_timing(space, monkeypatch):
    real, calls = profiling.beside, []
    device = _Stubborn(open_device("simulated"), [])

    def disturbed(witness, sessions, **more):
        calls.append(len(sessions))
        if len(calls) == 2:  # from now on one of the first group does not load any more
            device.refused = {ops.graph(space.layers[0].spec("choice_k3"))}
        samples, beside = real(witness, sessions, **more)
        factor = 1.5 if len(calls) == 1 else 1.0
        return [slowed(one, factor) for one in samples], slowed(beside, factor)

    monkeypatch.setattr(profiling, "GROUP", 8)
    monkeypatch.setattr(profiling, "beside", disturbed)
    table = hn.profile(device, space)
    assert len(calls) > 2
    assert space.layers[0].spec("choice_k3") in {*table.rows, *table.unsupported}


def test_the_table_is_told_at_the_usual_pace_of_a_machine_that_wanders(space, monkeypatch):
    truth = hn.profile(open_device("simulated"), space)
    real, paces, told = profiling.beside, [1.04, 1.0, 1.0, 0.97, 1.02], []

    def wandering(witness, sessions, **more):
        factor = paces.pop(0)
        samples, beside = real(witness, sessions, **more)
        return [slowed(one, factor) for one in samples], slowed(beside, factor)

    monkeypatch.setattr(profiling, "GROUP", 8)
    monkeypatch.setattr(profiling, "beside", wandering)
    table = hn.profile(open_device("simulated"), space, on_rows=told.append)
    for spec, row in table.rows.items():
        assert row.median_ms == pytest.approx(truth.rows[spec].median_ms, rel=0.01)
    assert {spec: row for rows in told for spec, row in rows.items()}.items() <= table.rows.items()


def test_rows_are_told_as_they_are_timed_and_known_ones_are_not_timed_again(space):
    told, progress = [], []
    device = Watched(open_device("simulated"))
    whole = hn.profile(
        device, space, on_rows=told.append, progress=lambda done, total: progress.append((done, total))
    )
    rows = {spec: samples for group in told for spec, samples in group.items()}
    free = {spec for spec in whole.rows if not ops.graph(spec).nodes}
    assert rows == {spec: samples for spec, samples in whole.rows.items() if spec not in free}
    assert len(told) > 1
    assert progress == sorted(progress)
    assert progress[-1] == (len(whole.rows), len(whole.rows))
    again = Watched(open_device("simulated"))
    resumed = hn.profile(again, space, known=told[0])
    assert resumed.rows == whole.rows
    assert len(again.exported) == len(device.exported) - len({ops.graph(spec) for spec in told[0]})


def test_a_known_row_serves_all_operators_of_its_graph_and_strangers_are_ignored(space):
    twin = space.layers[0].spec("mb_k3_e1")
    known = {twin: Samples((0.25, 0.25)), OpSpec("sep_k3", 3, 3, 1, 77): Samples((9.0,))}
    table = hn.profile(open_device("simulated"), space, known=known)
    assert table.rows[space.layers[0].spec("sep_k3")].median_ms == 0.25
    assert tuple(table.rows) == space.distinct_specs()


def test_an_interrupted_profile_has_told_what_it_had(space):
    told = []

    def stop(rows):
        told.append(rows)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hn.profile(open_device("simulated"), space, on_rows=stop)
    assert len(told) == 1
    assert hn.profile(open_device("simulated"), space, known=told[0]).rows


@pytest.mark.parametrize("where", ["known beforehand", "found while loading"])
def test_what_the_device_cannot_run_is_left_out_with_its_reason(space, where, tmp_path):
    if where == "known beforehand":
        device, said = open_device("simulated?refuses=choice_k3"), "refuses choice_k3"
    else:
        device, said = Watched(open_device("simulated"), refusing=("choice_k3",)), "stopped at choice_k3"
    table = hn.profile(device, space)
    assert {spec.kind for spec in table.unsupported} == {"choice_k3"}
    assert all(said in reason for reason in table.unsupported.values())
    assert set(table.rows) | set(table.unsupported) == set(space.distinct_specs())
    table.save(tmp_path / "table.json")
    with pytest.raises(LatencyError, match=said):
        LatencyTable.load(tmp_path / "table.json").predict(space, [[4] * len(space.layers)])


def test_a_twin_of_a_refused_operator_is_timed_all_the_same(space):
    table = hn.profile(open_device("simulated?refuses=sep_k3"), space)
    assert {spec.kind for spec in table.unsupported} == {"sep_k3"}
    assert any(spec.kind == "mb_k3_e1" for spec in table.rows)


def test_a_saved_profile_predicts_as_before(space, tmp_path):
    table = hn.profile(open_device("simulated"), space)
    table.save(tmp_path / "table.json")
    archs = space.random(10, np.random.default_rng(0))
    loaded = hn.LatencyTable.load(tmp_path / "table.json")
    assert loaded.predict(space, archs) == pytest.approx(table.predict(space, archs), rel=1e-3)
    assert loaded.provenance == table.provenance


def test_a_profile_of_the_same_seed_is_the_same_and_of_another_is_not(space):
    first, second, other = (hn.profile(open_device(f"simulated?seed={seed}"), space) for seed in (1, 1, 2))
    assert first.rows == second.rows
    assert first.rows != other.rows


def test_whole_networks_are_measured_in_order_with_progress(space, monkeypatch):
    monkeypatch.setattr(profiling, "NETWORKS_AT_ONCE", 2)
    device, told = open_device("simulated"), []
    archs = space.random(5, np.random.default_rng(1))
    together = measure_architectures(device, space, archs, progress=lambda *now: told.append(now))
    assert told == [(2, 5), (4, 5), (5, 5)]
    alone = [measure_architectures(device, space, arch[None])[0] for arch in archs]
    assert together == alone
    assert measure_architectures(device, space, archs[:0]) == []
    single = hn.measure_architecture(device, space, archs[0])
    assert single.median_ms == pytest.approx(together[0].median_ms, rel=0.01)


def test_an_architecture_outside_the_space_is_an_error(space):
    with pytest.raises(SpaceError):
        hn.measure_architecture(open_device("simulated"), space, [99] * len(space.layers))
    with pytest.raises(ConfigError, match="stack of 0"):
        hn.profile(open_device("simulated"), space, stack=0)


class _Strange:
    """A device whose exporter writes gates as an operator that no runtime has."""

    def __init__(self, name):
        self._inner = open_device(name)

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def export(self, network, calibration=None):
        model = onnx.load_from_string(self._inner.export(network, calibration))
        for node in model.graph.node:
            node.op_type = {"HardSigmoid": "HarderSigmoid"}.get(node.op_type, node.op_type)
        return model.SerializeToString()


@pytest.mark.parametrize(
    "name",
    [
        "onnxruntime:cpu",
        "onnxruntime:cpu?precision=int8",
        pytest.param("openvino:cpu", marks=NEEDS_OPENVINO),
        pytest.param("openvino:cpu?precision=int8", marks=NEEDS_OPENVINO),
    ],
)
def test_what_a_real_runtime_refuses_is_dropped_with_its_reason_and_the_rest_is_timed(name):
    space = hn.preset("tiny", image_size=8, classes=3, width=0.5, depth=0.5, choices=("sep_k3", "sep_k3_se"))
    table = hn.profile(_Strange(name), space, rounds=1, seconds=0.001)
    assert {spec.kind for spec in table.unsupported} == {"sep_k3_se"}
    assert all("does not have the operator HarderSigmoid" in why for why in table.unsupported.values())
    assert {"sep_k3", "stem", "head", "classifier"} <= {spec.kind for spec in table.rows}


@pytest.mark.parametrize(
    "name", ["onnxruntime:cpu?precision=int8", pytest.param("openvino:cpu", marks=NEEDS_OPENVINO)]
)
def test_int8_and_openvino_profile_a_small_space(name):
    space = hn.preset("tiny", image_size=8, classes=3, width=0.5, depth=0.5, choices=("skip", "choice_k3_se"))
    table = hn.profile(open_device(name), space, rounds=1, seconds=0.001)
    assert tuple(table.rows) == space.distinct_specs()
    assert open_device(table.provenance["device"]).facts()["precision"] == table.provenance["precision"]


def test_a_real_runtime_profiles_a_small_space():
    space = hn.preset(
        "tiny", image_size=8, classes=3, width=0.5, depth=0.5, choices=("skip", "sep_k3", "choice_k3_se")
    )
    table = hn.profile(open_device("onnxruntime:cpu?threads=1"), space, rounds=1, seconds=0.001)
    assert tuple(table.rows) == space.distinct_specs()
    assert table.predict(space, space.random(4, np.random.default_rng(0))).min() > 0
    assert table.provenance["runtime"] == "ONNX Runtime"
