"""Commands. Each turns words into one call of the pipeline or a device, and prints what came of it."""

import contextlib
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from hurricane.errors import ConfigError, HurricaneError, ModelError

if TYPE_CHECKING:
    from hurricane.config import Config
    from hurricane.steps.job import Job, View

app = typer.Typer(
    name="hurricane",
    help="Hardware-aware neural architecture search that keeps a measured latency budget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DeviceOption = Annotated[
    str, typer.Option(help="BACKEND[:UNIT][?key=value&...], as in onnxruntime:cpu?threads=1")
]
SetOption = Annotated[
    Optional[list[str]],
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a setting; repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]


INTERRUPTED = 130


def main() -> None:
    """Run the command line; exit status 2 for what the user can put right, 130 when interrupted."""
    try:
        status = app(sys.argv[1:] or ["--help"], prog_name="hurricane", standalone_mode=False)
        # typer turns an interruption into this status when it is not to exit by itself.
        if status == INTERRUPTED:
            raise KeyboardInterrupt
    except HurricaneError as error:
        _complain(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        _complain("interrupted; what is done is kept: the same command goes on from here")
        sys.exit(INTERRUPTED)
    except Exception as error:
        # typer may carry a click of its own, so these are told by what they offer.
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            _complain(error.format_message())
            sys.exit(2)
        raise


def _complain(sentence: str) -> None:
    print(f"hurricane: {' '.join(sentence.split())}", file=sys.stderr)


@app.command()
def run(
    out: Annotated[Path, typer.Option(help="The run folder; running again with the same folder resumes.")],
    data: Annotated[
        Optional[str],
        typer.Argument(metavar="[DATA]", help="Folder or parquet of pictures; nothing: digits."),
    ] = None,
    device: Annotated[Optional[str], typer.Option(help="BACKEND[:UNIT][?key=value&...]")] = None,
    max_latency: Annotated[Optional[str], typer.Option(help="The budget with a unit, as in 3ms.")] = None,
    preset: Annotated[
        Optional[str], typer.Option(help="mobile or tiny; chosen by picture size if not given.")
    ] = None,
    image_size: Annotated[
        Optional[int], typer.Option(help="Pixels; the pictures' short side if not given.")
    ] = None,
    time_limit: Annotated[Optional[str], typer.Option(help="Fit training to this time, as in 30m.")] = None,
    seed: Annotated[Optional[int], typer.Option(help="Everything random follows from it.")] = None,
    until: Annotated[str, typer.Option(help="Stop after this step.")] = "report",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    init: Annotated[Optional[Path], typer.Option(help="Starting weights (safetensors).")] = None,
    search: Annotated[
        Optional[bool],
        typer.Option(
            "--search/--no-search",
            help="Without: one operator at all layers, and all of the training for it.",
        ),
    ] = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Pictures, a device and a budget in; a verified model and a report out."""
    from hurricane import config as config_file
    from hurricane import pipeline
    from hurricane.runs import Run

    if until not in pipeline.COMMANDS:
        raise ConfigError(f"--until {until!r} is no step; steps are {', '.join(pipeline.COMMANDS)}")
    given: dict[str, Any] = {
        # Absolute, so that the run goes on from any folder.
        "data.path": str(Path(data).resolve()) if data and Path(data).exists() else data,
        "space.preset": preset,
        "space.image_size": image_size,
        "run.seed": seed,
        "run.time_limit_s": None if time_limit is None else config_file.parse_time(time_limit),
        "search.method": None if search is None else "evolution" if search else "none",
        "retrain.init": None if init is None else str(init.resolve()),
    }
    if init is not None and not init.is_file():
        raise ModelError(f"--init {init} is no file; give the safetensors file to start from")
    budget_ms = None if max_latency is None else config_file.parse_budget(max_latency)
    config = _config(out, device, budget_ms, given, settings or [])
    view = _view(quiet)
    if config.max_ms is None:
        raise ConfigError(pipeline.ask_for_budget(config, view))
    if dry_run:
        _print_states(pipeline.dry_run(out, config), as_json)
        return
    command = shlex.join(["hurricane", *sys.argv[1:]])
    with contextlib.ExitStack() as stack:
        known = Run.exists(out)
        if known:
            stack.enter_context(Run.open(out).locked())
        job = pipeline.start(out, config, view, command=command, settings=settings or [])
        if not known:
            stack.enter_context(job.run.locked())
        status = pipeline.run(job, until=until)
    _print_outcome(job, as_json)
    raise SystemExit(status)


def _config(
    out: Path, device: str | None, budget_ms: float | None, given: dict[str, Any], settings: list[str]
) -> "Config":
    """The settings of an earlier run in this folder, or the defaults, changed by what was given."""
    from hurricane import config as config_file
    from hurricane.runs import Run

    if Run.exists(out):
        Run.open(out)
    if (out / "config.toml").is_file() and Run.exists(out):
        base = config_file.load(out / "config.toml")
    elif device is None:
        raise ConfigError(
            "a device is needed; give one with --device, as in --device onnxruntime:cpu?threads=1"
        )
    else:
        base = config_file.checked({"device": device})
    values = base.model_dump(mode="json")
    values["device"] = device or values["device"]
    values["max_ms"] = budget_ms if budget_ms is not None else values["max_ms"]
    for name, value in given.items():
        section, key = name.split(".")
        if value is not None:
            values[section][key] = value
    return config_file.with_settings(config_file.checked(values), settings)


def _view(quiet: bool) -> "View":
    from hurricane.steps.job import SilentView

    if quiet:
        return SilentView()
    from hurricane.cli.view import PlainView, TerminalView

    return TerminalView() if sys.stderr.isatty() else PlainView()


def _print_outcome(job: "Job", as_json: bool) -> None:
    from hurricane import pipeline

    verdict = pipeline.verdict(job)
    if as_json:
        print(json.dumps({"run": str(job.run.folder), "verdict": verdict}))
    elif verdict is not None:
        from hurricane.steps.verify import sentence

        print(sentence(verdict))
        print(f"model: {job.run.path(*verdict['model'].split('/'))}   report: {job.run.path('report.html')}")


def _step_command(name: str, summary: str) -> None:
    def command(
        folder: RunArgument,
        settings: SetOption = None,
        as_json: JsonOption = False,
        quiet: QuietOption = False,
    ) -> None:
        from hurricane import pipeline
        from hurricane.runs import Run

        run_folder = Run.open(folder)
        with run_folder.locked():
            job = pipeline.reopen(folder, settings or [], _view(quiet))
            done = pipeline.perform(job, name)
        if as_json:
            told = {"verdict": pipeline.verdict(job)} if name == "verify" else {}
            print(json.dumps({"run": str(folder), "step": name, "done": done, **told}))
        elif not done:
            print(f"{name}: nothing to do, it is up to date")
        else:
            print(f"{name}: done")
        if name == "verify":
            raise SystemExit(pipeline.exit_status(job))

    command.__doc__ = summary
    app.command(name)(command)


for _name, _summary in (
    ("profile", "Time every distinct operator of the space on the device."),
    ("specialize", "Narrow the space to what the device does well, within the budget."),
    ("train", "Train the one-shot supernet in two stages."),
    ("search", "Search under the budget and measure the finalists."),
    ("retrain", "Train the winner to the end."),
    ("export", "Export the winner for the device's runtime."),
    ("verify", "Measure latency and accuracy of the exported file on the device."),
    ("report", "Write report.html."),
):
    _step_command(_name, _summary)


@app.command()
def status(folder: RunArgument, as_json: JsonOption = False) -> None:
    """What is done, stale or missing, and why."""
    from hurricane import config as config_file
    from hurricane import pipeline
    from hurricane.runs import Run
    from hurricane.steps.job import Job

    opened = Run.open(folder)
    job = Job(opened, config_file.load(opened.path("config.toml")))
    _print_states(pipeline.states(job), as_json)


def _print_states(states: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps([{"step": s.command, "state": s.state, "reason": s.reason} for s in states]))
        return
    for state in states:
        print(f"{state.command:<11} {state.state:<8} {state.reason}".rstrip())


@app.command()
def devices(as_json: JsonOption = False) -> None:
    """Back ends, what is reachable, and why the others are not."""
    from hurricane.devices import list_devices

    found = list_devices()
    if as_json:
        print(json.dumps([{"name": d.name, "available": d.available, "reason": d.reason} for d in found]))
        return
    # Long device strings are another machine's business; those here stand in one column.
    width = max(len(item.name) for item in found if len(item.name) <= 50)
    for item in found:
        state = "available" if item.available else "missing"
        print(f"{item.name:<{width}} {state:<10} {item.reason or ''}".rstrip())


@app.command()
def bench(
    model: Annotated[Path, typer.Argument(help="An exported model.")],
    device: DeviceOption,
    as_json: JsonOption = False,
) -> None:
    """Measured latency of any exported model."""
    from hurricane.devices import bench_model, open_device

    opened = open_device(device)
    samples = bench_model(opened, model)
    facts = opened.facts()
    result = {
        "model": str(model),
        "device": opened.name,
        "median_ms": samples.median_ms,
        "p10_ms": samples.p10_ms,
        "p90_ms": samples.p90_ms,
        "spread": samples.spread,
        "samples": len(samples.values_ms),
        "unstable": samples.unstable,
        "facts": dict(facts),
    }
    if as_json:
        print(json.dumps(result))
        return
    print(
        f"{model}: median {samples.median_ms:.4g} ms, p10 {samples.p10_ms:.4g} ms, p90 {samples.p90_ms:.4g} ms, "
        f"spread {samples.spread:.1%} of {len(samples.values_ms)} runs on {opened.name}"
    )
    if samples.unstable:
        print(f"unstable: {samples.unstable}")
    for name, value in facts.items():
        print(f"  {name}: {value}")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A delivered model, or the run that made it.")],
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE...")],
    as_json: JsonOption = False,
) -> None:
    """Labels and scores of pictures from a delivered model."""
    from hurricane.deliver import Delivered

    delivered = Delivered.open(model)
    results = [delivered.predict(picture) for picture in pictures]
    if as_json:
        print(json.dumps(results))
        return
    for result in results:
        best = ", ".join(f"{label} {score:.1%}" for label, score in list(result["scores"].items())[:3])
        print(f"{result['picture']}: {best}")
