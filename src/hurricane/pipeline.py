"""The order of the steps; which of them are fresh, which stale or missing, and why; and running them.

The run folder is the state: a step is fresh when its record carries the hash (`key`) of what it would be made from
now. Running again does only what is missing or stale.
"""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hurricane import config as config_file
from hurricane import devices
from hurricane.config import Config
from hurricane.errors import ConfigError, HurricaneError, ModelError, RunError
from hurricane.runs import RUN_FILE, Run, write_text
from hurricane.space import SKELETONS, Shape
from hurricane.steps import feasibility, plain, profile, specialize
from hurricane.steps.job import Job, SilentView, View

COMMANDS = ("profile", "specialize", "train", "search", "retrain", "export", "verify", "report")
# The steps that train or score, and need the place that `run.trainer` asks for.
TRAINING = ("train", "search", "retrain")
CONFIG_FILE = "config.toml"
# Without a preset: up to this many pixels "tiny", above it "mobile".
TINY_UP_TO = 64
LARGEST_DEFAULT = 224
# Smaller pictures first where training at full size could not end in time: (pictures a second per MMAC, see plan).
IMAGE_SIZES = (224, 192, 160, 128, 112, 96)


@dataclass(frozen=True, slots=True)
class StepState:
    """One step of a run: "done", "stale" or "missing", and why."""

    command: str
    state: str
    reason: str


def step(command: str) -> ModuleType:
    """The module of a step, imported when it is needed (training brings torch)."""
    if command == "profile":
        return profile
    if command == "specialize":
        return specialize
    from importlib import import_module

    return import_module(f"hurricane.steps.{'supernet' if command == 'train' else command}")


def start(folder: Path, config: Config, view: View, *, command: str, settings: Sequence[str] = ()) -> Job:
    """The job of a run folder: a new run, or the one that is there with its settings changed.

    A new run is checked as far as is possible in seconds (device, budget, pictures); where that fails, nothing of
    it stays. Raises RunError where the folder belongs to other data, device, preset, image size or classes.
    """
    if not Run.exists(folder):
        return _created(folder, config, view, command)
    run = Run.open(folder)
    job = Job(run, config, view)
    _check_identity(job)
    if any(word.replace(" ", "") == "space.width=auto" for word in settings):
        run.decide("width", None)
    write_text(run.path(CONFIG_FILE), config_file.to_toml(config))
    commands = run.facts()["commands"]
    if command and command not in commands:
        run.update(commands=[*commands, command])
    return job


def _created(folder: Path, config: Config, view: View, command: str) -> Job:
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    _check_trainer(config)
    _check_init(config.retrain.init)
    identity = _identity(Job(Run(folder), config, view))
    created = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    facts = {"created": created, "commands": [command], "identity": identity, "seconds": {}}
    try:
        run = Run.create(folder, facts)
    except HurricaneError:
        _remove(new)
        raise
    try:
        write_text(run.path(CONFIG_FILE), config_file.to_toml(config))
        job = Job(run, config, view)
        _decide(job)
        # Decoding now tells broken pictures before hours of work.
        for note in (*job.source.facts.warnings, *job.pictures.warnings, *job.pictures.notes):
            view.say(note)
    except HurricaneError:
        # Only what was made here: the folder may hold hidden files of the user's.
        shutil.rmtree(run.path("data"), ignore_errors=True)
        for name in (CONFIG_FILE, RUN_FILE):
            run.path(name).unlink(missing_ok=True)
        _remove(new)
        raise
    return job


def _decide(job: Job) -> None:
    """Decide and record the shape of the space and, without a search, its operator, unless they are known."""
    (feasibility if job.searches else plain).decide(job)


def _remove(folders: Sequence[Path]) -> None:
    """Remove folders that were made for nothing, innermost first; what holds something stays."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _check_init(init: str) -> None:
    """ModelError where starting weights are asked for that cannot be read: now, not after the profile."""
    from safetensors import SafetensorError, safe_open

    try:
        if init:
            with safe_open(init, framework="numpy"):
                return
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"--init {init} cannot be read as safetensors ({error}); give a file of weights"
        ) from error


def _check_trainer(config: Config) -> None:
    """ConfigError where training is asked for on a GPU that is not here: now, not after the profile."""
    if config.run.trainer not in ("auto", "cpu"):
        from hurricane.train.place import chosen  # brings torch

        chosen(config.run.trainer)


def _trains(found: Sequence[StepState]) -> bool:
    """Whether one of these steps is still to be done and trains or scores."""
    return any(state.command in TRAINING and state.state != "done" for state in found)


def ask_for_budget(config: Config, view: View) -> str:
    """What the space costs on the device, in a sentence that asks for a budget; nothing is kept."""
    with tempfile.TemporaryDirectory() as scratch:
        job = _provisional(Path(scratch), config, view)
        width = 1.0 if config.space.width == "auto" else config.space.width
        depths = feasibility.depths(job)
        cheap, dear = feasibility.check(job, Shape(width, depths[0]))
        narrower = ""
        if config.space.width == "auto":
            least = feasibility.check(job, Shape(feasibility.WIDTHS[0], min(depths)))[0]
            chosen = "width and depth" if len(depths) > 1 else "the width"
            narrower = f", narrower ones from {least:.3g} ms (the budget chooses {chosen})"
    return (
        f"a budget is needed: on {job.device.name} networks of this space (width {width:g}) take "
        f"{cheap:.3g} ms (fastest) to {dear:.3g} ms (slowest){narrower}; give one with --max-latency, "
        f"as in --max-latency {(cheap * dear) ** 0.5:.2g}ms"
    )


def dry_run(folder: Path, config: Config) -> list[StepState]:
    """What `run` would find done, stale or missing; checks data, device and, to train, trainer; writes nothing."""
    if Run.exists(folder):
        job = Job(Run.open(folder), config)
        _check_identity(job)
        found = states(job)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            found = states(_provisional(Path(scratch), config, SilentView()))
    if _trains(found):
        _check_trainer(config)
    return found


def _provisional(scratch: Path, config: Config, view: View) -> Job:
    """A job of a run that is thrown away."""
    identity = _identity(Job(Run(scratch), config, view))
    run = Run.create(scratch, {"identity": identity, "seconds": {}})
    return Job(run, config, view)


def reopen(folder: Path, settings: Sequence[str], view: View) -> Job:
    """The job of an existing run folder, with some settings changed."""
    run = Run.open(folder)
    config = config_file.with_settings(config_file.load(run.path(CONFIG_FILE)), settings)
    return start(folder, config, view, command="", settings=settings)


def _identity(job: Job) -> dict[str, Any]:
    facts = job.source.facts
    size = image_size(job.config, facts.short_side, facts.pictures)
    preset = job.config.space.preset
    if preset == "auto":
        preset = "tiny" if size <= TINY_UP_TO else "mobile"
    if preset not in SKELETONS:
        raise ConfigError(f"there is no preset {preset!r}; there are {' and '.join(SKELETONS)}")
    return {
        "data": job.config.data.path or "digits",
        "fingerprint": facts.fingerprint,
        "classes": list(facts.classes),
        "device": job.device.name,
        "preset": preset,
        "image_size": size,
        "flip": facts.flip,
    }


def _check_identity(job: Job) -> None:
    identity, config = job.run.facts()["identity"], job.config
    asked: dict[str, Any] = {"device": devices.open_device(config.device).name}
    if config.space.preset != "auto":
        asked["preset"] = config.space.preset
    if config.space.image_size != "auto":
        asked["image_size"] = config.space.image_size
    asked["classes"] = list(job.source.facts.classes)
    asked["fingerprint"] = job.source.facts.fingerprint
    for name, value in asked.items():
        if identity[name] != value:
            what = "data" if name == "fingerprint" else name.replace("_", " ")
            # A thousand class names are no sentence.
            found = "" if name in ("fingerprint", "classes") else f" ({identity[name]}, not {value})"
            raise RunError(f"{job.run.folder} belongs to other {what}{found}; choose a new folder with --out")


def image_size(config: Config, short_side: int, pictures: int) -> int:
    """Pixels to train at: as asked, else the pictures' short side, smaller where the time plan needs it.

    A network of the mobile preset trains at about 3 GMAC/s on two cores (docs/measuring.md) and costs about
    350 MMAC at 224 pixels; fewer than 40 passes over the pictures in the time there is are too few to learn from.
    """
    if config.space.image_size != "auto":
        if not 8 <= config.space.image_size <= 1024:
            raise ConfigError(
                f"an image size of {config.space.image_size} is out of range; give 8 to 1024 pixels"
            )
        return config.space.image_size
    largest = max(8, min(short_side, LARGEST_DEFAULT))
    if largest <= TINY_UP_TO:
        return largest
    seconds = config.run.time_limit_s or (25 * 60.0 if pictures <= 2000 else 4 * 3600.0)
    for size in (largest, *(size for size in IMAGE_SIZES if size < largest)):
        macs = 350e6 * (size / 224) ** 2
        if seconds * 3.0e9 / macs >= 40 * pictures * 0.8:
            return size
    return min(largest, IMAGE_SIZES[-1])


def states(job: Job) -> list[StepState]:
    """What is done, stale or missing, in order."""
    found, blocked = [], ""
    for command in COMMANDS:
        module = step(command)
        record = job.run.record(module.NAME)
        if record is None:
            found.append(StepState(command, "missing", blocked or "it was never finished"))
            blocked = blocked or f"{command} comes first"
        elif blocked:
            found.append(StepState(command, "stale", f"{blocked.split()[0]} has to be done again"))
        elif module.key(job) != record["key"]:
            found.append(StepState(command, "stale", _changed(job, command)))
            blocked = f"{command} comes first"
        elif lost := _lost(job, module, record):
            found.append(StepState(command, "missing", f"{lost} is gone"))
        else:
            found.append(StepState(command, "done", ""))
    return found


def _changed(job: Job, command: str) -> str:
    """What became of the settings since a step was done, in words."""
    then = job.run.facts().get("settings", {}).get(command)
    if then is None:
        return "its settings, or what it was made from, changed"
    before, now = _flat(then), _flat(job.config.model_dump(mode="json"))
    changes = [
        f"{name} was {before[name]}, is {now[name]}"
        for name in now
        if before.get(name, now[name]) != now[name] and name != "run.trainer"
    ]
    return "; ".join(changes) or "what it was made from changed"


def _flat(values: dict[str, Any]) -> dict[str, str]:
    """Settings by section.key, shortly."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        keys = value.items() if isinstance(value, dict) else [("", value)]
        flat.update({f"{name}.{key}".rstrip("."): str(each) for key, each in keys})
    return flat


def _lost(job: Job, module: ModuleType, record: dict[str, Any]) -> str:
    """A file that a step left and that is there no more, or nothing; the name of the model depends on the device."""
    files = (*module.FILES, *([record["model"]] if "model" in record else []))
    return next((name for name in files if not job.run.path(*name.split("/")).is_file()), "")


def perform(job: Job, command: str, *, force: bool = False) -> bool:
    """Do one step unless it is fresh; whether it was done. RunError where a step before it is missing."""
    module = step(command)
    key_now = module.key(job)
    if key_now is None and command == "profile":
        _decide(job)
        key_now = module.key(job)
    if key_now is None:
        earlier = next(s for s in states(job) if s.state != "done").command
        raise RunError(
            f"{command} needs what {earlier} makes; run `hurricane {earlier} {job.run.folder}` first"
        )
    record = job.run.record(module.NAME)
    if record is not None and record["key"] == key_now and not force and not _lost(job, module, record):
        return False
    if command in TRAINING:
        _check_trainer(job.config)
    started = time.monotonic()
    module.perform(job)
    facts = job.run.facts()
    job.run.update(
        seconds={**facts["seconds"], command: round(time.monotonic() - started, 1)},
        settings={**facts.get("settings", {}), command: job.config.model_dump(mode="json")},
    )
    return True


def run(job: Job, *, until: str = "report", on_step: Callable[[str, bool], None] | None = None) -> int:
    """All steps in order, up to `until`; exit status 0 (budget kept, or not yet judged) or 1 (missed).

    Where the exported file misses the budget, that finalist is put aside, the latency model corrected by what was
    measured, and the next one retrained, `verify.candidates` times at most.
    """
    wanted = COMMANDS[: COMMANDS.index(until) + 1]
    _decide(job)
    found = [state for state in states(job) if state.command in wanted]
    if _trains(found):
        _check_trainer(job.config)
    _say_stale(job, found)

    def do(command: str) -> None:
        if on_step is not None:
            on_step(command, False)
        perform(job, command)
        if on_step is not None:
            on_step(command, True)

    for command in wanted:
        do(command)
        if command == "verify":
            _next_candidates(job, do)
    return exit_status(job)


def _say_stale(job: Job, found: Sequence[StepState]) -> None:
    """List the steps that were done for other settings, before they are redone."""
    stale = [state for state in found if state.state == "stale"]
    if stale:
        names = ", ".join(state.command for state in stale)
        job.view.say(f"stale, to be redone: {names} ({stale[0].reason})")


def _next_candidates(job: Job, do: Callable[[str], None]) -> None:
    from hurricane.steps import search, verify

    for attempt in range(1, job.config.verify.candidates + 1):
        record = job.run.record(verify.NAME)
        assert record is not None
        verdict = record["verdict"]
        left = len(_finalists(job)) - len(search.rejected(job))
        if verdict["within"] or attempt == job.config.verify.candidates or left <= 1:
            return
        job.view.say("the exported model misses the budget: taking the next candidate")
        search.reject(job, verdict)
        for command in ("retrain", "export", "verify"):
            do(command)


def _finalists(job: Job) -> list[Any]:
    from hurricane.steps import search

    record = job.run.record(search.NAME)
    return [] if record is None else list(record["finalists"])


def verdict(job: Job) -> dict[str, Any] | None:
    """What was verified of what the settings ask for now; None where that was not verified yet."""
    record = job.run.record("verify")
    if record is None:
        return None
    from hurricane.steps import verify

    return dict(record["verdict"]) if record["key"] == verify.key(job) else None


def exit_status(job: Job) -> int:
    """0 where the budget is kept or nothing was verified yet, 1 where it was missed."""
    found = verdict(job)
    return 1 if found is not None and not found["within"] else 0
