"""What was asked: the settings of a run, checked, with every default in one place.

The sections are those of `config.toml`. "auto" stands for a value that the run works out from pictures, device
and budget; it records the outcome among its decisions (`run.json`) before it uses it.
"""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hurricane import plugins
from hurricane.errors import ConfigError
from hurricane.ops import OPERATORS

Auto = Literal["auto"]
Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A section of the configuration: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    # Settings that came later, with the value that stands for how it was before.
    LATER: ClassVar[Mapping[str, Any]] = {}

    def deciding(self) -> dict[str, Any]:
        """The settings that steps depend on; later ones only where they change something, so old steps stay fresh."""
        values = self.model_dump(mode="json")
        return {
            key: value for key, value in values.items() if key not in self.LATER or value != self.LATER[key]
        }


class DataSection(Section):
    """Pictures: a path ("" is scikit-learn's digits), and the shares cut off where a split is not given."""

    path: str = ""
    rank_fraction: float = Field(0.2, gt=0, lt=0.9)
    test_fraction: float = Field(0.2, gt=0, lt=0.9)
    flip: bool | Auto = "auto"


class SpaceSection(Section):
    """The skeleton, and the operators that each layer may choose from.

    width, depth: multiply the channels, and the layers of each stage. A width "auto" is fitted to device and budget,
    and with it a depth "auto", which is 1 where the width was given from the start.
    """

    preset: str = "auto"
    image_size: int | Auto = Field("auto")
    width: float | Auto = "auto"
    depth: Annotated[float, Field(gt=0, le=4)] | Auto = "auto"
    choices: tuple[str, ...] = OPERATORS


class ProfileSection(Section):
    """Timing on the device. networks: whole networks measured to correct the table, at most.

    error: mean error of predictions made before measuring at which no more networks are measured.
    """

    rounds: int = Field(5, ge=1)
    seconds: float = Field(0.02, gt=0)
    stack: int = Field(4, ge=1)
    networks: int = Field(36, ge=3)
    error: float = Field(0.015, ge=0)


class SpecializeSection(Section):
    """The hardware-aware space. beta: exponent of the price of latency in the score. price: see `specialization`."""

    keep: int = Field(5, ge=1)
    capacity: Literal["bending", "product", "sum"] = "bending"
    price: Literal["absolute", "relative"] = "relative"
    beta: Annotated[float, Field(ge=0)] | Auto = "auto"


class SupernetSection(Section):
    """Supernet training. stages: 2 (later layers first, arXiv 1910.11609) or 1 (all at once, as SPOS).

    later_layers: searched first (the paper's reading here: 8 of 20). epochs: over the training pictures,
    of each stage. warm_up: share of stage 1 in which one path is trained before its operators are grown into the
    others (ours; 0 trains sampled paths from the start). grow: whether untrained operators start from trained ones.
    share: whether operators that differ in kernel, width and gate only share their weights (as in once-for-all).
    """

    LATER = {"share": False}

    stages: Literal[1, 2] = 2
    later_layers: Positive | Auto = "auto"
    warm_up: float = Field(0.25, ge=0, lt=1)
    grow: bool = True
    share: bool = True
    epochs: Positive | Auto = "auto"
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(4e-5, ge=0)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"


class SearchSection(Section):
    """Evolution under the budget. window: only architectures that use at least this share of the budget.

    margin: share of the budget kept free, so that noise of the device does not break the promise. macs: weight of what
    architectures compute beside their scores (see `search.merits`). method: "none" searches nothing, takes one operator
    at all layers, and leaves the time of a search to its training.
    """

    LATER = {"macs": 0.0}

    method: Literal["evolution", "none"] = "evolution"
    evaluations: Positive | Auto = "auto"
    random_evaluations: Annotated[int, Field(ge=0)] | Auto = "auto"
    window: float = Field(0.9, ge=0, lt=1)
    margin: float = Field(0.02, ge=0, lt=0.5)
    recalibration_pictures: int = Field(256, ge=16)
    rank_pictures: int = Field(2000, ge=16)
    measured: int = Field(6, ge=1)
    macs: float = Field(1.0, ge=0)

    def deciding(self) -> dict[str, Any]:
        """The settings that steps depend on; those of a search do not tell that there is one."""
        if self.method == "none":
            return {"method": "none"}
        return {key: value for key, value in super().deciding().items() if key != "method"}


class RetrainSection(Section):
    """Training of the winner. start: from the supernet's weights, or from scratch.

    inherited: the supernet's share of the first weights; the rest is fresh. Auto: all for a short training, less for a
    long one. erased: share of the training pictures of which a square is hidden. mixed: share of the batches in which
    each picture shows a part of another (CutMix). Auto: half in a long training, none in a short one.
    """

    LATER = {"mixed": 0.0}

    start: Literal["supernet", "scratch"] = "supernet"
    inherited: Annotated[float, Field(gt=0, le=1)] | Auto = "auto"
    epochs: Positive | Auto = "auto"
    batch_size: int = Field(64, ge=2)
    learning_rate: Annotated[float, Field(gt=0)] | Auto = "auto"
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    erased: float = Field(0.0, ge=0, le=1)
    mixed: Annotated[float, Field(ge=0, le=1)] | Auto = "auto"
    init: str = ""


class VerifySection(Section):
    """The promise. candidates: how many winners may be retrained before the run gives up."""

    candidates: int = Field(3, ge=1)
    rounds: int = Field(5, ge=1)
    seconds: float = Field(0.2, gt=0)


class RunSection(Section):
    """The run itself. time_limit_s: 0 is none. threads: for training, at most as many as there are processors.

    trainer: where training and scoring run, "auto" (a CUDA GPU where torch can use one, else the CPU), "cpu", "cuda" or
    "cuda:N". It is not the device on which latency is measured.
    """

    seed: int = Field(0, ge=0, lt=2**32)
    time_limit_s: float = Field(0.0, ge=0)
    threads: Positive | Auto = "auto"
    trainer: str = Field("auto", pattern=r"^(auto|cpu|cuda|cuda:[0-9]+)$")

    def deciding(self) -> dict[str, Any]:
        """The settings that steps depend on: weights are as good from any trainer, so another one keeps them."""
        return {key: value for key, value in super().deciding().items() if key != "trainer"}


class Config(Section):
    """Everything that was asked of a run."""

    device: str
    max_ms: float | None = None
    run: RunSection = RunSection()
    data: DataSection = DataSection()
    space: SpaceSection = SpaceSection()
    profile: ProfileSection = ProfileSection()
    specialize: SpecializeSection = SpecializeSection()
    supernet: SupernetSection = SupernetSection()
    search: SearchSection = SearchSection()
    retrain: RetrainSection = RetrainSection()
    verify: VerifySection = VerifySection()


def checked(values: Mapping[str, Any]) -> Config:
    """A configuration from plain values; ConfigError naming the first setting that cannot be."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"] if part not in _UNION_TAGS) or "the configuration"
        raise ConfigError(f"{name} cannot be {_shown(first)}: {first['msg'].lower()}") from error


_UNION_TAGS = {"int", "float", "bool", "constrained-int", "constrained-float", "literal['auto']"}


def _shown(error: Any) -> str:
    text = repr(error["input"])
    return text if len(text) < 60 else text[:57] + "..."


def with_settings(config: Config, settings: Sequence[str]) -> Config:
    """The configuration changed by `section.key=value` words; ConfigError for unknown ones."""
    values = config.model_dump(mode="json")
    for setting in settings:
        name, equals, text = setting.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or not dot:
            raise ConfigError(f"--set {setting!r} is not understood; write section.key=value")
        if not isinstance(values.get(section), dict):
            sections = [name for name, value in values.items() if isinstance(value, dict)]
            close = plugins.closest(section, sections)
            raise ConfigError(f"there is no section {section!r}{close}; there are {', '.join(sections)}")
        if key not in values[section]:
            close = plugins.closest(key, values[section])
            raise ConfigError(
                f"section {section} has no key {key!r}{close}; it has {', '.join(values[section])}"
            )
        values[section][key] = _value(text.strip())
    return checked(values)


def _value(text: str) -> Any:
    """A TOML value, or the text itself where it is none (so that words need no quotes)."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def to_toml(config: Config) -> str:
    """The configuration as TOML text with every value written out."""
    import tomli_w

    values = {key: value for key, value in config.model_dump(mode="json").items() if value is not None}
    return "# Settings of this run, every value written out.\n" + str(tomli_w.dumps(values))


def load(path: Path) -> Config:
    """The configuration of a run, a TOML file with every setting; ConfigError where it is damaged."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        # A run that was begun before a setting was there goes on as it was begun.
        for name, field in Config.model_fields.items():
            if isinstance(field.default, Section) and isinstance(values.get(name), dict):
                values[name] = {**field.default.LATER, **values[name]}
        return checked(values)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); the run needs it") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is damaged ({error}); repair it or choose a new folder") from error


_LATENCY_UNITS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1000.0}
_TIME_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_HOUR_MS = 3_600_000.0


def parse_budget(text: str) -> float:
    """Milliseconds of a latency with a unit, as in "3ms" or "250 us"; ConfigError where it is none."""
    value = _quantity(text, _LATENCY_UNITS, "a budget", "3ms")
    if value > _HOUR_MS:
        raise ConfigError(
            f"a budget of {text!r} is above one hour; give what one picture may take, as in 3ms"
        )
    return value


def parse_time(text: str) -> float:
    """Seconds of a time with a unit, as in "30m"; ConfigError where it is none."""
    return _quantity(text, _TIME_UNITS, "a time limit", "30m")


def _quantity(text: str, units: Mapping[str, float], what: str, example: str) -> float:
    match = re.fullmatch(
        r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf|infinity))\s*(\S*)\s*", text, re.I
    )
    known = ", ".join(dict.fromkeys(units))
    if match is None:
        raise ConfigError(f"{text!r} is not {what}; write a number with a unit ({known}), as in {example}")
    number, unit = match.groups()
    if unit not in units:
        raise ConfigError(f"{text!r} has no unit that is known; {what} needs one of {known}, as in {example}")
    try:
        value = float(number) * units[unit]
    except ValueError as error:
        raise ConfigError(f"{text!r} is not {what}; write it as in {example}") from error
    if not math.isfinite(value) or value <= 0:
        raise ConfigError(f"{what} must be above zero, not {text!r}; write it as in {example}")
    return value
