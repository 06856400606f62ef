"""The charts of the report: plotly figures as JSON. `page.js` draws them in the colours of the reader's screen."""

import html
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from hurricane.report.facts import ChoiceFacts, Curve, LatencyPoint, LayerFacts, ReportFacts, ScoredFacts
from hurricane.report.quantities import count, milliseconds, percent

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BLUE, ORANGE, GREEN, GREY = "#2b6cb0", "#b7501b", "#1f7a4d", "#667085"
INK, GRID, EMPTY = "#4a5568", "#d5dbe4", "#c3cad6"
SCALE = ("#eef5fc", "#6aa6db", "#0b326e")
# Charts are written in the colours above; on a dark screen each is exchanged for one of equal standing.
NIGHT = {
    BLUE: "#63a4e8",
    ORANGE: "#f6a15f",
    GREEN: "#6fd3a1",
    GREY: "#9aa7ba",
    INK: "#b6c1cf",
    GRID: "#39424f",
    EMPTY: "#4b5462",
    SCALE[0]: "#1b2a3c",
    SCALE[1]: "#2f71b5",
    SCALE[2]: "#d3e8ff",
}
MOST_CONFUSED = 40
COUNTS_SHOWN = 15


def drawable(figure: "Figure", height: int) -> str:
    """A figure as JSON that may stand inside a <script>."""
    axis = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "automargin": True}
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 60, "r": 16, "t": 12, "b": 52},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        dragmode=False,  # a finger on the chart scrolls the page
    )
    figure.update_xaxes(title_standoff=10, **axis)
    figure.update_yaxes(title_standoff=8, **axis)
    return str(figure.to_json()).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def unit_of(values: Sequence[float]) -> tuple[float, str]:
    """Factor and name of the unit in which an axis of latencies (milliseconds) reads best."""
    longest = max(values, default=1.0)
    return (1e3, "µs") if longest < 1 else (1.0, "ms") if longest < 1e3 else (1e-3, "s")


def plain(text: str) -> str:
    """Text for plotly, which would otherwise read it as markup."""
    return html.escape(text, quote=False)


def front(scored: Sequence[ScoredFacts]) -> list[ScoredFacts]:
    """Those that no cheaper or equally dear one beats, by cost."""
    best, line = -np.inf, []
    for one in sorted(scored, key=lambda s: (s.cost_ms, -s.score)):
        if one.score > best:
            best = one.score
            line.append(one)
    return line


def latency_and_score(facts: ReportFacts) -> str:
    """Everything scored, the front, the budget and the winner."""
    import plotly.graph_objects as go

    figure = go.Figure()
    factor, unit = unit_of([one.cost_ms for one in facts.scored])
    for stage, source in _groups(facts.scored):
        _add_scored(figure, [s for s in facts.scored if (s.stage, s.source) == (stage, source)], factor)
    line = front([one for one in facts.scored if not one.stage])
    figure.add_scatter(
        x=[factor * one.cost_ms for one in line],
        y=[one.score for one in line],
        mode="lines",
        name="front",
        hoverinfo="skip",
        line={"color": GREEN, "width": 2, "shape": "hv"},
    )
    if facts.winner is not None:
        figure.add_scatter(
            x=[factor * facts.winner[0]],
            y=[facts.winner[1]],
            mode="markers",
            name="winner",
            text=[f"winner: {milliseconds(facts.winner[0])}, {percent(facts.winner[1])}"],
            hovertemplate="%{text}<extra></extra>",
            marker={"color": ORANGE, "symbol": "star", "size": 17, "line": {"width": 1, "color": INK}},
        )
    if facts.verdict is not None:
        figure.add_vline(
            x=factor * facts.verdict.budget_ms,
            line={"color": ORANGE, "dash": "dash"},
            annotation={"text": "budget", "xanchor": "right", "yanchor": "top", "y": 1},
        )
    figure.update_xaxes(title=f"predicted latency, {unit}")
    figure.update_yaxes(title="score: accuracy by the supernet", tickformat="~%")
    return drawable(figure, 400)


def _groups(scored: Sequence[ScoredFacts]) -> list[tuple[str, str]]:
    """(stage, source) in the order of drawing: earlier stages and random search lie below the search."""
    groups = dict.fromkeys((one.stage, one.source) for one in scored)
    return sorted(groups, key=lambda group: (not group[0], group[1] == "search"))


def _add_scored(figure: "Figure", mine: Sequence[ScoredFacts], factor: float) -> None:
    """The dots of one search: a mark of its own, not a colour alone."""
    stage, source = mine[0].stage, mine[0].source
    own = {"random": (GREY, "x-thin-open"), "search": (BLUE, "circle-open")}
    colour, symbol = (ORANGE, "triangle-up-open") if stage else own[source]
    figure.add_scatter(
        x=[factor * s.cost_ms for s in mine],
        y=[s.score for s in mine],
        text=[f"{milliseconds(s.cost_ms)}, {percent(s.score)}" for s in mine],
        hovertemplate="%{text}<extra>%{fullData.name}</extra>",
        mode="markers",
        name=plain(f"{source}, {stage} ({len(mine)})" if stage else f"{source} ({len(mine)})"),
        marker={"color": colour, "symbol": symbol, "size": 8, "line": {"width": 1.4, "color": colour}},
    )


def progress(scored: Sequence[ScoredFacts]) -> str:
    """Best score so far against evaluations, search beside random search."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for source, colour, dash in (("search", BLUE, "solid"), ("random", GREY, "dot")):
        scores = [s.score for s in scored if s.source == source and not s.stage]
        best = np.maximum.accumulate(scores) if scores else np.zeros(0)
        figure.add_scatter(
            x=list(range(1, len(best) + 1)),
            y=best.tolist(),
            name=source,
            line={"color": colour, "dash": dash, "width": 2.5, "shape": "hv"},
        )
    figure.update_xaxes(title="architectures scored")
    figure.update_yaxes(title="best score so far", tickformat=".1~%")
    return drawable(figure, 300)


def heat_map(layers: Sequence[LayerFacts], chosen: Mapping[int, str]) -> str:
    """Latency of each operator at each layer relative to the layer's dearest; kept and chosen ones marked.

    chosen : the winner's choice by layer number. What was not timed is grey, with its reason.
    """
    import plotly.graph_objects as go

    names = list(dict.fromkeys(choice.name for layer in layers for choice in layer.choices))
    cells: dict[bool, Any] = {
        timed: {"z": _table(names, layers, None), "text": _table(names, layers, "")}
        for timed in (True, False)
    }
    hovers = _table(names, layers, "")
    for column, layer in enumerate(layers):
        dearest = max((c.cost_ms for c in layer.choices if c.cost_ms is not None), default=1.0) or 1.0
        for choice in layer.choices:
            row, cost_ms = names.index(choice.name), choice.cost_ms
            hovers[row][column] = _judgement(choice)
            kept = "★" if chosen.get(layer.number) == choice.name else "●" if choice.kept else ""
            cell = cells[cost_ms is not None]
            cell["z"][row][column] = 0.0 if cost_ms is None else cost_ms / dearest
            cell["text"][row][column] = "×" if cost_ms is None else kept
    shared: dict[str, Any] = {
        "x": [f"{la.number}: {la.cin}→{la.cout}, {la.size} px" for la in layers],
        "y": [plain(name) for name in names],
        "texttemplate": "%{text}",
        "customdata": hovers,
        "hovertemplate": "%{y} at layer %{x}<br>%{customdata}<extra></extra>",
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
    }
    bar = {"title": {"text": "share of the<br>layer's dearest"}, "tickformat": ".0%", "thickness": 14}
    shades = {"colorscale": _shades(), "zmin": 0, "zmax": 1, "colorbar": bar}
    figure = go.Figure(go.Heatmap(**cells[True], **shades, **shared))
    figure.add_heatmap(**cells[False], colorscale=[[0, EMPTY], [1, EMPTY]], showscale=False, **shared)
    axis = {"tickfont": {"size": 11}, "showgrid": False, "type": "category", "dtick": 1}
    figure.update_yaxes(autorange="reversed", **axis)
    figure.update_xaxes(tickangle=-60, **axis)
    return drawable(figure, 190 + 17 * len(names))


def _table(names: Sequence[str], layers: Sequence[LayerFacts], empty: Any) -> list[list[Any]]:
    """A table of empty cells: a row for each operator, a column for each layer."""
    return [[empty] * len(layers) for _ in names]


def _judgement(choice: ChoiceFacts) -> str:
    """Figures and reason of one operator at one layer."""
    parts = [] if choice.cost_ms is None else [milliseconds(choice.cost_ms)]
    parts += [] if choice.macs is None else [f"{count(choice.macs)} MACs"]
    parts += [] if choice.params is None else [f"{count(choice.params)} parameters"]
    figures = f"{', '.join(parts)}<br>" if parts else ""
    return f"{figures}{'kept' if choice.kept else 'dropped'}: {plain(choice.reason)}"


def _shades() -> list[list[Any]]:
    """The colour scale of both heat maps."""
    return [[i / 2, colour] for i, colour in enumerate(SCALE)]


def predictions(points: Sequence[LatencyPoint]) -> str:
    """Predicted against measured latency of whole networks."""
    import plotly.graph_objects as go

    figure = go.Figure()
    measured = [p.measured_ms for p in points]
    factor, unit = unit_of(measured)
    for name, colour, symbol, values in (
        ("sum of the table", GREY, "x-thin-open", [p.table_ms for p in points]),
        ("predicted before measuring", BLUE, "circle-open", [p.predicted_ms for p in points]),
    ):
        figure.add_scatter(
            x=[factor * x for x in measured],
            y=[factor * y for y in values],
            mode="markers",
            name=name,
            text=[
                f"measured {milliseconds(x)}<br>{name} {milliseconds(y)}, off by {percent(abs(y / x - 1))}"
                for x, y in zip(measured, values, strict=True)
            ],
            hovertemplate="%{text}<extra></extra>",
            marker={"color": colour, "symbol": symbol, "size": 9, "line": {"width": 1.5, "color": colour}},
        )
    if all(p.low_ms is not None and p.high_ms is not None for p in points):
        figure.data[-1].error_y = _bars(points, factor)
    ends = [factor * min(measured), factor * max(measured)]
    figure.add_scatter(
        x=ends,
        y=ends,
        mode="lines",
        name="as measured",
        hoverinfo="skip",
        line={"color": GREEN, "dash": "dot"},
    )
    figure.update_xaxes(title=f"measured, {unit}")
    figure.update_yaxes(title=f"predicted, {unit}")
    return drawable(figure, 340)


def _bars(points: Sequence[LatencyPoint], factor: float) -> dict[str, Any]:
    """Bars from the lower to the upper bound of each prediction."""
    return {
        "array": [factor * ((p.high_ms or 0) - p.predicted_ms) for p in points],
        "arrayminus": [factor * (p.predicted_ms - (p.low_ms or 0)) for p in points],
        "color": BLUE,
        "thickness": 0.8,
        "width": 0,
    }


def training(curves: Sequence[Curve]) -> str:
    """Loss of each training by epoch and, where it was counted, the share of training pictures recognised."""
    from plotly.subplots import make_subplots

    counted = any(share is not None for curve in curves for _, _, share in curve.points)
    rows = 2 if counted else 1
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.07)
    looks = cycle(zip((BLUE, ORANGE, GREEN, GREY), ("solid", "dash", "dot", "dashdot"), strict=True))
    for curve, (colour, dash) in zip(curves, looks, strict=False):
        epochs = [epoch for epoch, _, _ in curve.points]
        look: dict[str, Any] = {
            "x": epochs,
            "name": plain(curve.name),
            "legendgroup": plain(curve.name),
            # One point is no line: it is marked, so that it is seen.
            "mode": "lines" if len(epochs) > 1 else "markers",
            "line": {"color": colour, "dash": dash, "width": 2},
        }
        figure.add_scatter(y=[loss for _, loss, _ in curve.points], row=1, col=1, **look)
        if counted:
            shares = [share for _, _, share in curve.points]
            figure.add_scatter(y=shares, showlegend=False, row=2, col=1, **look)
    figure.update_yaxes(title="loss", row=1, col=1)
    if counted:
        figure.update_yaxes(title="recognised", tickformat="~%", row=2, col=1)
    figure.update_xaxes(title="epoch", row=rows, col=1)
    return drawable(figure, 460 if counted else 320)


def confusion(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """Which classes are taken for which; nothing for more classes than can be read, or without their names."""
    import plotly.graph_objects as go

    if not matrix or len(names) != len(matrix) or len(names) > MOST_CONFUSED:
        return ""
    counts: Any = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = [plain(name if len(name) <= 24 else f"{name[:23]}…") for name in names]
    places = list(range(len(labels)))
    figure = go.Figure(
        go.Heatmap(
            z=shares.tolist(),
            x=places,
            y=places,
            text=[[count(n) if n else "" for n in row] for row in counts.tolist()],
            texttemplate="%{text}" if len(labels) <= COUNTS_SHOWN else "",
            customdata=[
                [f"{labels[i]} taken for {labels[j]}: {counts[i][j]}" for j in places] for i in places
            ],
            colorscale=_shades(),
            zmin=0,
            zmax=1,
            hovertemplate="%{customdata}<extra></extra>",
            colorbar={"tickformat": ".0%", "thickness": 14},
            xgap=1,
            ygap=1,
        )
    )
    ticks = {"tickvals": places, "ticktext": labels, "showgrid": False}
    steep = len(labels) > 12 or max(len(name) for name in names) > 6
    figure.update_xaxes(title="recognised as", tickangle=-60 if steep else 0, **ticks)
    figure.update_yaxes(title="true class", autorange="reversed", **ticks)
    return drawable(figure, 150 + max(24 * len(labels), 170))
