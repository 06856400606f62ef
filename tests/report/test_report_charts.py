"""Charts of the report: what is in them, read back from their JSON."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hurricane.report import Curve, ScoredFacts, charts
from hurricane.report.page import blocks, chosen, drawn, gauge

COSTS = st.floats(0.01, 100, allow_nan=False)
SCORED = st.lists(st.builds(ScoredFacts, st.just("search"), COSTS, st.floats(0, 1)), min_size=1, max_size=30)


@given(SCORED)
def test_the_front_is_exactly_what_nothing_as_cheap_beats(scored):
    front = charts.front(scored)
    for one in scored:
        assert any(other.cost_ms <= one.cost_ms and other.score >= one.score for other in front)
    for one, later in pairwise(front):
        assert one.cost_ms < later.cost_ms
        assert one.score < later.score


def test_everything_scored_is_drawn_once_with_winner_and_budget(full):
    figure = json.loads(charts.latency_and_score(full))
    traces = {trace["name"]: trace for trace in figure["data"]}
    dots = [name for name in traces if "(" in name]
    assert sum(len(traces[name]["x"]) for name in dots) == len(full.scored)
    assert [name.split(" (")[0] for name in dots] == ["search, stage 1", "random", "search"]
    assert len({traces[name]["marker"]["symbol"] for name in (*dots, "winner")}) == 4
    assert (traces["winner"]["x"][0], traces["winner"]["y"][0]) == full.winner
    assert figure["layout"]["shapes"][0]["x0"] == full.verdict.budget_ms


def test_progress_never_falls_and_leaves_earlier_stages_out(full):
    figure = json.loads(charts.progress(full.scored))
    search = figure["data"][0]["y"]
    assert len(search) == len([s for s in full.scored if s.source == "search" and not s.stage])
    assert search == sorted(search)
    assert search[-1] == full.winner[1]


def test_the_heat_map_marks_kept_chosen_and_not_timed(full):
    layers, winner = full.space.layers, chosen(full)
    figure = json.loads(charts.heat_map(layers, winner))
    timed, untimed = figure["data"]
    for column, layer in enumerate(layers):
        for choice in layer.choices:
            row = timed["y"].index(choice.name)
            mark = "★" if winner[layer.number] == choice.name else "●" if choice.kept else ""
            if choice.cost_ms is None:
                assert timed["z"][row][column] is None
                assert untimed["text"][row][column] == "×"
                assert choice.reason in untimed["customdata"][row][column]
            else:
                assert untimed["z"][row][column] is None
                assert timed["text"][row][column] == mark
                assert 0 < timed["z"][row][column] <= 1
    # A browser writes "null" into the cell of a missing text.
    assert None not in {mark for trace in figure["data"] for row in trace["text"] for mark in row}
    assert any(choice.cost_ms is None for layer in layers for choice in layer.choices)


def test_latencies_below_a_millisecond_are_drawn_in_microseconds(full):
    small = [ScoredFacts("search", 0.09, 0.5), ScoredFacts("search", 0.1, 0.6)]
    assert charts.unit_of([one.cost_ms for one in small]) == (1e3, "µs")
    assert charts.unit_of([2.0, 0.5]) == (1.0, "ms")
    assert charts.unit_of([2000.0]) == (1e-3, "s")


def test_training_without_counted_accuracy_has_one_panel_and_lines_that_differ_without_colour(full):
    names = ("one", "two", "three")
    figure = json.loads(charts.training([Curve(n, ((1, 2.0, None), (2, 1.0, None))) for n in names]))
    assert len(figure["data"]) == 3
    assert len({trace["line"]["dash"] for trace in figure["data"]}) == 3
    assert len(json.loads(charts.training(full.curves))["data"]) == 2 * len(full.curves)


def test_more_classes_than_can_be_read_have_no_confusion_chart():
    n = charts.MOST_CONFUSED + 1
    assert charts.confusion([str(i) for i in range(n)], [[1] * n] * n) == ""


def test_classes_whose_shortened_names_agree_stay_apart():
    names = ["a" * 30 + end for end in "xy"]
    figure = json.loads(charts.confusion(names, [[3, 1], [0, 4]]))
    assert figure["layout"]["xaxis"]["tickvals"] == [0, 1]
    assert figure["data"][0]["z"] == [[0.75, 0.25], [0.0, 1.0]]


def test_every_colour_of_a_chart_has_one_for_the_night(full):
    for chart in drawn(full):
        colours = {
            word.lower()
            for word in chart.figure.replace('"', " ").split()
            if word.startswith("#") and len(word) == 7
        }
        assert colours <= set(charts.NIGHT), chart.name


@pytest.mark.parametrize("p90", [2.91, 500.0])
def test_the_gauge_keeps_the_order_of_its_marks_and_stays_on_the_page(full, p90):
    marks = gauge(replace(full, verdict=replace(full.verdict, p90_ms=p90)))
    assert 0 < marks.predicted < marks.p10 < marks.measured < marks.budget <= 100
    assert marks.measured < marks.p90 <= 100
    assert marks.budget > 40


def test_blocks_are_as_wide_as_channels_and_latency_say(full):
    drawn_blocks = blocks(full)
    assert max(block.channels for block in drawn_blocks) == 100
    assert max(block.share for block in drawn_blocks) == pytest.approx(100)
    by_channels = sorted(drawn_blocks, key=lambda block: block.row.cout)
    assert [b.channels for b in by_channels] == sorted(b.channels for b in drawn_blocks)
