"""What the README shows works as shown."""

import re
from pathlib import Path

import numpy as np

from hurricane import cli

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    assert len(code.strip().splitlines()) <= 12
    monkeypatch.chdir(tmp_path)
    names = {"my_score": lambda archs: -np.abs(archs - 2).sum(axis=1).astype(float)}
    # On the simulated device, so that it takes a moment and no quiet machine; its networks are slower.
    code = code.replace("onnxruntime:cpu?threads=1", "simulated:cpu").replace("max_ms=0.2", "max_ms=0.4")
    exec(code.replace("evaluations=500", "evaluations=40"), names)
    assert (tmp_path / "network.onnx").stat().st_size > 0
    assert names["result"].best.cost_ms <= 0.4
    assert all(time > 0 for time in names["times"])


def test_every_command_and_page_that_is_named_exists():
    commands = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    for command in re.findall(r"^(?:\.venv/bin/)?hurricane (\w+)", README, re.MULTILINE):
        assert command in commands
    for page in re.findall(r"\]\(([\w/.-]+)\)", README):
        assert (Path(__file__).parents[1] / page).exists(), page
