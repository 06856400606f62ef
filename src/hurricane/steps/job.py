"""What every step is given: the run folder, the settings, the device, and somebody to tell."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from hurricane.config import Config
from hurricane.data import DataSource, Pictures, open_source
from hurricane.devices import Device, open_device
from hurricane.errors import ConfigError, RunError
from hurricane.latency_model import LatencyModel
from hurricane.runs import Run, digest, read_json
from hurricane.space import SearchSpace, Shape, preset


class Bar(Protocol):
    """One progress bar."""

    def advance(self, amount: float) -> None:
        """So much more is done."""
        ...


class View(Protocol):
    """Whoever watches: the terminal, plain lines, or nobody."""

    def say(self, text: str) -> None:
        """Tell one line."""
        ...

    def bar(self, label: str, total: float) -> Any:
        """A context manager that gives a Bar."""
        ...


class SilentView:
    """A view that shows nothing."""

    def say(self, text: str) -> None:
        return None

    @contextmanager
    def bar(self, label: str, total: float) -> Iterator[Bar]:
        yield _NoBar()


class _NoBar:
    def advance(self, amount: float) -> None:
        return None


def decided_shape(decided: Mapping[str, Any]) -> Shape:
    """The shape in the decision "width" or "plain"; a run from before depths were fitted has decided none."""
    return Shape(float(decided["value"]), float(decided.get("depth", Shape().depth)))


@dataclass(frozen=True)
class Job:
    """A run at work. What is opened once (device, pictures, space) is kept here for all steps."""

    run: Run
    config: Config
    view: View = field(default_factory=SilentView)

    @cached_property
    def device(self) -> Device:
        """The target device, opened."""
        return open_device(self.config.device)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the run belongs to: data, classes, device, preset, image size (`run.json`)."""
        identity: dict[str, Any] = self.run.facts()["identity"]
        return identity

    @cached_property
    def source(self) -> DataSource:
        """Where the pictures come from."""
        return open_source(self.config.data.path or None)

    @cached_property
    def pictures(self) -> Pictures:
        """The decoded pictures of all splits."""
        with self.view.bar("decoding pictures", self.source.facts.pictures) as bar:
            done = 0

            def progress(now: int, total: int) -> None:
                nonlocal done
                bar.advance(now - done)
                done = now

            return self.source.load(
                self.identity["image_size"],
                self.config.run.seed,
                rank_fraction=self.config.data.rank_fraction,
                test_fraction=self.config.data.test_fraction,
                cache=self.run.path("data"),
                progress=progress,
            )

    @property
    def flip(self) -> bool:
        """Whether training mirrors pictures."""
        flip = self.config.data.flip
        return bool(self.identity["flip"]) if flip == "auto" else flip

    @property
    def threads(self) -> int:
        """Threads for training: no more than there are processors for this process."""
        threads = self.config.run.threads
        here = len(os.sched_getaffinity(0))
        return here if threads == "auto" else min(threads, here)

    @cached_property
    def place(self) -> str:
        """Where training and scoring run, "cpu" or "cuda:N"; the target device is `device`."""
        from hurricane.train.place import chosen  # brings torch

        return chosen(self.config.run.trainer)

    @property
    def budget_ms(self) -> float:
        """The budget; ConfigError where none was given."""
        if self.config.max_ms is None:
            raise ConfigError("a budget is needed for this step; give one with --max-latency, as in 3ms")
        return self.config.max_ms

    @property
    def data_key(self) -> str:
        """Hash of what decides which pictures are in which split."""
        data = self.config.data.model_dump(mode="json", exclude={"path", "flip"})
        names = ("fingerprint", "image_size", "classes")
        return digest([data, self.config.run.seed, *(self.identity[name] for name in names)])

    def space_at(self, shape: Shape) -> SearchSpace:
        """The full space of the run's preset in a shape."""
        return preset(
            self.identity["preset"],
            self.identity["image_size"],
            len(self.identity["classes"]),
            width=shape.width,
            depth=shape.depth,
            choices=self.config.space.choices,
        )

    @property
    def searches(self) -> bool:
        """Whether there is a choice of operators; else `steps.plain` decides one for all layers."""
        return self.config.search.method != "none"

    @property
    def plain_asked(self) -> list[Any]:
        """What the one network of a run without a search follows from, beside device and pictures."""
        config = self.config
        space = config.space.model_dump(mode="json")
        return [space, config.specialize.capacity, config.search.margin, config.max_ms]

    @property
    def plain(self) -> dict[str, Any] | None:
        """What was decided for a run without a search; None where that was for other settings or another budget."""
        known = self.run.decision("plain")
        return known if known is not None and known["asked"] == self.plain_asked else None

    @property
    def decided(self) -> bool:
        """Whether all is known that the full space follows from: its shape and, without a search, its operator."""
        if not self.searches:
            return self.plain is not None
        return self.config.space.width != "auto" or self.run.decision("width") is not None

    @property
    def shape(self) -> Shape:
        """Width and depth of the space, as given or as decided."""
        if not self.decided:
            raise RunError("the width is not decided yet; `hurricane run` with a budget decides it")
        section, decided = self.config.space, self.run.decision("width") if self.searches else self.plain
        fitted = Shape() if decided is None else decided_shape(decided)
        return Shape(
            fitted.width if section.width == "auto" else section.width,
            fitted.depth if section.depth == "auto" else section.depth,
        )

    @property
    def full_space(self) -> SearchSpace:
        """The space that is profiled, in the shape that was decided: every choice, or one without a search."""
        space = self.space_at(self.shape)
        if self.searches or self.plain is None:
            return space
        return space.narrow([(self.plain["operator"],) for _ in space.layers])

    @property
    def small_space(self) -> SearchSpace:
        """The hardware-aware space."""
        return SearchSpace.from_json(read_json(self.run.path("space", "space.json")))

    @property
    def latency_model(self) -> LatencyModel:
        """The latency model of the hardware-aware space, with what searching and verifying added to it."""
        path = self.run.path("space", "latency_model.json")
        try:
            return LatencyModel.from_json(read_json(path))
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path} is damaged ({error!r}); remove it and run again") from error
