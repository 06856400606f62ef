"""The plan: lengths are cut to a time limit in the order that hurts least."""

from contextlib import nullcontext
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from hurricane import config as config_file
from hurricane import pipeline
from hurricane.steps import plan
from hurricane.steps.job import Job, SilentView
from hurricane.steps.lengths import MINIMUM, STRETCH, Lengths, fitted, stretched
from hurricane.steps.plan import Speed
from hurricane.train.loop import Epoch

WANTED = Lengths(stage1=90, stage2=60, retrain=100, evaluations=200, random_evaluations=100)


def seconds(lengths):
    return (
        2.0 * (lengths.stage1 + lengths.stage2 + lengths.retrain)
        + lengths.evaluations
        + lengths.random_evaluations
    )


def test_what_fits_is_not_cut():
    assert fitted(WANTED, seconds(WANTED), seconds) == WANTED


def test_room_lengthens_trainings_but_not_without_end():
    least = seconds(WANTED)
    assert stretched(WANTED, least, seconds) == WANTED
    assert least < seconds(stretched(WANTED, 1.5 * least, seconds)) <= 1.5 * least
    assert stretched(WANTED, 100 * least, seconds).retrain == STRETCH * WANTED.retrain
    assert stretched(WANTED, 700, seconds) == fitted(WANTED, 700, seconds)


@pytest.mark.parametrize("limit", [790, 700, 600, 400, 200, 150])
def test_what_is_cut_fits(limit):
    assert seconds(fitted(WANTED, limit, seconds)) <= limit


def test_random_evaluations_go_first_then_evaluations_then_trainings():
    assert fitted(WANTED, 790, seconds).evaluations == 200
    assert fitted(WANTED, 700, seconds).stage1 == 90
    cut = fitted(WANTED, 400, seconds)
    assert cut.evaluations == 100
    assert cut.stage1 / 90 == pytest.approx(cut.retrain / 100, abs=0.05)


def test_nothing_goes_below_its_least_and_short_wishes_are_kept():
    least = fitted(WANTED, 0, seconds)
    assert {name: getattr(least, name) for name in MINIMUM} == MINIMUM
    short = Lengths(stage1=2, stage2=0, retrain=1, evaluations=8, random_evaluations=0)
    assert fitted(short, 0, seconds) == short


class Told(SilentView):
    """Keeps what is said."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


PLANNED = Lengths(stage1=40, stage2=20, retrain=40, evaluations=100, random_evaluations=40)
SPEED = Speed(train=1000.0, score=3000.0, precision="fp32")


def job_with_limit(folder, seconds, *settings, planned=PLANNED):
    base = config_file.checked({"device": "simulated:cpu", "max_ms": 0.055})
    config = config_file.with_settings(base, [f"run.time_limit_s={seconds}", *settings])
    job = pipeline.start(folder, config, Told(), command="test")
    job.run.decide("plan", {"key": plan.key(job), "lengths": asdict(planned), "wanted": asdict(PLANNED)})
    return job


def epochs(pictures_a_second):
    return [{"pictures": 1000, "seconds": 1000 / pictures_a_second}] * 5


def left_seconds(job, lengths, names, rate):
    units = plan.unit_seconds(job, rate, SPEED.score * rate / SPEED.train)
    return sum(units[name] * getattr(lengths, name) for name in names)


LEFT = ("stage2", "evaluations", "random_evaluations", "retrain")


def test_what_is_left_is_cut_where_training_turned_out_slower(tmp_path):
    job = job_with_limit(tmp_path / "run", 180)
    shorter = plan.revised(job, PLANNED, SPEED, epochs(500), 60.0, LEFT)
    assert shorter.stage1 == PLANNED.stage1
    assert MINIMUM["retrain"] < shorter.retrain < PLANNED.retrain
    assert left_seconds(job, shorter, LEFT, 500) <= 180 * 0.95 - 20 - 60
    assert "500 pictures/s instead of 1000" in job.view.said[-2]
    assert job.view.said[-1] == plan.ADVICE
    assert Lengths(**job.run.decision("plan")["lengths"]) == shorter
    # A run that was stopped here goes on with the same lengths.
    assert plan.revised(job, shorter, SPEED, epochs(100), 170.0, LEFT) == shorter


def test_on_another_trainer_lengths_stand_and_speed_is_measured_again(tmp_path, monkeypatch):
    job = job_with_limit(tmp_path / "run", 0)
    known = job.run.decision("plan")
    job.run.decide("plan", {**known, "speed": asdict(replace(SPEED, precision="bf16", place="cuda:7"))})
    here = replace(SPEED, place=job.place)
    monkeypatch.setattr(plan, "measure_speed", lambda *_: here)
    assert plan.prepare(job, None, None) == (PLANNED, here)
    assert job.view.said[-1].startswith("another trainer than before: speed ")
    monkeypatch.setattr(plan, "measure_speed", None)
    assert plan.prepare(job, None, None) == (PLANNED, here)


def test_on_another_trainer_a_time_limit_is_told_to_be_in_danger(tmp_path, monkeypatch):
    here = replace(SPEED, place="cpu")
    monkeypatch.setattr(plan, "measure_speed", lambda *_: here)
    for limit, told in ((0, False), (180, True)):
        job = job_with_limit(tmp_path / str(limit), limit, "run.trainer=cpu")
        known = job.run.decision("plan")
        job.run.decide("plan", {**known, "speed": asdict(replace(SPEED, place="cuda:7"))})
        assert plan.prepare(job, None, None) == (PLANNED, here)
        assert ("keeps its length and may break the time limit" in job.view.said[-1]) is told


@pytest.mark.parametrize(
    "left",
    [
        {},
        {"speed": None},
        {"speed": {**asdict(SPEED), "cores": 2}},
        {"speed": {"train": 1000.0, "place": "cpu"}},
        {"speed": {**asdict(SPEED), "train": None}},
        {"speed": {**asdict(SPEED), "score": 0.0}},
        {"speed": {**asdict(SPEED), "precision": None}},
    ],
)
def test_a_speed_that_cannot_be_read_is_measured_again_and_lengths_stand(tmp_path, monkeypatch, left):
    job = job_with_limit(tmp_path / "run", 0, "run.trainer=cpu")
    job.run.decide("plan", {**job.run.decision("plan"), **left})
    here = replace(SPEED, train=1234.0)
    monkeypatch.setattr(plan, "measure_speed", lambda *_: here)
    assert plan.prepare(job, None, None) == (PLANNED, here)
    assert job.view.said[-1].startswith("speed here: 1234 pictures/s")
    assert job.run.decision("plan")["speed"] == asdict(here)


def test_a_speed_from_before_there_were_trainers_is_one_of_the_cpu(tmp_path):
    job = job_with_limit(tmp_path / "run", 0, "run.trainer=cpu")
    old = {name: value for name, value in asdict(SPEED).items() if name != "place"}
    job.run.decide("plan", {**job.run.decision("plan"), "speed": old})
    assert plan.prepare(job, None, None) == (PLANNED, SPEED)


@pytest.mark.parametrize(("where", "at_once"), [("cpu", 4), ("meta", 1)])
def test_the_speed_is_measured_where_training_is_to_be(tmp_path, monkeypatch, where, at_once):
    job = job_with_limit(tmp_path / "run", 0, "supernet.precision=fp32")
    job.__dict__["place"] = where
    monkeypatch.setattr(Job, "threads", 4)
    places, clock = [], iter([0.0, 2.0])

    def trained(model, pictures, labels, recipe, draw_paths, *, on_epoch):
        places.append(recipe.place)
        on_epoch(Epoch(1, 900, 1.0, 0.5, 3.0, recipe.place))

    def scored(model, path, images, precision):
        places.extend(str(batch.device) for batch in images)

    def placed(model, place):
        places.append(place)
        return nullcontext()

    monkeypatch.setattr(plan, "train", trained)
    monkeypatch.setattr(plan, "logits_of", scored)
    monkeypatch.setattr(plan, "placed", placed)
    monkeypatch.setattr(plan, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    speed = plan.measure_speed(job, nn.Linear(1, 1), np.zeros((6, 2), int))
    assert set(places) == {where}
    # Six batches in two seconds, by each worker; a GPU has one.
    assert speed == Speed(300.0, at_once * 6 * 128 / 2.0, "fp32", where)


def test_a_gpu_that_was_passed_over_is_told_before_the_speed(tmp_path, monkeypatch):
    job = job_with_limit(tmp_path / "run", 0)
    monkeypatch.setattr(plan, "passed_over", lambda trainer: f"no kernel image, {trainer}")
    monkeypatch.setattr(plan, "measure_speed", lambda *_: replace(SPEED, place=job.place))
    job.run.decide("plan", {**job.run.decision("plan"), "speed": asdict(replace(SPEED, place="cuda:7"))})
    plan.prepare(job, None, None)
    assert job.view.said[-2] == (
        "training on the CPU: torch sees a GPU but cannot use it (no kernel image, auto)"
    )


def test_epochs_of_another_trainer_do_not_tell_the_speed_of_this_one(tmp_path):
    job = job_with_limit(tmp_path / "run", 180)
    rows = [{**row, "trainer": "cuda:7"} for row in epochs(100)]
    assert plan.revised(job, PLANNED, SPEED, rows, 20.0, LEFT).stage1 == PLANNED.stage1
    assert job.run.decision("plan")["revised"] == [LEFT[0]]
    assert not any("100 pictures/s" in text for text in job.view.said)


def test_the_trainer_is_named_where_it_is_no_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "named", lambda place: f"{place} (a GPU)")
    assert plan._told(replace(SPEED, place="cuda:0")).startswith("speed on cuda:0 (a GPU): 1000 pictures/s")
    assert plan._told(SPEED).startswith("speed here: 1000 pictures/s")


def test_nothing_changes_as_fast_as_planned_or_without_a_limit(tmp_path):
    job = job_with_limit(tmp_path / "run", 200)
    assert plan.revised(job, PLANNED, SPEED, epochs(1000), 60.0, LEFT) == PLANNED
    assert not any("instead of" in text for text in job.view.said)
    free = job_with_limit(tmp_path / "free", 0)
    assert plan.revised(free, PLANNED, SPEED, epochs(1), 1e6, LEFT) == PLANNED


def test_another_budget_is_planned_anew(tmp_path):
    job = job_with_limit(tmp_path / "run", 60)
    before = plan.key(job)
    job.run.finish("space", "made for a budget")
    assert plan.key(job) != before


def test_what_was_cut_in_a_busy_minute_is_lengthened_once_the_machine_is_free(tmp_path):
    cut = Lengths(stage1=20, stage2=10, retrain=12, evaluations=40, random_evaluations=0)
    job = job_with_limit(tmp_path / "run", 180, planned=cut)
    longer = plan.revised(job, cut, SPEED, epochs(1000), 60.0, LEFT)
    assert longer.stage1 == cut.stage1
    assert cut.retrain < longer.retrain
    assert left_seconds(job, longer, LEFT, 1000) <= 180 * 0.95 - 20 - 60
    assert "retrain 12 -> " in job.view.said[-1]
    assert Lengths(**job.run.decision("plan")["lengths"]) == longer


@pytest.mark.parametrize(
    ("method", "limit", "advised"), [("evolution", 60, True), ("evolution", 0, False), ("none", 60, False)]
)
def test_a_short_training_is_advised_to_go_without_a_search(tmp_path, monkeypatch, method, limit, advised):
    settings = (f"search.method={method}", "space.width=0.5")
    base = config_file.checked({"device": "simulated:cpu", "max_ms": 0.1})
    config = config_file.with_settings(base, [f"run.time_limit_s={limit}", *settings])
    job = pipeline.start(tmp_path / "run", config, Told(), command="test")
    monkeypatch.setattr(plan, "measure_speed", lambda *_: replace(SPEED, place=job.place))
    plan.prepare(job, SimpleNamespace(space=job.full_space), np.zeros((1, len(job.full_space.layers)), int))
    assert ("--no-search" in "\n".join(job.view.said)) is advised


def test_a_length_that_was_given_stands(tmp_path):
    job = job_with_limit(tmp_path / "run", 60, "retrain.epochs=40")
    assert plan.revised(job, PLANNED, SPEED, epochs(200), 50.0, ("retrain",)).retrain == 40
