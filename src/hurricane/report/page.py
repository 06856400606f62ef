"""The page: facts, sentences and charts put into the template."""

import json
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from typing import Any

from hurricane.report import charts, sentences
from hurricane.report.facts import OperatorRow, ReportFacts
from hurricane.report.quantities import count, duration, milliseconds, percent

CLASSES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of the page: its id, what it shows in words, and the figure as JSON."""

    name: str
    label: str
    figure: str


@dataclass(frozen=True, slots=True)
class Gauge:
    """Where budget, prediction, median, p10 and p90 lie on the bar at the top, in percent of its width."""

    budget: float
    predicted: float
    measured: float
    p10: float
    p90: float


@dataclass(frozen=True, slots=True)
class Block:
    """An operator as it is drawn: widths in percent, of channels (square root) and of the largest share."""

    row: OperatorRow
    channels: float
    share: float


def render(facts: ReportFacts) -> str:
    """The report as one self-contained HTML document: nothing is fetched when it is opened."""
    import jinja2
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(ms=milliseconds, pc=percent, count=count, duration=duration)
    environment.filters.update(words=in_words, moment=moment)
    return environment.from_string(_part("page.html.j2")).render(
        facts=facts,
        charts={chart.name: chart for chart in drawn(facts) if chart.figure},
        say=sentences,
        gauge=gauge(facts),
        blocks=blocks(facts),
        chosen=chosen(facts),
        front=charts.front([one for one in facts.scored if not one.stage]),
        worst=worst(facts),
        classes_shown=CLASSES_SHOWN,
        style=_part("page.css"),
        script=_part("page.js"),
        night=json.dumps(charts.NIGHT),
        plotly=get_plotlyjs(),
    )


def drawn(facts: ReportFacts) -> tuple[Chart, ...]:
    """The charts that the facts are enough for."""
    names = [name for name, _, _ in facts.per_class]
    made = []
    if facts.points:
        made.append(
            Chart("predictions", sentences.prediction(facts.points), charts.predictions(facts.points))
        )
    if facts.confusion:
        label = f"Which of {len(names)} classes is recognised as which"
        made.append(Chart("confusion", label, charts.confusion(names, facts.confusion)))
    if facts.scored:
        made.append(Chart("progress", sentences.contest(facts.scored), charts.progress(facts.scored)))
        label = f"Predicted latency and score of {len(facts.scored)} architectures, with front and winner"
        made.append(Chart("latency-score", label, charts.latency_and_score(facts)))
    if facts.space is not None:
        label = "Latency of every operator at every layer; the same figures stand in the table below"
        made.append(Chart("heat-map", label, charts.heat_map(facts.space.layers, chosen(facts))))
    if facts.curves:
        label = f"Loss by epoch of {', '.join(curve.name for curve in facts.curves)}"
        made.append(Chart("training", label, charts.training(facts.curves)))
    return tuple(made)


def gauge(facts: ReportFacts) -> Gauge | None:
    """The bar under the headline; None without a verdict."""
    verdict = facts.verdict
    if verdict is None:
        return None
    values = (verdict.budget_ms, verdict.predicted_ms, verdict.measured_ms, verdict.p10_ms, verdict.p90_ms)
    # A p90 far out (a busy machine) must not squeeze the rest: it is cut off at twice the larger of the others.
    end = 1.08 * min(max(values), 2 * max(verdict.budget_ms, verdict.measured_ms))
    budget, predicted, measured, p10, p90 = (min(100.0, 100 * value / end) for value in values)
    return Gauge(budget, predicted, measured, p10, p90)


def blocks(facts: ReportFacts) -> tuple[Block, ...]:
    """The winner's operators with the widths at which they are drawn."""
    share = max((row.share for row in facts.architecture), default=1.0) or 1.0
    channels = max((row.cout for row in facts.architecture), default=1) or 1
    return tuple(
        Block(row, 100 * (row.cout / channels) ** 0.5, 100 * row.share / share) for row in facts.architecture
    )


def chosen(facts: ReportFacts) -> dict[int, str]:
    """The winner's choice by layer number."""
    if facts.space is None:
        return {}
    kinds = {row.place: row.kind for row in facts.architecture}
    numbers = (layer.number for layer in facts.space.layers)
    return {number: kinds[place(number)] for number in numbers if place(number) in kinds}


def worst(facts: ReportFacts) -> tuple[tuple[str, int, int], ...]:
    """The classes that are recognised least, the worst first; those without pictures are left out."""
    judged = [row for row in facts.per_class if row[1]]
    return tuple(sorted(judged, key=lambda row: row[2] / row[1])[:CLASSES_SHOWN])


def place(number: int) -> str:
    """How a searched layer is called in the report."""
    return f"layer {number}"


def in_words(value: Any) -> str:
    """A fact as a reader expects it: yes and no, thousands apart, nothing as a dash."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(in_words(item) for item in value)
    return "–" if value is None or value == "" else str(value)


def moment(created: str) -> str:
    """An ISO date and time to the minute; any other text as it is."""
    try:
        when = datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{when:%Y-%m-%d %H:%M} {when.tzname() or ''}".strip() if "T" in created else created


def _part(name: str) -> str:
    return resources.files("hurricane.report").joinpath(name).read_text("utf-8")
