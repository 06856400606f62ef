"""What happened, in plain words: the sentences of the report."""

import math
from collections.abc import Sequence
from statistics import median

from hurricane.report.facts import LatencyPoint, ReportFacts, ScoredFacts, Verdict
from hurricane.report.quantities import apart, count, interval, milliseconds, percent


def headline(verdict: Verdict | None) -> str:
    """The verdict in one sentence."""
    if verdict is None:
        return "Not verified yet: no exported file was measured on the device."
    measured, budget = apart(verdict.measured_ms, verdict.budget_ms)
    if not verdict.within:
        over = percent(verdict.measured_ms / verdict.budget_ms - 1)
        return f"Misses the budget by {over}: {measured} measured, {budget} allowed."
    if verdict.unstable:
        return f"Keeps the budget, but the measurement was not steady: {measured} of {budget}."
    return f"Keeps the budget: {measured} of {budget}."


def outcome(verdict: Verdict) -> str:
    """The figures behind the headline."""
    measured, budget = apart(verdict.measured_ms, verdict.budget_ms)
    return (
        f"Measured {measured} (median; p10 {milliseconds(verdict.p10_ms)}, "
        f"p90 {milliseconds(verdict.p90_ms)}) of {budget} allowed; "
        f"predicted {milliseconds(verdict.predicted_ms)}, {_deviation(verdict)}. "
        f"{percent(verdict.top1)} top-1 on {count(verdict.test_pictures)} test pictures with the exported file."
    )


def warnings(verdict: Verdict) -> tuple[str, ...]:
    """What a reader must not overlook."""
    told = []
    if verdict.unstable:
        told.append(f"The measurement was not steady: {verdict.unstable}. Measure again on a quieter device.")
    if verdict.within and verdict.p90_ms > verdict.budget_ms:
        told.append(
            f"The budget is kept by the median; one run in ten took {milliseconds(verdict.p90_ms)} or more, "
            "which is above it."
        )
    if abs(verdict.top1 - verdict.top1_torch) * verdict.test_pictures >= 1.5:
        told.append(
            f"The exported file and torch do not agree: {percent(verdict.top1)} and "
            f"{percent(verdict.top1_torch)} top-1."
        )
    return tuple(told)


def confidence(verdict: Verdict) -> str:
    """How far the accuracy can be trusted, from the size of the test split alone."""
    low, high = interval(verdict.top1, verdict.test_pictures)
    return (
        f"{percent(verdict.top1)} of {count(verdict.test_pictures)} pictures: with 95% confidence the accuracy "
        f"on pictures of this kind lies between {percent(low)} and {percent(high)}."
    )


def noise(verdict: Verdict) -> float:
    """The difference in top-1 that two equally good networks show by chance (95 %) on this test split."""
    low, high = interval(verdict.top1, verdict.test_pictures)
    return (high - low) / 2 * math.sqrt(2)


def prediction(points: Sequence[LatencyPoint]) -> str:
    """How wrong the sum of the table and the corrected prediction are."""
    raw = median(abs(point.table_ms / point.measured_ms - 1) for point in points)
    errors = [abs(point.predicted_ms / point.measured_ms - 1) for point in points]
    bias = median(point.table_ms / point.measured_ms - 1 for point in points)
    side = "low" if bias < 0 else "high"
    near, fair = (sum(error <= bound for error in errors) for bound in (0.05, 0.10))
    text = (
        f"{len(points)} whole networks were measured on the device. The sum of their operators is off by "
        f"{percent(raw)} (median; {percent(abs(bias))} too {side}); corrected, each by a fit that did not see it, "
        f"by {percent(median(errors))}, at worst by {percent(max(errors))}: {near} of {len(errors)} within 5%, "
        f"{fair} within 10%."
    )
    bounded = [point for point in points if point.low_ms is not None and point.high_ms is not None]
    if bounded:
        inside = sum(float(p.low_ms or 0) <= p.measured_ms <= float(p.high_ms or 0) for p in bounded)
        text += f" The interval expected for 9 of 10 held {inside} of {len(bounded)}."
    return text


def contest(scored: Sequence[ScoredFacts]) -> str:
    """Search against random search; says so where there is nothing to compare."""
    search = [one.score for one in scored if one.source == "search" and not one.stage]
    random = [one.score for one in scored if one.source == "random" and not one.stage]
    if not search or not random:
        return "Random search was not run beside the search."
    same = min(len(search), len(random))
    return (
        f"After the same {count(same)} architectures the best score is {percent(max(search[:same]))} by search and "
        f"{percent(max(random[:same]))} at random; in the end {percent(max(search))} of {count(len(search))} and "
        f"{percent(max(random))} of {count(len(random))}."
    )


def confusions(facts: ReportFacts, most: int = 6) -> tuple[str, ...]:
    """The commonest mistakes: which class is taken for which."""
    names = [name for name, _, _ in facts.per_class]
    mistakes = [
        (number, row, column)
        for row, numbers in enumerate(facts.confusion)
        for column, number in enumerate(numbers)
        if row != column and number
    ]
    mistakes.sort(key=lambda mistake: -mistake[0])
    return tuple(
        f"{names[row]} taken for {names[column]}: {count(number)} of {count(sum(facts.confusion[row]))}"
        for number, row, column in mistakes[:most]
    )


def _deviation(verdict: Verdict) -> str:
    off = verdict.predicted_ms / verdict.measured_ms - 1
    return f"{percent(abs(off))} too {'low' if off < 0 else 'high'}" if off else "exactly right"
