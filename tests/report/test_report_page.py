"""The report: one file that fetches nothing, says what happened, and escapes what it is given."""

import re
import shutil
import subprocess
from dataclasses import fields, replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from hurricane.report import LatencyPoint, charts, render

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
CHARTS = {"latency-score", "progress", "heat-map", "predictions", "training", "confusion"}
VOID = {"meta", "br", "img", "input", "hr", "link"}


class Page(HTMLParser):
    """What a browser would read: tags with attributes in order, text outside scripts, and unclosed tags."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.crossed, self.texts, self.styles = [], [], [], [], []
        self.sections = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open[-1] != tag:
            self.crossed.append((self.open[-1], tag))
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.styles.append(data)
        elif self.open and self.open[-1] == "h2":
            self.sections.append(data)
        elif self.open and self.open[-1] != "script":
            self.texts.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def page(full):
    return Page(render(full))


@pytest.fixture(scope="module")
def bare_page(bare):
    return Page(render(bare))


@pytest.mark.parametrize("kind", ["page", "bare_page"])
def test_every_section_is_there_whatever_the_run_lacks(request, kind):
    page = request.getfixturevalue(kind)
    assert tuple(page.sections) == SECTIONS


@pytest.mark.parametrize("kind", ["page", "bare_page"])
def test_the_page_is_well_formed_and_its_headings_are_in_order(request, kind):
    page = request.getfixturevalue(kind)
    assert page.crossed == []
    assert page.open == []
    levels = [int(name[1]) for name, _ in page.tags if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"] for attrs in page.all("a")} <= {f"#{name}" for name in ids}


def test_every_table_has_a_caption_and_headers_with_a_scope(page):
    assert len(page.all("caption")) == len(page.all("table")) >= 6
    assert all("scope" in attrs for attrs in page.all("th"))


def test_the_page_fetches_nothing(page):
    links = [
        (tag, name, value)
        for tag, attrs in page.tags
        for name, value in attrs.items()
        if name in {"src", "href", "srcset", "action", "data", "poster", "background", "style"}
        and ("//" in value or "url(" in value)
    ]
    assert links == []
    assert page.all("link") == page.all("img") == page.all("iframe") == []
    assert "url(" not in "".join(page.styles)
    assert "@import" not in "".join(page.styles)
    policies = [attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs]
    assert len(policies) == 1
    # The reader's browser is told to refuse what a chart library might ever try.
    assert policies[0].startswith("default-src 'none';")
    assert "http" not in policies[0]


def test_plotly_is_there_once(full):
    assert render(full).count("* plotly.js v") == 1


def test_names_from_the_data_are_escaped(full):
    hostile = "</script><script>alert(1)</script>"
    html = render(
        replace(
            full,
            command=hostile,
            notes=(hostile,),
            device={hostile: hostile},
            curves=(replace(full.curves[0], name=hostile),),
            rivals=(replace(full.rivals[0], name=hostile, how=hostile),),
            verdict=replace(full.verdict, unstable=hostile, model=hostile),
        )
    )
    assert "<script>alert(1)" not in html
    assert "&lt;script&gt;alert(1)" in html
    # In a chart a name must not become markup of the chart either.
    assert "dog & <b>" not in html
    assert "\\u0026lt;b\\u0026gt;wolf" in html


def test_a_kept_budget_is_said_with_its_figures(page):
    for words in (
        "Keeps the budget: 2.84 ms of 3.00 ms.",
        "p90 2.91 ms) of 3.00 ms allowed; predicted 2.79 ms, 1.8% too low.",
        "93.1% top-1 on 1,000 test pictures with the exported file.",
        "between 91.4% and 94.5%",
    ):
        assert words in page.text
    assert "Note." not in page.text


def test_a_missed_budget_and_an_unsteady_measurement_are_not_hidden(full):
    missed = replace(full.verdict, within=False, measured_ms=3.3, p90_ms=3.4, unstable="no two rounds agree")
    page = Page(render(replace(full, verdict=missed)))
    assert "Misses the budget by 10.0%: 3.30 ms measured, 3.00 ms allowed." in page.text
    assert "Keeps the budget" not in page.text
    assert "The measurement was not steady: no two rounds agree." in page.text
    assert [attrs["class"] for attrs in page.all("h1")] == ["bad"]


def test_a_budget_kept_in_an_unsteady_measurement_is_no_plain_success(full):
    page = Page(render(replace(full, verdict=replace(full.verdict, unstable="no two rounds agree"))))
    assert "Keeps the budget, but the measurement was not steady: 2.84 ms of 3.00 ms." in page.text
    assert [attrs["class"] for attrs in page.all("h1")] == ["warn"]


def test_a_miss_by_a_hair_is_told_apart_from_the_budget(full):
    page = Page(render(replace(full, verdict=replace(full.verdict, within=False, measured_ms=3.0004))))
    assert "Misses the budget by 0.01%: 3.0004 ms measured, 3.0000 ms allowed." in page.text
    assert "Measured 3.0004 ms" in page.text


def test_a_budget_that_only_the_median_keeps_is_said_to_be_so(full):
    page = Page(render(replace(full, verdict=replace(full.verdict, p90_ms=3.6))))
    assert "one run in ten took 3.60 ms or more, which is above it" in page.text


def test_an_exported_file_that_disagrees_with_torch_is_pointed_out(full):
    page = Page(render(replace(full, verdict=replace(full.verdict, top1_torch=0.95))))
    assert "do not agree: 93.1% and 95.0% top-1" in page.text


def test_what_was_not_run_is_said(bare_page):
    for words in (
        "Not verified yet",
        "No architecture was chosen yet",
        "No whole networks were measured yet",
        "Not judged on the test split yet",
        "were not trained for this run",
        "The space was not narrowed yet",
        "Nothing was scored yet",
        "Nothing was trained yet",
        "No model was exported and verified yet",
    ):
        assert words in bare_page.text
    assert not any(attrs.get("class") == "chart" for _, attrs in bare_page.tags)


@pytest.mark.parametrize(
    "part",
    [
        "verdict",
        "space",
        "points",
        "scored",
        "winner",
        "finalists",
        "architecture",
        "curves",
        "per_class",
        "confusion",
        "rivals",
        "data",
    ],
)
def test_any_one_part_may_be_missing(full, bare, part):
    assert part in {field.name for field in fields(full)}
    assert tuple(Page(render(replace(full, **{part: getattr(bare, part)}))).sections) == SECTIONS


def test_every_chart_is_there_with_words_for_those_who_cannot_see_it(page):
    charts = {attrs["id"]: attrs for _, attrs in page.tags if attrs.get("class") == "chart"}
    assert set(charts) == CHARTS
    assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 20 for attrs in charts.values())


def test_the_page_says_what_it_was_given(page, full):
    for words in (
        "MobileNetV2-like",
        "+5.0 points",
        "was put aside",
        "2 broken files were skipped",
        "balanced accuracy 87.4%",
        "the balanced accuracy, the mean over classes, is 87.4%",
        "dog & <b>wolf</b> taken for cat: 6 of 30",
        "2026-11-23 21:52 UTC",
        "10.0 min",
        "off by 10.0% (median; 10.0% too low); corrected, each by a fit that did not see it, by 1.0%",
        full.command,
        "balanced no",
    ):
        assert words in page.text
    winners = [one.kind for one in full.architecture if one.place.startswith("layer")]
    assert re.findall(r"★ (\w+)", page.text)[: len(winners)] == winners


def test_scores_of_different_supernets_are_not_offered_for_comparison(page, full):
    words = "scores compare within a stage only"
    assert words in page.text
    last = tuple(one for one in full.scored if not one.stage)
    assert words not in Page(render(replace(full, scored=last))).text


def test_many_classes_show_the_worst_first_and_all_on_request(full):
    rows = tuple((f"class {i}", 10, i % 11) for i in range(60))
    page = Page(render(replace(full, per_class=rows, confusion=())))
    assert "The 20 classes recognised least, of 60" in page.text
    assert (
        page.text.index("class 11 10 0.0%") < page.text.index("class 1 10 10.0%") < page.text.index("All 60")
    )
    assert "class 59 10 40.0%" in page.text


def test_one_measured_network_and_a_table_that_is_right_are_no_trouble(full):
    page = Page(render(replace(full, points=(LatencyPoint(2.0, 2.0, 2.0),))))
    assert "off by 0.0%" in page.text


def test_the_share_within_bounds_and_what_intervals_held_are_told(full):
    points = (
        LatencyPoint(2.0, 2.18, 2.0, 1.9, 2.5),
        LatencyPoint(2.0, 2.08, 2.0, 2.05, 2.1),
        LatencyPoint(2.0, 2.5, 2.0, 1.5, 3.0),
    )
    page = Page(render(replace(full, points=points)))
    assert "at worst by 25.0%: 1 of 3 within 5%, 2 within 10%." in page.text
    assert "The interval expected for 9 of 10 held 2 of 3." in page.text
    assert "error_y" in charts.predictions(points)
    assert "error_y" not in charts.predictions((*points, LatencyPoint(1.0, 1.0, 1.0)))


def contrast(one, other):
    """Contrast of two colours as the WCAG defines it, 1 to 21."""

    def luminance(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_marks_can_be_read_in_both_colour_schemes(page, scheme):
    variables = re.findall(r":root \{(.*?)\}", "".join(page.styles), re.DOTALL)
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", variables[scheme]))
    for ground in ("paper", "tint"):
        for text in ("ink", "soft", "good", "bad", "bar"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["warn"], colours["warn-tint"]) >= 4.5
    assert contrast(colours["ink"], colours["fill"]) >= 4.5
    for day, night in charts.NIGHT.items():
        if day in (charts.BLUE, charts.ORANGE, charts.GREEN, charts.GREY):
            assert contrast((day, night)[scheme], colours["paper"]) >= 3
        if day == charts.INK:
            assert contrast((day, night)[scheme], colours["paper"]) >= 4.5


@pytest.mark.slow
def test_a_browser_draws_every_chart_and_complains_of_nothing(full, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium to look with")
    (tmp_path / "report.html").write_text(render(full), encoding="utf-8")
    switches = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
    )
    told = ("--enable-logging=stderr", "--virtual-time-budget=8000", "--dump-dom")
    seen = subprocess.run(
        [
            browser,
            *switches,
            *told,
            f"--user-data-dir={tmp_path}/profile",
            (tmp_path / "report.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    drawn = re.findall(r'<div class="chart[^"]*js-plotly-plot[^"]*" id="([a-z-]+)"', seen.stdout)
    assert set(drawn) == CHARTS
    assert "CONSOLE" not in seen.stderr
