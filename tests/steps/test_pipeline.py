"""The whole line on the simulated device: repeatable, resumable, and it does only what is missing."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from hurricane import config as config_file
from hurricane import pipeline
from hurricane.cli import main
from hurricane.deliver import Delivered
from hurricane.errors import ModelError, RunError
from hurricane.runs import Run
from hurricane.steps.job import Job, SilentView
from tests.steps.quick import DEVICE, QUICK, quick_job, state_of

COMMAND = [
    sys.executable,
    "-m",
    "hurricane",
    "run",
    "--device",
    DEVICE,
    "--max-latency",
    "55us",
    "--quiet",
    "--json",
]
COMMAND += [word for setting in QUICK for word in ("--set", setting)]


def test_a_run_ends_with_a_verified_model(finished):
    job, status = finished
    verdict = json.loads(job.run.path("verify", "verdict.json").read_text())
    assert status == 0
    assert verdict["within"] is True
    assert verdict["measured_ms"] <= verdict["budget_ms"] == 0.055
    assert verdict["top1"] == pytest.approx(verdict["top1_torch"], abs=0.01)
    assert len(verdict["architecture"]) == len(job.small_space.layers)
    assert job.run.path(*verdict["model"].split("/")).is_file()
    assert job.run.path("report.html").is_file()
    assert verdict["params"] > 0
    assert verdict["macs"] > 0


def test_the_example_beside_the_model_labels_a_picture(finished, tmp_path):
    job, _ = finished
    Image.fromarray(np.zeros((9, 12, 3), np.uint8)).save(tmp_path / "a.png")
    example = [sys.executable, str(job.run.path("export", "example.py")), str(tmp_path / "a.png")]
    done = subprocess.run(example, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    label = done.stdout.split(": ")[1].split(" (")[0]
    predicted = Delivered.open(job.run.folder).predict(tmp_path / "a.png")
    assert predicted["label"] == label
    assert sum(predicted["scores"].values()) == pytest.approx(1.0)


def test_the_exported_model_is_whole_and_takes_any_batch(finished):
    import onnx

    job, _ = finished
    model = onnx.load(job.run.path("export", "model.onnx"))
    onnx.checker.check_model(model, full_check=True)
    (given,), (output,) = model.graph.input, model.graph.output
    axes = given.type.tensor_type.shape.dim
    assert (given.name, output.name) == ("images", "logits")
    assert axes[0].dim_param
    assert [axis.dim_value for axis in axes[1:]] == [3, 8, 8]
    assert not any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer)
    assert json.loads(job.run.path("export", "labels.json").read_text()) == [str(i) for i in range(10)]


def test_the_report_of_a_run_tells_its_verdict(finished):
    job, _ = finished
    page = job.run.path("report.html").read_text()
    assert "Keeps the budget" in page
    assert "random (" in page


def test_every_step_is_done_and_stays_done(finished):
    job, _ = finished
    assert set(state_of(job).values()) == {"done"}
    before = {p: p.stat().st_mtime_ns for p in job.run.folder.rglob("record.json")}
    assert pipeline.run(quick_job(job.run.folder)) == 0
    assert {p: p.stat().st_mtime_ns for p in job.run.folder.rglob("record.json")} == before


@pytest.mark.parametrize(
    ("command", "name"),
    [("report", "report.html"), ("verify", "verify/verdict.json"), ("export", "export/model.onnx")],
)
def test_what_was_removed_is_missing_and_made_again(finished, command, name):
    job, _ = finished
    path = job.run.path(*name.split("/"))
    before = path.read_bytes()
    path.unlink()
    states = {state.command: state for state in pipeline.states(job)}
    assert (states[command].state, states[command].reason) == ("missing", f"{name} is gone")
    assert [state.command for state in states.values() if state.state != "done"] == [command]
    assert pipeline.perform(job, command)
    assert len(path.read_bytes()) == pytest.approx(len(before), rel=0.01)


def test_weights_that_are_damaged_are_a_sentence(finished):
    job, _ = finished
    path = job.run.path("retrain", "model.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    try:
        with pytest.raises(RunError, match=r"model\.safetensors is missing or damaged"):
            pipeline.perform(job, "export", force=True)
    finally:
        path.write_bytes(whole)


def test_rivals_that_are_damaged_are_a_sentence(finished):
    job, _ = finished
    rivals = job.run.path("rivals.json")
    rivals.write_text("[{")
    try:
        with pytest.raises(RunError, match=r"rivals\.json cannot be read"):
            pipeline.perform(job, "report")
    finally:
        rivals.unlink()


def test_verify_tells_its_verdict_as_json(finished, monkeypatch, capsys):
    job, _ = finished
    monkeypatch.setattr(sys, "argv", ["hurricane", "verify", str(job.run.folder), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == job.run.record("verify")["verdict"]


def test_nothing_is_pickled(finished):
    job, _ = finished
    assert not [p for p in job.run.folder.rglob("*") if p.suffix in (".pt", ".pth", ".pkl", ".pickle")]


def test_the_weights_of_the_winner_are_those_of_its_architecture(finished):
    job, _ = finished
    verdict = json.loads(job.run.path("verify", "verdict.json").read_text())
    tensors = load_file(job.run.path("retrain", "model.safetensors"))
    for number, name in enumerate(verdict["architecture"]):
        assert any(key.startswith(f"layers.{number}.{name}.") for key in tensors)


def test_another_budget_keeps_the_profile_and_redoes_what_depends_on_it(finished):
    job, _ = finished
    states = state_of(Job(job.run, config_file.checked({**job.config.model_dump(), "max_ms": 0.05})))
    assert states["profile"] == "done"
    assert states["specialize"] == states["train"] == states["verify"] == "stale"


def test_a_verdict_of_an_earlier_budget_is_not_passed_off_as_one_of_this(finished):
    job, _ = finished
    assert pipeline.verdict(job)["budget_ms"] == 0.055
    changed = Job(job.run, job.config.model_copy(update={"max_ms": 0.001}), SilentView())
    assert pipeline.verdict(changed) is None
    assert pipeline.exit_status(changed) == 0


def test_the_share_of_the_space_within_the_budget_is_told_in_percent(tmp_path):
    class Listening(SilentView):
        def say(self, text):
            told.append(text)

    told = []
    job = quick_job(tmp_path / "run")
    pipeline.run(Job(job.run, job.config, Listening()), until="specialize")
    share = job.run.record("space")["before"]["share"]
    assert 0 < share < 1
    full = next(text for text in told if text.startswith("full space"))
    assert full.endswith(f"{100 * share:.3g} % of them within 0.055 ms")


def test_what_is_stale_is_listed_with_what_changed_before_it_is_redone(finished, monkeypatch):
    job, _ = finished
    said: list[str] = []
    view = SilentView()
    monkeypatch.setattr(view, "say", said.append)
    changed = config_file.with_settings(job.config, ["retrain.weight_decay=0.01"])
    reasons = {state.command: state.reason for state in pipeline.states(Job(job.run, changed))}
    assert reasons["retrain"] == "retrain.weight_decay was 0.0005, is 0.01"
    pipeline.run(Job(job.run, changed, view), until="search")
    assert said == []
    monkeypatch.setattr(pipeline, "perform", lambda job, command: False)
    pipeline.run(Job(job.run, changed, view))
    listed = "stale, to be redone: retrain, export, verify, report (retrain.weight_decay was 0.0005, is 0.01)"
    assert listed in said


def test_another_recipe_redoes_only_the_retraining(finished):
    job, _ = finished
    changed = config_file.with_settings(job.config, ["retrain.weight_decay=0.01", "retrain.epochs=2"])
    states = state_of(Job(job.run, changed))
    assert [c for c, s in states.items() if s == "done"] == ["profile", "specialize", "train", "search"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"device": "simulated:cpu?seed=1"}, "other device"),
        ({"space": {"preset": "mobile"}}, "other preset"),
        ({"space": {"image_size": 16}}, "other image size"),
    ],
)
def test_a_run_of_other_settings_is_refused(finished, change, words):
    job, _ = finished
    values = job.config.model_dump()
    for name, value in change.items():
        values[name] = {**values[name], **value} if isinstance(value, dict) else value
    with pytest.raises(RunError, match=words):
        pipeline.start(job.run.folder, config_file.checked(values), SilentView(), command="test")


def test_the_same_seed_gives_the_same_architecture(finished, tmp_path):
    job, _ = finished
    # A clock chooses the precision, and beside other work may choose another one.
    precision = job.run.record("supernet")["precision"]
    again = quick_job(tmp_path / "again", f"supernet.precision={precision}")
    pipeline.run(again, until="search")
    first, second = (j.run.record("search") for j in (job, again))
    assert [row["architecture"] for row in first["finalists"]] == [
        row["architecture"] for row in second["finalists"]
    ]
    assert first["history"] == second["history"]


def test_only_architectures_within_the_budget_are_scored(finished):
    job, _ = finished
    record = job.run.record("search")
    costs = [row["cost_ms"] for row in (*record["history"], *record["random"])]
    assert 0 < max(costs) <= 0.055 * (1 - job.config.search.margin)
    architectures = [tuple(row["architecture"]) for row in record["history"]]
    assert len(set(architectures)) == len(architectures)


def test_a_file_that_misses_the_budget_makes_way_for_the_next_candidate(finished, tmp_path, monkeypatch):
    from hurricane.steps import search, verify

    job = quick_job(tmp_path / "missing")
    real, measured = verify.measure, []

    def slow_at_first(sessions, *, rounds, seconds):
        samples = real(sessions, rounds=rounds, seconds=seconds)
        measured.append(samples[0])
        if len(measured) <= verify.MOST:
            return [type(samples[0])(tuple(2 * value for value in samples[0].values_ms))]
        return samples

    monkeypatch.setattr(verify, "measure", slow_at_first)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert pipeline.run(job) == 0
    assert len(measured) == verify.MOST + 1
    gone = search.rejected(job)
    verdict = job.run.record("verify")["verdict"]
    assert len(gone) == 1
    assert gone[0]["architecture"] != verdict["architecture"]


def test_a_budget_that_is_always_missed_ends_with_status_1(tmp_path, monkeypatch):
    from hurricane.steps import verify

    job = quick_job(tmp_path / "missed", "verify.candidates=2")
    real = verify.measure

    def slow(sessions, *, rounds, seconds):
        samples = real(sessions, rounds=rounds, seconds=seconds)
        return [type(s)(tuple(3 * value for value in s.values_ms)) for s in samples]

    monkeypatch.setattr(verify, "measure", slow)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert pipeline.run(job) == 1
    assert job.run.record("verify")["verdict"]["within"] is False
    assert "MISSES" in verify.sentence(job.run.record("verify")["verdict"])


def test_an_impossible_budget_leaves_nothing_behind(tmp_path):
    from hurricane import InfeasibleBudget

    with pytest.raises(InfeasibleBudget, match="cheapest costs"):
        quick_job(tmp_path / "run", budget_ms=0.0001)
    assert not (tmp_path / "run").exists()


def test_folders_that_were_made_for_an_impossible_run_go_too(tmp_path):
    from hurricane import InfeasibleBudget

    with pytest.raises(InfeasibleBudget):
        quick_job(tmp_path / "a" / "b" / "run", budget_ms=1e-6)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_from_the_start_leaves_no_folder(tmp_path, monkeypatch):
    def full(path, text, encoding):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(RunError, match="disk is full"):
        quick_job(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_operators_that_the_device_refuses_are_left_out_and_the_run_goes_on(tmp_path):
    device = f"{DEVICE}&refuses=choice_k3"
    base = config_file.checked({"device": device, "max_ms": 0.055})
    job = pipeline.start(
        tmp_path / "run", config_file.with_settings(base, QUICK), SilentView(), command="test"
    )
    pipeline.run(job, until="specialize")
    assert all("choice_k3" not in layer.choices for layer in job.small_space.layers)
    judgement = json.loads(job.run.path("space", "judgement.json").read_text())
    reasons = [
        row["reason"] for layer in judgement["layers"] for row in layer if row["choice"] == "choice_k3"
    ]
    assert len(reasons) == len(job.small_space.layers)
    assert all("refuses choice_k3" in reason for reason in reasons)


def test_one_stage_is_the_way_of_spos(tmp_path):
    job = quick_job(tmp_path / "spos", "supernet.stages=1")
    pipeline.run(job, until="search")
    assert job.run.record("supernet")["later"] is None
    varied = np.array([row["architecture"] for row in job.run.record("search")["history"]])
    assert (np.array([len(set(column)) for column in varied.T]) > 1).sum() > len(varied.T) / 2


def test_starting_weights_of_another_run_are_taken_over(finished, tmp_path):
    job, _ = finished
    init = job.run.path("supernet", "weights.safetensors")
    again = quick_job(tmp_path / "again", f'retrain.init="{init}"')
    said = []

    class Listening(SilentView):
        def say(self, text):
            said.append(text)

    pipeline.run(Job(again.run, again.config, Listening()), until="train")
    assert any(str(init) in line and "tensors fit" in line for line in said)


def test_weights_that_do_not_fit_are_told(tmp_path):
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"other": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    job = quick_job(tmp_path / "run", f'retrain.init="{tmp_path / "other.safetensors"}"')
    with pytest.raises(ModelError, match="no weights that fit"):
        pipeline.run(job, until="train")


def test_a_full_disk_while_training_is_a_sentence(tmp_path, monkeypatch):
    from safetensors import SafetensorError

    from hurricane.train import weights

    job = quick_job(tmp_path / "run")

    def full(tensors, path, metadata=None):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(RunError, match="disk is full"):
        pipeline.run(job, until="train")
    assert job.run.record("supernet") is None
    assert not list(job.run.folder.rglob("*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [2.0, 4.0, 6.0, 8.0])
def test_a_run_that_is_killed_at_any_moment_ends_as_one_that_is_not(finished, tmp_path, seconds):
    job, _ = finished
    out = tmp_path / "killed"
    command = [*COMMAND, "--out", str(out), "--until", "search"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    killed, whole = Run.open(out).record("search"), job.run.record("search")
    assert killed["finalists"][0]["architecture"] == whole["finalists"][0]["architecture"]
