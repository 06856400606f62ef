"""The charts of the report, as plotly figures in HTML."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hurricane.report.facts import Curve, LatencyPoint, LayerFacts, ReportFacts, ScoredFacts

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BLUE, ORANGE, GREEN, GREY = "#2b6cb0", "#c05621", "#2f855a", "#8a94a6"
MOST_CONFUSED = 40


def html(figure: "Figure", name: str, height: int = 380) -> str:
    """A figure as a <div>; plotly itself is included once by the page."""
    figure.update_layout(
        height=height,
        margin={"l": 56, "r": 16, "t": 16, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": "#6b7280"},
        legend={"orientation": "h", "y": 1.12, "x": 0},
    )
    figure.update_xaxes(gridcolor="rgba(128,128,128,.25)", zeroline=False)
    figure.update_yaxes(gridcolor="rgba(128,128,128,.25)", zeroline=False)
    config = {"displayModeBar": False, "responsive": True}
    return str(figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=config))


def front(scored: Sequence[ScoredFacts]) -> list[tuple[float, float]]:
    """(cost, score) of those that no cheaper or equal one beats, by cost."""
    best, line = -np.inf, []
    for one in sorted(scored, key=lambda s: (s.cost_ms, -s.score)):
        if one.score > best:
            best = one.score
            line.append((one.cost_ms, one.score))
    return line


def latency_and_score(facts: ReportFacts) -> str:
    """Everything scored, the front, the budget and the winner."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for source, colour, symbol in (("random", GREY, "x-thin-open"), ("search", BLUE, "circle-open")):
        mine = [s for s in facts.scored if s.source == source]
        figure.add_scatter(
            x=[s.cost_ms for s in mine],
            y=[s.score for s in mine],
            mode="markers",
            name=f"{source} ({len(mine)})",
            marker={"color": colour, "symbol": symbol, "size": 8},
        )
    line = front(facts.scored)
    figure.add_scatter(
        x=[x for x, _ in line], y=[y for _, y in line], mode="lines", name="front", line={"color": GREEN}
    )
    if facts.winner is not None:
        figure.add_scatter(
            x=[facts.winner[0]],
            y=[facts.winner[1]],
            mode="markers",
            name="winner",
            marker={"color": ORANGE, "symbol": "star", "size": 16},
        )
    if facts.verdict is not None:
        figure.add_vline(
            x=facts.verdict.budget_ms, line={"color": ORANGE, "dash": "dash"}, annotation_text="budget"
        )
    figure.update_xaxes(title="predicted latency, ms")
    figure.update_yaxes(title="accuracy with the supernet's weights", tickformat=".0%")
    return html(figure, "latency-score")


def progress(scored: Sequence[ScoredFacts]) -> str:
    """Best score so far against evaluations, search beside random search."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for source, colour, dash in (("search", BLUE, "solid"), ("random", GREY, "dot")):
        best = np.maximum.accumulate([s.score for s in scored if s.source == source] or [np.nan])
        figure.add_scatter(
            x=list(range(1, len(best) + 1)),
            y=best.tolist(),
            name=source,
            line={"color": colour, "dash": dash, "shape": "hv"},
        )
    figure.update_xaxes(title="architectures scored")
    figure.update_yaxes(title="best so far", tickformat=".1%")
    return html(figure, "progress", 300)


def heat_map(layers: Sequence[LayerFacts]) -> str:
    """Latency of each operator at each layer relative to the layer's dearest, kept ones marked."""
    import plotly.graph_objects as go

    names = list(dict.fromkeys(choice.name for layer in layers for choice in layer.choices))
    values: list[list[float | None]] = [[None] * len(layers) for _ in names]
    marks = [[""] * len(layers) for _ in names]
    texts = [["not in this layer"] * len(layers) for _ in names]
    for column, layer in enumerate(layers):
        dearest = max((c.cost_ms for c in layer.choices if c.cost_ms is not None), default=1.0) or 1.0
        for choice in layer.choices:
            row = names.index(choice.name)
            marks[row][column] = "●" if choice.kept else ""
            cost = "" if choice.cost_ms is None else f"{choice.cost_ms * 1e3:.3g} µs<br>"
            texts[row][column] = f"{cost}{'kept' if choice.kept else 'dropped'}: {choice.reason}"
            values[row][column] = None if choice.cost_ms is None else choice.cost_ms / dearest
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=[f"{la.number}: {la.cin}→{la.cout}, {la.size} px" for la in layers],
            y=names,
            text=marks,
            texttemplate="%{text}",
            customdata=texts,
            hovertemplate="%{y} at layer %{x}<br>%{customdata}<extra></extra>",
            colorscale="Blues",
            colorbar={"title": "of the layer's<br>dearest", "tickformat": ".0%"},
        )
    )
    figure.update_yaxes(autorange="reversed", tickfont={"size": 11})
    figure.update_xaxes(tickangle=-60, tickfont={"size": 11})
    return html(figure, "heat-map", 220 + 18 * len(names))


def predictions(points: Sequence[LatencyPoint]) -> str:
    """Predicted against measured latency of whole networks."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, colour, symbol, values in (
        ("sum of the table", GREY, "x-thin-open", [p.table_ms for p in points]),
        ("corrected, network left out of the fit", BLUE, "circle-open", [p.predicted_ms for p in points]),
    ):
        measured = [p.measured_ms for p in points]
        figure.add_scatter(
            x=measured,
            y=values,
            mode="markers",
            name=name,
            marker={"color": colour, "symbol": symbol, "size": 9},
        )
    ends = [min(p.measured_ms for p in points), max(p.measured_ms for p in points)]
    figure.add_scatter(x=ends, y=ends, mode="lines", name="equal", line={"color": GREEN, "dash": "dot"})
    figure.update_xaxes(title="measured, ms")
    figure.update_yaxes(title="predicted, ms")
    return html(figure, "predictions", 340)


def training(curves: Sequence[Curve]) -> str:
    """Loss of each training by epoch."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for curve, colour in zip(curves, (BLUE, ORANGE, GREEN), strict=False):
        epochs = [epoch for epoch, _, _ in curve.points]
        accuracy = [f"{share:.1%} recognised" for _, _, share in curve.points]
        losses = [loss for _, loss, _ in curve.points]
        figure.add_scatter(x=epochs, y=losses, name=curve.name, text=accuracy, line={"color": colour})
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(title="training loss")
    return html(figure, "training", 320)


def confusion(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """Which classes are taken for which; nothing for more classes than can be read."""
    import plotly.graph_objects as go

    if not matrix or len(names) > MOST_CONFUSED:
        return ""
    counts: Any = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = list(names)
    figure = go.Figure(
        go.Heatmap(
            z=shares.tolist(),
            x=labels,
            y=labels,
            customdata=counts.tolist(),
            colorscale="Blues",
            hovertemplate="%{y} taken for %{x}: %{customdata}<extra></extra>",
            colorbar={"tickformat": ".0%"},
        )
    )
    figure.update_xaxes(title="predicted", type="category")
    figure.update_yaxes(title="true", autorange="reversed", type="category")
    return html(figure, "confusion", 440)
