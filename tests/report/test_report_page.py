"""The report: one file that fetches nothing, says what happened, and escapes what it is given."""

import re
from dataclasses import replace

import numpy as np
import pytest

import hurricane as hn
from hurricane import ops
from hurricane.report import (
    ChoiceFacts,
    Curve,
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
from hurricane.report.charts import front
from hurricane.report.page import count, duration, headline, milliseconds, percent

SECTIONS = (
    "What was found",
    "How fast it is",
    "How accurate it is",
    "What it beats",
    "Why these operators",
    "How it was searched",
    "Using the model",
    "Facts",
)
VERDICT = Verdict(
    budget_ms=3.0,
    predicted_ms=2.79,
    measured_ms=2.84,
    p10_ms=2.8,
    p90_ms=2.91,
    within=True,
    top1=0.931,
    top1_torch=0.932,
    balanced_top1=0.9,
    test_pictures=1000,
    params=1_200_000,
    macs=45_000_000,
    model="export/model.onnx",
)
BARE = ReportFacts(
    command="hurricane run photos --max-latency 3ms",
    created="2026-11-23",
    seed=0,
    device={"runtime": "ONNX Runtime"},
    data={"image_size": 32, "balanced": True},
    versions={"torch": "2"},
)


@pytest.fixture(scope="module")
def full():
    rng = np.random.default_rng(0)
    space = hn.preset("tiny", image_size=32, classes=3)
    layers = tuple(
        LayerFacts(
            number,
            layer.cin,
            layer.cout,
            layer.stride,
            layer.size,
            tuple(
                ChoiceFacts(
                    name, None if name == "choicex" else float(rng.random()), 1.0, i < 5, f"rank {i + 1}"
                )
                for i, name in enumerate(layer.choices)
            ),
        )
        for number, layer in enumerate(space.layers)
    )
    arch = [0] * len(space.layers)
    rows = tuple(
        OperatorRow(
            f"layer {i}",
            s.kind,
            s.cin,
            s.cout,
            s.stride,
            s.size,
            0.1,
            0.08,
            ops.graph(s).macs,
            ops.graph(s).params,
        )
        for i, s in enumerate(space.specs(arch))
    )
    scored = tuple(
        ScoredFacts(source, float(rng.uniform(2, 3)), float(rng.random()))
        for source in ("search", "random")
        for _ in range(9)
    )
    facts = SpaceFacts("tiny", 0.85, "fitted", 1.3, layers, 1e15, 9e6, 0.01, 0.7, 1.0, 4.0)
    return replace(
        BARE,
        verdict=VERDICT,
        space=facts,
        points=(LatencyPoint(2.5, 2.7, 2.8), LatencyPoint(2.9, 3.0, 3.1)),
        scored=scored,
        winner=(2.8, 0.9),
        architecture=rows,
        curves=(Curve("retraining", ((1, 2.0, 0.3), (2, 1.0, 0.6))),),
        per_class=(("cat", 10, 9), ("<script>alert(1)</script>", 0, 0)),
        confusion=((9, 1), (0, 0)),
        rivals=(Rival("MobileNetV2-like", 2.9, 0.91, "from scratch"),),
        rejected=((2.7, 3.2),),
        seconds={"profile": 42.0},
    )


@pytest.mark.parametrize("kind", ["full", "bare"])
def test_every_section_is_there_whatever_the_run_lacks(full, kind):
    page = render(full if kind == "full" else BARE)
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert tuple(headings) == SECTIONS


def test_the_page_fetches_nothing(full):
    page = render(full)
    without_plotly = re.sub(r"<script>.*?</script>", "", page, count=1, flags=re.DOTALL)
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", without_plotly)
    assert "@import" not in without_plotly


def test_names_from_the_data_are_escaped(full):
    page = render(full)
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_kept_budget_is_said_with_its_figures(full):
    page = render(full)
    for words in (
        "Keeps the budget: 2.84 ms of 3 ms",
        "2.79 ms",
        "2.91 ms",
        "93.1%",
        "1000 test pictures",
        "93.2%",
    ):
        assert words in page
    assert "MobileNetV2-like" in page
    assert "put aside" in page


def test_a_missed_budget_and_an_unsteady_measurement_are_not_hidden(full):
    missed = replace(VERDICT, within=False, measured_ms=3.3, unstable="no two rounds agree")
    page = render(replace(full, verdict=missed))
    assert "Misses the budget by 10.0%" in page
    assert "no two rounds agree" in page


def test_what_was_not_run_is_said():
    page = render(BARE)
    assert "Not verified yet" in page
    assert "were not trained for this run" in page


def test_charts_are_there(full):
    page = render(full)
    for name in ("latency-score", "progress", "heat-map", "predictions", "training", "confusion"):
        assert f'id="{name}"' in page


def test_the_front_is_what_nothing_cheaper_beats():
    scored = [ScoredFacts("search", cost, score) for cost, score in ((1, 0.5), (2, 0.4), (3, 0.9), (4, 0.9))]
    assert front(scored) == [(1, 0.5), (3, 0.9)]


def test_quantities_have_units():
    assert milliseconds(0.0945) == "94.5 µs"
    assert milliseconds(2.84) == "2.84 ms"
    assert milliseconds(None) == "-"
    assert percent(0.9312) == "93.1%"
    assert count(1_200_000) == "1.2 M"
    assert duration(42) == "42 s"
    assert duration(600) == "10.0 min"
    assert headline(None).startswith("Not verified")
