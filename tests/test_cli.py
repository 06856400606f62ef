"""The command line: every mistake is one sentence and status 2, and nothing half-written stays."""

import importlib.util
import io
import json
import os
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from PIL import Image

from hurricane.cli import main

DEVICE = "simulated:cpu"


def call(monkeypatch, capsys, *words):
    """(status, stdout, stderr) of a command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["hurricane", *map(str, words)])
    try:
        main()
        status = 0
    except SystemExit as exit_:
        status = exit_.code or 0
    output = capsys.readouterr()
    return status, output.out, output.err


@pytest.fixture
def cli(monkeypatch, capsys):
    return lambda *words: call(monkeypatch, capsys, *words)


def picture(path, size=16, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def folder_of(root, counts):
    for name, count in counts.items():
        for number in range(count):
            picture(root / name / f"{number}.png", seed=number)
    return root


def assert_sentence(status, err, *words):
    assert status == 2
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("hurricane: ")]
    assert len(lines) == 1, err
    for word in words:
        assert word in lines[0], lines[0]


def run_words(out, *words, device=DEVICE, budget="1ms"):
    return ("run", *words, "--device", device, "--max-latency", budget, "--out", out, "--quiet")


def test_help_is_quick_and_without_torch():
    code = "import sys; sys.argv=['hurricane','--help']\nfrom hurricane.cli import main\ntry: main()\n"
    code += (
        "except SystemExit: pass\nassert 'torch' not in sys.modules and 'onnxruntime' not in sys.modules\n"
    )
    code += "assert 'pyarrow' not in sys.modules and 'sklearn' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in (
        "run",
        "profile",
        "specialize",
        "train",
        "search",
        "retrain",
        "export",
        "verify",
        "report",
    ):
        assert command in done.stdout
    for command in ("status", "devices", "bench", "predict"):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("onnxruntim:cpu", "did you mean 'onnxruntime'"),
        ("onnxruntime:gpu", "no unit 'gpu'"),
        ("onnxruntime:cpu?thread=1", "did you mean 'threads'"),
        ("onnxruntime:cpu?threads=0", "threads"),
        ("onnxruntime:cpu?threads=two", "threads"),
        ("onnxruntime:cpu?precision=fp8", "fp8"),
        ("onnxruntime:cpu?threads", "key=value"),
    ],
)
def test_a_device_that_is_none_is_a_sentence(cli, tmp_path, device, words):
    status, _, err = cli(*run_words(tmp_path / "run", device=device))
    assert_sentence(status, err, words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("budget", ["3", "-3ms", "0ms", "nan ms", "2h", "5000s", "fast", "0.00001us"])
def test_a_budget_that_is_none_is_a_sentence(cli, tmp_path, budget):
    status, _, err = cli(*run_words(tmp_path / "run", budget=budget))
    assert_sentence(status, err)
    assert not (tmp_path / "run").exists()


def test_without_a_budget_the_cost_of_the_space_is_told(cli, tmp_path):
    status, _, err = cli("run", "--device", DEVICE, "--out", tmp_path / "run", "--quiet")
    assert_sentence(status, err, "fastest", "slowest", "narrower ones from", "--max-latency")
    assert not (tmp_path / "run").exists()


def broken_parquet(path):
    path.write_bytes(b"PAR1 and then nothing")
    return path


def parquet_with(path, **columns):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def png():
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "png")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: root / "nowhere", "there is no"),
        (lambda root: root, "holds no pictures"),
        (lambda root: folder_of(root, {".": 6}), "no class folders"),
        (lambda root: folder_of(root, {"cat": 8}), "one class only"),
        (lambda root: folder_of(root, {"cat": 8, "dog": 2}), "'dog'"),
        (lambda root: broken_parquet(root / "a.parquet"), "no whole parquet"),
        (lambda root: parquet_with(root / "a.parquet", image=[png()] * 12), "no column of labels"),
        (lambda root: parquet_with(root / "a.parquet", label=[0, 1] * 6), "no column of pictures"),
        (
            lambda root: parquet_with(root / "a.parquet", image=[png()] * 12, label=[0, None] * 6),
            "without a label",
        ),
    ],
)
def test_pictures_that_cannot_be_learned_from_are_a_sentence(cli, tmp_path, make, words):
    root = tmp_path / "pictures"
    root.mkdir()
    status, _, err = cli(*run_words(tmp_path / "run", make(root)))
    assert_sentence(status, err, words)
    assert not (tmp_path / "run").exists()


def test_more_than_one_broken_picture_in_a_hundred_is_a_sentence(cli, tmp_path):
    root = folder_of(tmp_path / "pictures", {"cat": 10, "dog": 10})
    (root / "cat" / "3.png").write_bytes(b"no picture")
    status, _, err = cli(*run_words(tmp_path / "run", root))
    assert_sentence(status, err, "1 of 20 pictures", "3.png")
    assert not (tmp_path / "run").exists()


def test_hidden_files_of_the_user_survive_a_run_that_cannot_be(cli, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".keep").write_text("mine")
    status, _, err = cli(*run_words(tmp_path / "run", budget="1us"))
    assert_sentence(status, err, "the cheapest costs")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".keep"]


def test_an_impossible_budget_ends_with_the_cheapest(cli, tmp_path):
    status, _, err = cli(*run_words(tmp_path / "run", budget="1us"))
    assert_sentence(status, err, "the cheapest costs", "raise")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ('space.choices=["sep_k4"]', "sep_k4"),
        ("search.windw=0.5", "windw"),
        ("space.image_size=4", "out of range"),
        ("space.preset=huge", "no preset 'huge'"),
    ],
)
def test_a_setting_that_cannot_be_is_a_sentence(cli, tmp_path, setting, words):
    status, _, err = cli(*run_words(tmp_path / "run"), "--set", setting)
    assert_sentence(status, err, words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "command", ["status", "profile", "specialize", "train", "search", "retrain", "export", "verify", "report"]
)
def test_a_step_on_what_is_no_run_is_a_sentence(cli, tmp_path, command):
    status, _, err = cli(command, tmp_path)
    assert_sentence(status, err, "is no run")
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_a_newer_format_is_a_sentence(cli, tmp_path):
    (tmp_path / "run.json").write_text('{"format": 99, "decisions": {}}')
    status, _, err = cli("status", tmp_path)
    assert_sentence(status, err, "newer Hurricane")


def test_a_damaged_run_file_is_a_sentence(cli, tmp_path):
    (tmp_path / "run.json").write_text("{")
    status, _, err = cli("status", tmp_path)
    assert_sentence(status, err, "run.json")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_a_sentence(cli, tmp_path):
    tmp_path.chmod(0o500)
    status, _, err = cli(*run_words(tmp_path / "run"))
    assert_sentence(status, err, "cannot be written")


def test_a_folder_below_a_file_is_a_sentence(cli, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = cli(*run_words(tmp_path / "file" / "run"))
    assert_sentence(status, err, "cannot be written")


def test_a_folder_with_other_things_is_a_sentence(cli, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    status, _, err = cli(*run_words(tmp_path))
    assert_sentence(status, err, "holds other files")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("content", [None, b"no model"])
@pytest.mark.parametrize("device", ["onnxruntime:cpu", "simulated:cpu"])
def test_bench_on_what_is_no_model_is_a_sentence_with_its_name(cli, tmp_path, content, device):
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    status, _, err = cli("bench", path, "--device", device)
    assert_sentence(status, err, str(path))
    assert f"{path}: {path}" not in err


@pytest.mark.parametrize(
    "device",
    [
        DEVICE,
        "onnxruntime:cpu?precision=int8",
        pytest.param(
            "openvino:cpu",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("openvino") is None, reason="needs hurricane-nas[openvino]"
            ),
        ),
    ],
)
def test_bench_tells_latency_and_facts(cli, tmp_path, device):
    import hurricane as hn

    space = hn.preset("tiny", image_size=8, classes=3, width=0.25)
    hn.export_architecture(space, [0] * len(space.layers), tmp_path / "model.onnx")
    status, out, _ = cli("bench", tmp_path / "model.onnx", "--device", device, "--json")
    result = json.loads(out)
    assert status == 0
    assert 0 < result["p10_ms"] <= result["median_ms"] <= result["p90_ms"]
    assert result["facts"]["runtime"]


def test_devices_lists_what_is_here(cli):
    status, out, _ = cli("devices", "--json")
    found = {row["name"].partition("?")[0]: row["available"] for row in json.loads(out)}
    assert status == 0
    assert found["onnxruntime:cpu"]
    assert found["simulated:cpu"]


def test_a_dry_run_tells_the_steps_and_writes_nothing(cli, tmp_path):
    status, out, _ = cli(*run_words(tmp_path / "run"), "--dry-run", "--json")
    assert status == 0
    assert {row["state"] for row in json.loads(out)} == {"missing"}
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_without_a_search_until_one_is_asked_for(cli, tmp_path):
    methods = []
    for words in (["--no-search"], [], ["--search"]):
        status, _, err = cli(*run_words(tmp_path / "run", "--until", "profile", *words))
        assert status == 0, err
        settings = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
        methods.append(settings["search"]["method"])
    assert methods == ["none", "none", "evolution"]


def test_without_a_command_the_help_is_shown(cli):
    status, out, err = cli()
    assert (status, err) == (0, "")
    assert "Usage: hurricane" in out


def test_starting_weights_that_are_none_are_told_at_once(cli, tmp_path):
    (tmp_path / "w.safetensors").write_text("none")
    status, _, err = cli(*run_words(tmp_path / "run", "--init", tmp_path / "w.safetensors"))
    assert_sentence(status, err, "cannot be read as safetensors")
    assert not (tmp_path / "run").exists()


def test_an_unknown_option_is_a_sentence(cli):
    status, _, err = cli("run", "--fast")
    assert_sentence(status, err, "--fast")


def test_an_unknown_step_to_stop_at_is_a_sentence(cli, tmp_path):
    status, _, err = cli(*run_words(tmp_path / "run"), "--until", "lunch")
    assert_sentence(status, err, "lunch", "retrain")


def test_a_step_without_the_one_before_it_is_a_sentence(cli, tmp_path):
    status, _, _ = cli(
        *run_words(tmp_path / "run"),
        "--until",
        "profile",
        "--set",
        "space.width=0.25",
        "--set",
        'space.choices=["sep_k3", "mb_k3_e3"]',
    )
    assert status == 0
    status, _, err = cli("retrain", tmp_path / "run")
    assert_sentence(status, err, "hurricane specialize")


def test_interrupting_keeps_what_is_done_and_says_how_to_go_on(cli, tmp_path, monkeypatch):
    from hurricane import pipeline

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run", interrupted)
    status, _, err = cli(*run_words(tmp_path / "run"))
    assert status == 130
    assert "same command goes on" in err
    assert (tmp_path / "run" / "run.json").is_file()


def test_a_picture_that_is_none_is_a_sentence(cli, tmp_path):
    status, _, err = cli("predict", tmp_path, tmp_path / "a.png")
    assert_sentence(status, err, "no exported model")
