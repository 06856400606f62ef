"""Numbers in the report: three digits, a unit, never more certain than they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hurricane.report.quantities import (
    apart,
    count,
    duration,
    interval,
    milliseconds,
    percent,
    significant,
)

UNITS_MS = {"ns": 1e-6, "µs": 1e-3, "ms": 1.0, "s": 1e3}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0945, "94.5 µs"),
        (2.84, "2.84 ms"),
        (3.0, "3.00 ms"),
        (0.9996, "1.00 ms"),
        (999.6, "1.00 s"),
        (123.4, "123 ms"),
        (0.000123, "123 ns"),
        (0.0, "0 ms"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_a_latency_has_three_digits_and_the_unit_that_suits_it(value, text):
    assert milliseconds(value) == text


@given(st.floats(1e-6, 9e5))
def test_a_latency_reads_back_to_half_a_percent_without_an_exponent(value):
    number, unit = milliseconds(value).split()
    assert "e" not in number
    assert float(number) * UNITS_MS[unit] == pytest.approx(value, rel=0.0051)
    assert float(number) < 1000


@given(st.floats(0.01, 1000), st.floats(1e-5, 0.5))
def test_a_miss_never_looks_like_the_budget(budget, over):
    measured, allowed = apart(budget * (1 + over), budget)
    assert measured != allowed


@given(st.floats(0, 1))
def test_only_all_is_100_percent_and_only_nothing_0(value):
    text = percent(value)
    if 0 < value < 1:
        assert text.rstrip("%").rstrip("0").rstrip(".") not in {"0", "100"}
    else:
        assert text in {"0.0%", "100.0%"}


def test_percentages():
    assert percent(0.9312) == "93.1%"
    assert percent(0.00004) == "0.004%"
    assert percent(1e-9) == "under 0.0001%"
    assert percent(0.9999) == "99.99%"
    assert percent(None) == "–"


def test_counts():
    assert [count(n) for n in (0, 359, 10_000, 99_999, 100_000, 277_946, 999_999, 45_000_000)] == [
        "0",
        "359",
        "10,000",
        "99,999",
        "100 k",
        "278 k",
        "1.00 M",
        "45.0 M",
    ]
    assert count(32.0**20) == "1.27 × 10³⁰"


def test_durations():
    assert [duration(s) for s in (0.2, 42, 600, 9000)] == ["0.2 s", "42 s", "10.0 min", "2.5 h"]


def test_significant_digits_keep_their_zeros():
    assert [significant(v) for v in (5.0, 94.46, 0.00912, 100.4)] == ["5.00", "94.5", "0.00912", "100"]


@given(st.floats(0, 1), st.integers(1, 100_000))
def test_the_interval_holds_the_share_and_narrows_with_pictures(share, pictures):
    low, high = interval(share, pictures)
    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1
    wider = interval(share, max(1, pictures // 10))
    assert high - low <= wider[1] - wider[0] + 1e-9


def test_the_interval_is_wilsons():
    # Known values: 8 of 10 gives 49.0 % to 94.3 %; 10 of 10 gives 72.2 % to 100 %.
    assert interval(0.8, 10) == pytest.approx((0.490, 0.943), abs=0.001)
    assert interval(1.0, 10) == pytest.approx((0.722, 1.0), abs=0.001)
    assert interval(0.0, 0) == (0.0, 1.0)
