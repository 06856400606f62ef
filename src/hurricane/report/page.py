"""The page: facts and charts put into the template."""

from importlib import resources
from typing import Any

from hurricane.report import charts
from hurricane.report.facts import ReportFacts, Verdict


def render(facts: ReportFacts) -> str:
    """The report as one self-contained HTML document: nothing is fetched when it is opened."""
    import jinja2
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters.update(ms=milliseconds, pc=percent, count=count, duration=duration)
    template = environment.from_string(
        resources.files("hurricane.report").joinpath("page.html.j2").read_text("utf-8")
    )
    names = [name for name, _, _ in facts.per_class]
    return template.render(
        facts=facts,
        headline=headline(facts.verdict),
        widest=max((row.share for row in facts.architecture), default=1.0) or 1.0,
        groups=kept_by_layer(facts),
        plotly=get_plotlyjs(),
        chart_scored=charts.latency_and_score(facts) if facts.scored else "",
        chart_progress=charts.progress(facts.scored) if facts.scored else "",
        chart_heat=charts.heat_map(facts.space.layers) if facts.space is not None else "",
        chart_predictions=charts.predictions(facts.points) if facts.points else "",
        chart_training=charts.training(facts.curves) if facts.curves else "",
        chart_confusion=charts.confusion(names, facts.confusion) if facts.confusion else "",
    )


def headline(verdict: Verdict | None) -> str:
    """The verdict in one sentence."""
    if verdict is None:
        return "Not verified yet: no exported file was measured on the device."
    if verdict.within:
        return f"Keeps the budget: {milliseconds(verdict.measured_ms)} of {milliseconds(verdict.budget_ms)}."
    over = verdict.measured_ms / verdict.budget_ms - 1
    return (
        f"Misses the budget by {percent(over)}: {milliseconds(verdict.measured_ms)} measured, "
        f"{milliseconds(verdict.budget_ms)} allowed."
    )


def kept_by_layer(facts: ReportFacts) -> list[dict[str, Any]]:
    """For each layer its kept choices, the chosen one marked."""
    if facts.space is None:
        return []
    chosen = {row.place: row.kind for row in facts.architecture}
    return [
        {
            "layer": layer,
            "kept": [
                (choice, choice.name == chosen.get(place(layer.number)))
                for choice in layer.choices
                if choice.kept
            ],
        }
        for layer in facts.space.layers
    ]


def place(number: int) -> str:
    """How a searched layer is called in the report."""
    return f"layer {number}"


def milliseconds(value: float | None) -> str:
    """A latency with three digits and a unit that suits it."""
    if value is None:
        return "-"
    if abs(value) < 1:
        return f"{value * 1e3:.3g} µs"
    return f"{value:.3g} ms" if abs(value) < 1000 else f"{value / 1e3:.3g} s"


def percent(value: float | None) -> str:
    """A fraction as a percentage with as many digits as it deserves."""
    if value is None:
        return "-"
    return f"{value:.1%}" if abs(value) >= 0.001 or value == 0 else f"{value:.2g}"


def count(value: float) -> str:
    """A large number in thousands, millions, ... or powers of ten."""
    for limit, divisor, unit in ((1e3, 1.0, ""), (1e6, 1e3, " k"), (1e9, 1e6, " M"), (1e12, 1e9, " G")):
        if abs(value) < limit:
            return f"{value / divisor:.3g}{unit}"
    return f"{value:.2e}"


def duration(seconds: float) -> str:
    """Seconds or minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
