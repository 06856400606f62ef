"""Run folders: records are written last and whole; what is damaged is told or ignored."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hurricane import runs
from hurricane.errors import RunError
from hurricane.runs import Run


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", {"identity": {}})


def test_a_folder_that_is_no_run_is_told(tmp_path):
    with pytest.raises(RunError, match="is no run"):
        Run.open(tmp_path)


def test_a_folder_with_other_files_is_not_made_a_run(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="holds other files"):
        Run.create(tmp_path, {})
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_newer_format_is_refused(run):
    run.update(format=runs.FORMAT + 1)
    with pytest.raises(RunError, match="newer Hurricane"):
        Run.open(run.folder)


@pytest.mark.parametrize(
    "text",
    ['{"format"', "[]", '{"format": 1}', '{"format": "x"}', '{"format": 1, "decisions": {}, "identity": {}}'],
)
def test_a_damaged_run_file_is_told(run, text):
    run.path("run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json"):
        Run.open(run.folder)


def test_a_step_is_done_only_with_its_record(run):
    assert run.record("profile") is None
    run.finish("profile", "key", rows=3)
    assert run.record("profile")["rows"] == 3
    run.path("profile", "record.json").write_text('{"step": "pro')
    assert run.record("profile") is None


def test_decisions_are_kept_and_taken_back(run):
    run.decide("width", {"value": 0.5})
    assert Run.open(run.folder).decision("width") == {"value": 0.5}
    run.decide("width", None)
    assert run.decision("width") is None


def test_a_half_written_row_is_ignored_and_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "rows.jsonl"
    runs.append_row(path, {"n": 1})
    with path.open("a") as stream:
        stream.write('{"n": 2, "half')
    assert runs.read_rows(path) == [{"n": 1}]
    runs.append_row(path, {"n": 3})
    assert runs.read_rows(path) == [{"n": 1}, {"n": 3}]


def test_a_full_disk_is_a_sentence_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    runs.write_json(path, {"old": True})

    def full(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(RunError, match="disk is full"):
            runs.write_json(path, {"new": True})
    assert json.loads(path.read_text()) == {"old": True}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_file_in_place_of_a_folder_is_told(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="is a file"):
        Run.create(tmp_path / "run", {})


def test_two_processes_do_not_work_on_one_run(run):
    code = "from pathlib import Path; from hurricane.runs import Run\n"
    code += f"with Run(Path({str(run.folder)!r})).locked(): pass"
    with run.locked():
        busy = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "in use by another process" in busy.stderr
    free = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert free.returncode == 0
