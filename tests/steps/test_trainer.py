"""Where a run trains: its trainer changes nothing else, and one that is not here stops only what trains."""

import shutil

import pytest

from hurricane import config as config_file
from hurricane import pipeline
from hurricane.errors import ConfigError
from hurricane.steps import plan, retrain, stage_search, supernet
from hurricane.steps.job import Job, SilentView
from hurricane.steps.lengths import Lengths
from hurricane.steps.plan import Speed
from hurricane.train.place import place_of
from tests.steps.quick import DEVICE, quick_job, state_of


def test_another_trainer_redoes_nothing(finished, monkeypatch):
    job, _ = finished
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("hurricane.train.place.unusable", lambda place: "")
    config = config_file.with_settings(job.config, ["run.trainer=cuda"])
    moved = Job(job.run, config, job.view)
    assert moved.place == "cuda:0"
    assert set(state_of(moved).values()) == {"done"}


@pytest.fixture
def on_meta(finished, monkeypatch):
    """The finished run at a place where tensors have no values: what is left elsewhere, or read, is an error."""
    job = Job(finished[0].run, finished[0].config)
    job.__dict__["place"] = "meta"
    lengths, speed = Lengths(1, 1, 1, 8, 4), Speed(1000.0, 3000.0, "fp32", "meta")
    monkeypatch.setattr(plan, "prepare", lambda *_: (lengths, speed))
    return job


def test_the_supernet_is_trained_on_the_place_of_the_run(on_meta, monkeypatch):
    recipes = []
    monkeypatch.setattr(supernet, "train", lambda *given, **_: recipes.append(given[3]))
    stage = supernet.last_stage(on_meta)
    supernet._train_stage(on_meta, supernet.load(on_meta), stage, 1, "fp32", "key")
    assert [recipe.place for recipe in recipes] == ["meta"]


def test_candidates_are_scored_on_the_place_of_the_run(on_meta):
    scorer = stage_search.scorer_of(on_meta, supernet.load(on_meta), on_meta.small_space, "fp32")
    assert {place_of(model) for model in scorer._models} == {"meta"}


def test_the_winner_is_trained_and_recalibrated_on_the_place_of_the_run(on_meta, monkeypatch):
    places = []
    monkeypatch.setattr(retrain, "train", lambda *given, **_: places.append(given[3].place))
    monkeypatch.setattr(retrain, "recalibrate", lambda network, *_: places.append(place_of(network)))
    with pytest.raises(NotImplementedError, match="no data"):  # nothing comes back from there
        retrain.perform(on_meta)
    assert places == ["meta", "meta"]


def test_what_a_run_was_trained_on_is_kept_and_reported(finished):
    job, _ = finished
    assert job.run.record("retrain")["trainer"] == job.run.record("supernet")["trainer"]
    assert job.run.decision("plan")["speed"]["place"] == job.place
    assert f"<dt>trained on</dt><dd>{job.run.record('retrain')['trainer']}" in (
        job.run.path("report.html").read_text(encoding="utf-8")
    )


def test_a_gpu_that_is_not_here_is_told_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    folder = tmp_path / "run"
    with pytest.raises(ConfigError, match="no CUDA GPU"):
        quick_job(folder, "run.trainer=cuda")
    assert not folder.exists()
    base = config_file.checked({"device": DEVICE, "max_ms": 0.055})
    with pytest.raises(ConfigError, match="is cuda:1, but torch sees no"):
        pipeline.dry_run(folder, config_file.with_settings(base, ["run.trainer=cuda:1"]))


def test_a_gpu_that_is_not_here_stops_only_what_trains(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    job, _ = finished
    folder = tmp_path / "run"
    shutil.copytree(job.run.folder, folder)
    asked = pipeline.reopen(folder, ["run.trainer=cuda"], SilentView())
    assert {state.state for state in pipeline.dry_run(folder, asked.config)} == {"done"}
    for command in ("profile", "export", "verify", "report"):
        assert pipeline.perform(asked, command, force=True)
    assert not pipeline.perform(asked, "search")
    (folder / "report.html").unlink()
    assert pipeline.run(pipeline.reopen(folder, [], SilentView())) == 0
    assert (folder / "report.html").is_file()


@pytest.mark.parametrize("command", pipeline.TRAINING)
def test_a_gpu_that_is_not_here_is_told_before_a_step_that_needs_it(finished, tmp_path, monkeypatch, command):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    shutil.copytree(finished[0].run.folder, tmp_path / "run")
    job = pipeline.reopen(tmp_path / "run", ["run.trainer=cuda"], SilentView())
    job.run.path(pipeline.step(command).NAME, "record.json").unlink()
    # Neither this step nor one before it is begun.
    monkeypatch.setattr(pipeline.step(command), "perform", None)
    monkeypatch.setattr(pipeline.profile, "perform", None)
    with pytest.raises(ConfigError, match="torch sees no CUDA GPU"):
        pipeline.dry_run(job.run.folder, job.config)
    with pytest.raises(ConfigError, match="torch sees no CUDA GPU"):
        pipeline.perform(job, command)
    # What comes before it needs no GPU; a profile that is to be made again is not made in vain.
    earlier = pipeline.COMMANDS[pipeline.COMMANDS.index(command) - 1]
    pipeline.run(job, until=earlier)
    again = config_file.with_settings(job.config, ["profile.rounds=4"])
    with pytest.raises(ConfigError, match="torch sees no CUDA GPU"):
        pipeline.run(Job(job.run, again), until=command)
