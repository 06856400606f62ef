"""Settings: units are asked for, unknown names are told with the nearest known one."""

import pytest

from hurricane import config
from hurricane.errors import ConfigError


@pytest.fixture
def asked():
    return config.checked({"device": "simulated:cpu", "max_ms": 3.0})


@pytest.mark.parametrize(
    ("text", "ms"), [("3ms", 3.0), ("250 us", 0.25), ("250µs", 0.25), ("1.5s", 1500.0), ("900ns", 0.0009)]
)
def test_a_budget_with_a_unit_is_understood(text, ms):
    assert config.parse_budget(text) == pytest.approx(ms)


@pytest.mark.parametrize(
    "text", ["3", "ms", "-3ms", "0ms", "nanms", "nan ms", "inf ms", "3 parsecs", "2h", "7200s", "", "1.2.3ms"]
)
def test_a_budget_that_is_none_is_a_sentence(text):
    with pytest.raises(ConfigError):
        config.parse_budget(text)


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800), ("90s", 90), ("1.5h", 5400)])
def test_a_time_limit_with_a_unit_is_understood(text, seconds):
    assert config.parse_time(text) == seconds


def test_settings_change_one_value_and_keep_the_rest(asked):
    changed = config.with_settings(asked, ["search.window=0.8", "space.width=0.5", "data.path=my pictures"])
    assert changed.search.window == 0.8
    assert changed.space.width == 0.5
    assert changed.data.path == "my pictures"
    assert changed.supernet == asked.supernet


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("serch.window=1", "did you mean 'search'"),
        ("search.windw=1", "did you mean 'window'"),
        ("search.window", "section.key=value"),
        ("search.window=2", "less than 1"),
        ("search.window=wide", "search.window cannot be 'wide'"),
        ("profile.rounds=0", "greater than or equal to 1"),
        ("run.trainer=mps", "run.trainer cannot be 'mps'"),
        ("run.trainer=cuda:", "auto.cpu.cuda"),
        ("run.threads=0", "run.threads cannot be 0"),
        ("run.seed=5000000000", "less than 4294967296"),
        ("supernet.epochs=0", "supernet.epochs cannot be 0"),
        ("retrain.learning_rate=0", "greater than 0"),
        ("supernet.stages=3", "supernet.stages"),
    ],
)
def test_a_setting_that_cannot_be_is_named(asked, setting, words):
    with pytest.raises(ConfigError, match=words):
        config.with_settings(asked, [setting])


def test_every_value_is_written_out_and_read_back(asked, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml(asked))
    assert config.load(path) == asked
    for section, values in asked.model_dump(mode="json").items():
        if isinstance(values, dict):
            assert all(f"{key} = " in path.read_text() for key in values), section


def test_a_damaged_file_is_told(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("device = ")
    with pytest.raises(ConfigError, match="damaged"):
        config.load(path)
