"""Report: gather what the run folder holds and write `report.html`. Written for unfinished runs, too."""

import platform
from importlib.metadata import version
from types import ModuleType
from typing import Any

import numpy as np

from hurricane import ops
from hurricane.report import (
    ChoiceFacts,
    Curve,
    Finalist,
    LatencyPoint,
    LayerFacts,
    OperatorRow,
    ReportFacts,
    Rival,
    ScoredFacts,
    SpaceFacts,
    Verdict,
    render,
)
from hurricane.report.page import place
from hurricane.runs import digest, read_json, read_rows, write_text
from hurricane.steps import gain, retrain, search, stages, supernet, verify
from hurricane.steps import specialize as space_step
from hurricane.steps.job import Job

NAME = "report"
FILES = ("report.html",)
FORMAT = 3


def key(job: Job) -> str:
    """Hash of the records that there are."""
    names = (space_step.NAME, supernet.NAME, search.NAME, retrain.NAME, verify.NAME)
    records = [record["key"] if (record := job.run.record(name)) else None for name in names]
    rivals = job.run.path("rivals.json")
    return digest([FORMAT, records, rivals.read_text(encoding="utf-8") if rivals.is_file() else ""])


def perform(job: Job) -> None:
    """Write `report.html`."""
    write_text(job.run.path("report.html"), render(facts_of(job)))
    job.run.finish(NAME, key(job))
    job.view.say(f"report: {job.run.path('report.html')}")


def facts_of(job: Job) -> ReportFacts:
    """Everything that the report shows of a run."""
    run, verified, found = job.run.facts(), job.run.record(verify.NAME), _record(job, search)
    names: list[str] = list(job.identity["classes"])
    confusion = tuple(tuple(row) for row in verified["confusion"]) if verified else ()
    verdict = verified["verdict"] if verified else None
    finalist, trained = search.chosen(job) if found else None, job.run.record(retrain.NAME)
    rivals = job.run.path("rivals.json")
    packages = ("hurricane-nas", "torch", "onnx", "onnxruntime", "numpy")
    return ReportFacts(
        command="\n".join(run["commands"]),
        created=run["created"],
        seed=job.config.run.seed,
        device={"device": job.identity["device"], **(verdict["facts"] if verdict else job.device.facts())},
        data=_data(job),
        versions={
            **({"trained on": trained["trainer"]} if trained and "trainer" in trained else {}),
            "python": platform.python_version(),
            **{name: version(name) for name in packages},
        },
        notes=_notes(job),
        seconds=run["seconds"],
        verdict=None if verdict is None else _verdict(verdict),
        rejected=tuple((row["predicted_ms"], row["measured_ms"]) for row in search.rejected(job)),
        space=_space(job),
        points=_points(job),
        scored=(*_scored_first(job), *_scored(found)),
        searched=job.searches,
        gain=_gain(job),
        finalists=_finalists(job, found, finalist),
        winner=None
        if finalist is None or finalist["score"] is None
        else (finalist["predicted_ms"], finalist["score"]),
        architecture=_architecture(job, finalist),
        curves=_curves(job),
        per_class=tuple(
            (name, sum(row), row[i]) for i, (name, row) in enumerate(zip(names, confusion, strict=False))
        ),
        confusion=confusion,
        rivals=tuple(
            Rival(row["name"], row["measured_ms"], row["top1"], row["how"])
            for row in (read_json(rivals) if rivals.is_file() else ())
        ),
    )


def _record(job: Job, step: ModuleType) -> dict[str, Any] | None:
    """What a step left, unless that was in another space: it would not fit what is told of this one."""
    record = job.run.record(step.NAME)
    return record if record is not None and record["key"] == step.key(job) else None


def _gain(job: Job) -> str:
    """What a search could gain above one operator at all layers; nothing where the run does not know."""
    return gain.in_words(job, job.small_space, job.latency_model) if _record(job, space_step) else ""


def _verdict(verdict: dict[str, Any]) -> Verdict:
    names = [name for name in Verdict.__dataclass_fields__ if name in verdict]
    return Verdict(**{name: verdict[name] for name in names})


def _data(job: Job) -> dict[str, Any]:
    facts, pictures = job.source.facts, job.pictures
    return {
        "source": facts.path,
        "classes": len(facts.classes),
        "training pictures": len(pictures.train.labels),
        "ranking pictures": len(pictures.rank.labels),
        "test pictures": len(pictures.test.labels),
        "image_size": job.identity["image_size"],
        "skipped": pictures.skipped,
        "balanced": facts.balanced,
    }


def _notes(job: Job) -> tuple[str, ...]:
    notes = [*job.source.facts.warnings, *job.pictures.warnings, *job.pictures.notes]
    plan = job.run.decision("plan")
    if plan is not None:
        cuts = [
            f"{name} {plan['wanted'][name]} → {value}"
            for name, value in plan["lengths"].items()
            if value < plan["wanted"][name]
        ]
        notes += [f"Cut to keep the time limit: {', '.join(cuts)}."] if cuts else []
    return tuple(notes)


def _space(job: Job) -> SpaceFacts | None:
    record = _record(job, space_step)
    decided = job.run.decision("width") if job.searches else job.plain
    if record is None or decided is None:
        return None
    judgement = read_json(job.run.path(space_step.NAME, "judgement.json"))
    layers = tuple(
        LayerFacts(
            number,
            layer.cin,
            layer.cout,
            layer.stride,
            layer.size,
            tuple(
                ChoiceFacts(
                    row["choice"],
                    row["cost_ms"],
                    row["score"],
                    row["kept"],
                    row["reason"],
                    row["macs"],
                    row["params"],
                )
                for row in rows
            ),
        )
        for number, (layer, rows) in enumerate(zip(job.full_space.layers, judgement["layers"], strict=True))
    )
    before, after = record["before"], record["after"]
    return SpaceFacts(
        preset=job.identity["preset"],
        width=job.shape.width,
        depth=job.shape.depth,
        width_reason=decided["reason"],
        beta=record["beta"],
        layers=layers,
        size_before=before["size"],
        size_after=after["size"],
        share_before=before["share"],
        share_after=after["share"],
        cheapest_ms=after["cheapest_ms"],
        dearest_ms=after["dearest_ms"],
    )


def _points(job: Job) -> tuple[LatencyPoint, ...]:
    record = _record(job, space_step)
    rows = record["networks"] if record else ()
    names = ("table_ms", "predicted_ms", "measured_ms", "low_ms", "high_ms")
    return tuple(LatencyPoint(*(row.get(name) for name in names)) for row in rows)


def _scored(record: dict[str, Any] | None) -> tuple[ScoredFacts, ...]:
    if record is None:
        return ()
    return tuple(
        ScoredFacts(source, row["cost_ms"], row["score"])
        for source, rows in (("random", record["random"]), ("search", record["history"]))
        for row in rows
    )


def _scored_first(job: Job) -> tuple[ScoredFacts, ...]:
    """What the search of the first stage scored, priced by the run's latency model."""
    record = _record(job, supernet)
    if record is None or record["later"] is None:
        return ()
    rows = read_rows(job.run.path(*stages.STAGE1.split("/"), "scored.jsonl"))
    mine = [row for row in rows if row.get("key") == record["key"]]
    if not mine:
        return ()
    space = job.small_space
    costs = job.latency_model.predict(space, np.array([space.indices(row["architecture"]) for row in mine]))
    return tuple(
        ScoredFacts("search", float(cost), row["score"], "stage 1")
        for cost, row in zip(costs, mine, strict=True)
    )


def _finalists(
    job: Job, record: dict[str, Any] | None, finalist: dict[str, Any] | None
) -> tuple[Finalist, ...]:
    if record is None:
        return ()
    missed = [row["architecture"] for row in search.rejected(job)]
    space = job.small_space
    archs = np.array([space.indices(row["architecture"]) for row in record["finalists"]])
    names = [None if finalist is None else finalist["architecture"], *missed]
    outcomes = ["the winner", *("its exported file missed the budget" for _ in missed)]
    return tuple(
        Finalist(
            tuple(row["architecture"]),
            row["score"],
            int(mixing),
            row["predicted_ms"],
            row["measured_ms"],
            row["fits"],
            outcomes[names.index(row["architecture"])] if row["architecture"] in names else "",
        )
        for row, mixing in zip(record["finalists"], space.mixing_macs(archs), strict=True)
    )


def _architecture(job: Job, finalist: dict[str, Any] | None) -> tuple[OperatorRow, ...]:
    """The winner's operators; what is fixed (stem, head, classifier) shares the rest by the profile's proportions."""
    if finalist is None:
        return ()
    from hurricane.steps import profile

    space, table = job.small_space, profile.load(job)
    arch = space.indices(finalist["architecture"])
    specs = space.specs(arch)
    model = job.latency_model.costs(space)
    fixed = table.costs(space).fixed_ms
    ratio = max(model.fixed_ms, 0.0) / fixed if fixed > 0 else 1.0
    costs = [
        ratio * table.rows[specs[0]].median_ms,
        *(float(costs[index]) for costs, index in zip(model.layers, arch, strict=True)),
        *(ratio * table.rows[spec].median_ms for spec in specs[-2:]),
    ]
    places = ["stem", *(place(number) for number in range(len(arch))), "head", "classifier"]
    total = sum(costs) or 1.0
    return tuple(
        OperatorRow(
            where,
            spec.kind,
            spec.cin,
            spec.cout,
            spec.stride,
            spec.size,
            cost,
            cost / total,
            ops.graph(spec).macs,
            ops.graph(spec).params,
        )
        for where, spec, cost in zip(places, specs, costs, strict=True)
    )


def _curves(job: Job) -> tuple[Curve, ...]:
    curves = []
    supernets = {
        "supernet, warm-up": stages.WARM_UP,
        "supernet, stage 1": stages.STAGE1,
        "supernet, stage 2": stages.STAGE2,
    }
    trained = {**supernets, "retraining": retrain.NAME} if job.searches else {"training": retrain.NAME}
    for name, folder in trained.items():
        rows = read_rows(job.run.path(*folder.split("/"), "curve.jsonl"))
        latest = [row for row in rows if row.get("key") == rows[-1].get("key")]
        points = {row["epoch"]: (row["epoch"], row["loss"], row["accuracy"]) for row in latest}
        if points:
            curves.append(Curve(name, tuple(points[epoch] for epoch in sorted(points))))
    return tuple(curves)
