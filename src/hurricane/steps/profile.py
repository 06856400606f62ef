"""Profile: time every distinct operator of the space on the device, row by row."""

from collections.abc import Mapping
from typing import Any

from hurricane.devices import profile
from hurricane.latency import LatencyTable, Samples, samples_from_json, samples_to_json
from hurricane.ops import OpSpec
from hurricane.runs import append_row, digest, read_rows
from hurricane.steps.job import Job

NAME = "profile"
FILES = ("profile/table.json",)


def key(job: Job) -> str | None:
    """Hash of device, space and profile settings; the budget is not among them."""
    if not job.decided:
        return None
    section = job.config.profile.model_dump(mode="json", exclude={"networks", "error"})
    return digest([job.identity["device"], job.full_space.to_json(), section])


def perform(job: Job) -> None:
    """Time what is not timed yet; writes `profile/rows.jsonl` as it goes, then `profile/table.json`."""
    space, key_now = job.full_space, key(job)
    assert key_now is not None
    path = job.run.path(NAME, "rows.jsonl")
    rows = [row for row in read_rows(path) if row.get("key") == key_now]
    known = {_spec(row): samples_from_json(row["samples"]) for row in rows}

    def keep(timed: Mapping[OpSpec, Samples]) -> None:
        for spec, samples in timed.items():
            append_row(path, {"key": key_now, "spec": _row(spec), "samples": samples_to_json(samples)})

    total = len(space.distinct_specs())
    with job.view.bar("timing operators", total) as bar:
        done = 0

        def progress(now: int, _total: int) -> None:
            nonlocal done
            bar.advance(now - done)
            done = now

        section = job.config.profile
        table = profile(
            job.device,
            space,
            known=known,
            on_rows=keep,
            progress=progress,
            rounds=section.rounds,
            seconds=section.seconds,
            stack=section.stack,
        )
    _write(job, table)
    unstable = sum(samples.unstable is not None for samples in table.rows.values())
    job.run.finish(
        NAME, key_now, operators=len(table.rows), unsupported=len(table.unsupported), unstable=unstable
    )
    if unstable:
        job.view.say(
            f"{unstable} of {len(table.rows)} operators could not be timed steadily; a quieter device helps"
        )
    for spec, reason in table.unsupported.items():
        job.view.say(f"left out: {spec}: {reason}")


def load(job: Job) -> LatencyTable:
    """The table of the run."""
    return LatencyTable.load(job.run.path(NAME, "table.json"))


def _write(job: Job, table: LatencyTable) -> None:
    from hurricane.runs import writing

    with writing(job.run.path(NAME, "table.json")) as scratch:
        table.save(scratch)


def _row(spec: OpSpec) -> list[Any]:
    return [spec.kind, spec.cin, spec.cout, spec.stride, spec.size]


def _spec(row: Mapping[str, Any]) -> OpSpec:
    return OpSpec(*row["spec"])
