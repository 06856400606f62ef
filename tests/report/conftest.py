"""A report's facts as a run would gather them: from a real space, with drawn costs and scores; and almost none."""

import math
from dataclasses import replace

import numpy as np
import pytest

import hurricane as hn
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
)
from hurricane.specialization import judge

CLASSES = ("cat", "dog & <b>wolf</b>", "<script>alert(1)</script>", "bird")
BUDGET_MS = 3.0


@pytest.fixture(scope="session")
def bare():
    return ReportFacts(command="hurricane run photos", created="", seed=0, device={}, data={}, versions={})


@pytest.fixture(scope="session")
def full(bare):
    rng = np.random.default_rng(0)
    space = hn.preset("tiny", image_size=32, classes=len(CLASSES))
    costs = [[float(rng.uniform(0.05, 0.6)) for _ in layer.choices] for layer in space.layers]
    table = hn.LatencyTable.from_costs(space, costs, fixed_ms=0.1)
    special = judge(space, table, keep=5, max_ms=BUDGET_MS)
    archs = special.space.random(300, rng)
    priced = [
        (float(ms), float(rng.uniform(0.5, 0.9)))
        for ms in table.predict(special.space, archs)
        if ms <= BUDGET_MS
    ]
    winner = max(priced, key=lambda one: one[1])
    return replace(
        bare,
        command="hurricane run photos --max-latency 3ms --out runs/photos",
        created="2026-11-23T21:52:03+0000",
        device={"device": "onnxruntime:cpu?threads=1", "runtime": "ONNX Runtime", "threads": 1},
        data={"source": "photos", "classes": len(CLASSES), "image_size": 32, "balanced": False, "skipped": 2},
        versions={"hurricane-nas": "0.1.0", "torch": "2.13"},
        notes=("2 broken files were skipped",),
        seconds={"profile": 42.0, "supernet": 600.0},
        verdict=_verdict(special.space.names(archs[0])),
        rejected=((2.7, 3.2),),
        space=_space(space, special),
        points=tuple(LatencyPoint(0.9 * ms, 1.01 * ms, ms) for ms in (2.5, 2.8, 2.9)),
        scored=(
            *(ScoredFacts("search", ms, score, "stage 1") for ms, score in priced[:5]),
            *(ScoredFacts("random", ms, score) for ms, score in priced[5:20]),
            *(ScoredFacts("search", ms, score) for ms, score in priced),
        ),
        winner=winner,
        finalists=(
            Finalist(special.space.names(archs[0]), winner[1], 12_600_000, 2.79, 2.84, True, "chosen"),
        ),
        architecture=_architecture(special.space, archs[0]),
        curves=(
            Curve("supernet, stage 1", ((1, 2.0, 0.3), (2, 1.4, 0.5))),
            Curve("retraining", ((1, 1.0, None), (2, 0.8, 0.8))),
        ),
        per_class=((CLASSES[0], 10, 9), (CLASSES[1], 30, 20), (CLASSES[2], 5, 5), (CLASSES[3], 0, 0)),
        confusion=((9, 1, 0, 0), (6, 20, 4, 0), (0, 0, 5, 0), (0, 0, 0, 0)),
        rivals=(Rival("MobileNetV2-like", 2.9, 0.881, "from scratch"),),
    )


def _verdict(names):
    return Verdict(
        budget_ms=BUDGET_MS,
        predicted_ms=2.79,
        measured_ms=2.84,
        p10_ms=2.8,
        p90_ms=2.91,
        within=True,
        top1=0.931,
        top1_torch=0.931,
        balanced_top1=0.874,
        test_pictures=1000,
        params=1_200_000,
        macs=45_000_000,
        model="export/model.onnx",
        device="onnxruntime:cpu?threads=1",
        architecture=names,
    )


def _space(space, special):
    layers = [
        LayerFacts(
            number,
            layer.cin,
            layer.cout,
            layer.stride,
            layer.size,
            tuple(
                ChoiceFacts(
                    one.choice,
                    None if math.isnan(one.cost_ms) else one.cost_ms,
                    one.score,
                    one.kept,
                    one.reason,
                    one.macs,
                    one.params,
                )
                for one in judged
            ),
        )
        for number, (layer, judged) in enumerate(zip(space.layers, special.layers, strict=True))
    ]
    sizes = float(space.size), float(special.space.size)
    return SpaceFacts("tiny", 0.85, 0.7, "fitted", special.beta, tuple(layers), *sizes, 0.001, 0.7, 1.0, 4.0)


def _architecture(space, arch):
    specs = space.specs(arch)
    places = ["stem", *(f"layer {i}" for i in range(len(arch))), "head", "classifier"]
    return tuple(
        OperatorRow(
            where,
            s.kind,
            s.cin,
            s.cout,
            s.stride,
            s.size,
            0.2,
            1 / 13,
            ops.graph(s).macs,
            ops.graph(s).params,
        )
        for where, s in zip(places, specs, strict=True)
    )
