"""The parts of the supernet's training."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hurricane import config as config_file
from hurricane import pipeline
from hurricane.nn import form
from hurricane.runs import read_rows
from hurricane.search import merits
from hurricane.steps import retrain, search, stage_search, stages, supernet
from hurricane.train.weights import save_tensors
from tests.steps.quick import quick_job


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    job = quick_job(tmp_path_factory.mktemp("stages") / "run")
    pipeline.run(job, until="specialize")
    return job


def test_each_form_of_a_layer_has_one_representative(job):
    for layer, few in zip(job.small_space.layers, stages.representatives(job).layers, strict=True):
        forms = [form(layer.spec(name)) for name in few.choices]
        assert len(set(forms)) == len(forms)
        assert set(forms) == {form(layer.spec(name)) for name in layer.choices}


def test_the_first_stage_fixes_the_earlier_layers_to_what_the_warm_up_trained(job):
    first, few = stages.first(job).space, stages.representatives(job)
    later = stages.later_count(job)
    assert 0 < later < len(first.layers)
    for number, layer in enumerate(first.layers):
        if number < len(first.layers) - later:
            assert set(layer.choices) <= set(few.layers[number].choices)
            assert len(layer.choices) == 1
        else:
            assert layer.choices == job.small_space.layers[number].choices


def test_the_second_stage_fixes_the_later_layers_as_found(job):
    names = [layer.choices[-1] for layer in job.small_space.layers]
    second, later = stages.second(job, names).space, stages.later_count(job)
    assert all(
        layer.choices == (name,) for layer, name in list(zip(second.layers, names, strict=True))[-later:]
    )
    assert all(len(layer.choices) > 1 for layer in second.layers[:-later])


def test_a_stage_that_the_budget_leaves_no_path_trains_its_cheapest(job):
    poor = replace(job, config=job.config.model_copy(update={"max_ms": 1e-6}))
    model = supernet.untrained(poor)
    for arch in poor.small_space.random(50, np.random.default_rng(0)):
        names = [(name,) for name in poor.small_space.names(arch)]
        stage = stages.Stage(stages.WARM_UP, poor.small_space.narrow(names))
        drawn = supernet._paths_within(poor, stage, model)(3, np.random.default_rng(0))
        assert (drawn == arch).all()


def test_a_warm_up_comes_out_of_the_first_stage(job):
    from hurricane import pipeline
    from hurricane.runs import read_rows

    warmed = quick_job(job.run.folder, "supernet.epochs=2", "supernet.warm_up=0.5")
    pipeline.run(warmed, until="train")
    lengths = [
        len(read_rows(warmed.run.path(*name.split("/"), "curve.jsonl")))
        for name in (stages.WARM_UP, stages.STAGE1, stages.STAGE2)
    ]
    assert lengths == [1, 1, 2]


def test_starting_weights_of_one_network_reach_what_its_operators_share(tmp_path):
    choices = 'space.choices=["mb_k3_e3", "mb_k5_e3", "mb_k7_e6"]'
    job = quick_job(tmp_path / "run", choices, "supernet.share=true", budget_ms=0.2)
    pipeline.run(job, until="specialize")
    network = retrain.network_of(job, ["mb_k3_e3"] * len(job.small_space.layers))
    save_tensors(tmp_path / "one.safetensors", network.state_dict())
    model = supernet.untrained(job)
    supernet.start_from(job, model, tmp_path / "one.safetensors")
    state = model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "epochs", "share"),
    [
        ((), 20, 1.0),
        ((), 100, 0.4),
        (("retrain.inherited=0.7",), 20, 0.7),
    ],
)
def test_a_short_training_starts_from_more_of_the_supernet_than_a_long_one(job, settings, epochs, share):
    config = config_file.with_settings(job.config, list(settings))
    assert retrain.inherited_share(replace(job, config=config), epochs) == share


def begun_before(job, setting):
    """The job as a run finds it that was begun before there was a setting: its file does not name it."""
    path = job.run.path("config.toml")
    path.write_text("\n".join(line for line in path.read_text().split("\n") if not line.startswith(setting)))
    return replace(job, config=config_file.load(path))


def test_a_run_begun_before_weights_could_be_shared_goes_on_with_its_own(tmp_path):
    job = quick_job(tmp_path / "run", "supernet.share=false")
    pipeline.run(job, until="specialize")
    begun = begun_before(job, "share")
    assert not begun.config.supernet.share
    assert supernet.key(begun) == supernet.key(job)
    shared = config_file.with_settings(job.config, ["supernet.share=true"])
    assert supernet.key(replace(job, config=shared)) != supernet.key(job)


def test_a_run_begun_before_macs_counted_chooses_without_them(tmp_path):
    job = quick_job(tmp_path / "run", "search.macs=0")
    pipeline.run(job, until="search")
    begun = begun_before(job, "macs")
    assert begun.config.search.macs == 0
    assert (supernet.key(begun), search.key(begun)) == (supernet.key(job), search.key(job))
    counting = replace(job, config=config_file.with_settings(job.config, ["search.macs=1"]))
    assert search.key(counting) != search.key(job)
    record = job.run.record("search")
    assert [row["worth"] for row in record["finalists"]] == [row["score"] for row in record["finalists"]]


def test_later_layers_and_the_finalist_are_chosen_by_macs_where_these_count(tmp_path):
    job = quick_job(tmp_path / "run", "search.macs=100")
    pipeline.run(job, until="search")

    def macs_of(architectures):
        archs = np.array([job.small_space.indices(names) for names in architectures])
        return job.small_space.mixing_macs(archs)

    scored = [row["architecture"] for row in read_rows(job.run.path("supernet", "stage1", "scored.jsonl"))]
    assert macs_of([job.run.record("supernet")["later"]])[0] == macs_of(scored).max() > macs_of(scored).min()
    record = job.run.record("search")
    known = {
        tuple(row["architecture"]): row["score"] for row in read_rows(job.run.path("search", "scored.jsonl"))
    }
    for row in (*record["history"], *record["random"]):
        assert row["score"] == known[tuple(row["architecture"])]
    finalists = [row for row in record["finalists"] if row["fits"]]
    chosen = search.chosen(job)
    assert chosen["worth"] == max(row["worth"] for row in finalists)
    assert macs_of([chosen["architecture"]])[0] == macs_of([row["architecture"] for row in finalists]).max()


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_evolution_looks_for_what_scores_and_mixes_most_and_gives_back_scores(
    job, tmp_path, monkeypatch, weight
):
    monkeypatch.setattr(stage_search, "scorer_of", lambda *_: lambda archs: np.full(len(archs), 0.5))
    config = config_file.with_settings(job.config, [f"search.macs={weight}"])
    space, told = job.small_space, []
    honest = stage_search.evolve

    def watched(space, score, **more):
        def kept(archs):
            values = score(archs)
            told.extend(zip(archs, values, strict=True))
            return values

        return honest(space, kept, **more)

    monkeypatch.setattr(stage_search, "evolve", watched)
    found = stage_search.evolved(
        replace(job, config=config), None, space, job.latency_model, 12, "fp32", tmp_path, "key"
    )
    archs = np.array([arch for arch, _ in told])
    assert np.allclose([value for _, value in told], 0.5 + merits(space, archs, macs=weight))
    assert {one.score for one in found.history} == {0.5}
    assert found.best in found.history
    if weight:
        mixing = space.mixing_macs(np.array([one.indices for one in found.history]))
        assert space.mixing_macs(np.array([found.best.indices]))[0] == mixing.max() > mixing.min()


def test_only_what_is_mixed_asks_for_another_training(tmp_path, monkeypatch):
    job = quick_job(tmp_path / "run")
    pipeline.run(job, until="search")
    begun = begun_before(job, "mixed")
    asked = replace(job, config=config_file.with_settings(job.config, ["retrain.mixed=0.3"]))
    shares = [(begun, 10, 0.0), (begun, 100, 0.0), (asked, 10, 0.3), (job, 10, 0.0), (job, 100, 0.5)]
    for one, epochs, share in shares:
        assert retrain.recipe_of(one, epochs, "fp32").mixed == share
    assert retrain.key(asked) != retrain.key(job) != retrain.key(begun)
    # A run begun before there was that setting finds its network again.
    monkeypatch.setattr(retrain, "digest", lambda parts: parts)
    assert "mixed" not in retrain.key(begun)[2]
