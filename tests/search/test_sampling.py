import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hurricane as hn
from hurricane.errors import HurricaneError
from hurricane.search import Sampler, counting, sampling, share_within
from hurricane.space import Archs

NAMES = ("skip", *hn.OPERATORS)


def space_of(counts: list[int]) -> hn.SearchSpace:
    layers = tuple(hn.LayerSpec(8, 8, 1, 8, NAMES[:count]) for count in counts)
    return hn.SearchSpace(layers, image_size=8, classes=2, stem_channels=8, stem_stride=1, head_channels=8)


def table_of(space: hn.SearchSpace, costs: list[list[float]], fixed: float = 0.0) -> hn.LatencyTable:
    return hn.LatencyTable.from_costs(space, costs, fixed)


def random_table(space: hn.SearchSpace, seed: int) -> hn.LatencyTable:
    rng = np.random.default_rng(seed)
    return table_of(space, [rng.gamma(2, 0.1, count).tolist() for count in space.counts], 0.3)


def everything(space: hn.SearchSpace) -> Archs:
    return np.array(list(itertools.product(*(range(count) for count in space.counts))))


def unlisted(monkeypatch: pytest.MonkeyPatch, coarse: bool = True) -> None:
    """Draw by counting even where few fit, on the coarse grid or on the exact one."""
    monkeypatch.setattr(sampling, "LISTED", 1)
    if coarse:
        monkeypatch.setattr(counting, "MOST_TOTALS", 0)


def assert_uniform(drawn: Archs, fitting: Archs) -> None:
    """Chi-square against the same probability for each, five standard deviations either way."""
    keys = {tuple(arch): number for number, arch in enumerate(fitting.tolist())}
    counts = np.bincount([keys[tuple(arch)] for arch in drawn.tolist()], minlength=len(keys))
    expected = len(drawn) / len(keys)
    chi = float(((counts - expected) ** 2 / expected).sum())
    freedom = len(keys) - 1
    assert abs(chi - freedom) < 5 * math.sqrt(2 * freedom), (chi, freedom)


@pytest.mark.parametrize("way", ["listed", "coarse", "exact"])
@pytest.mark.parametrize("window", [False, True])
def test_the_draw_is_uniform_over_exactly_what_fits(
    way: str, window: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way != "listed":
        unlisted(monkeypatch, coarse=way == "coarse")
    space = space_of([4, 3, 5, 4, 2])
    table = random_table(space, 3)
    archs = everything(space)
    cost = table.predict(space, archs)
    highest = float(np.quantile(cost, 0.4))
    lowest = 0.93 * highest if window else 0.0
    fitting = archs[(cost <= highest) & (cost >= lowest)]
    assert 20 < len(fitting) < len(archs)
    drawn = hn.sample(space, 400 * len(fitting), seed=1, cost=table, max_ms=highest, min_ms=lowest)
    assert drawn.dtype == np.int64
    assert_uniform(drawn, fitting)


def test_without_a_budget_the_draw_is_uniform_over_the_space() -> None:
    space = space_of([3, 2, 4])
    for drawn in (
        hn.sample(space, 10_000, seed=2),
        hn.sample(space, 10_000, seed=2, cost=random_table(space, 1), max_ms=math.inf),
    ):
        assert_uniform(drawn, everything(space))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_draw_fits_and_all_that_fits_is_reached(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    value = st.one_of(
        st.sampled_from([0.0, 0.1, 0.2, 0.3, 1 / 3, 0.7]), st.floats(0, 1e3), st.floats(0, 1e-6)
    )
    costs = [data.draw(st.lists(value, min_size=count, max_size=count)) for count in counts]
    space = space_of(counts)
    table = table_of(space, costs, data.draw(value))
    archs = everything(space)
    cost = table.predict(space, archs)
    # Budgets at the very cost of an architecture are where rounding would show.
    edge = st.one_of(st.sampled_from(cost.tolist()), st.floats(0, 5))
    highest, lowest = data.draw(edge), data.draw(st.one_of(st.just(0.0), edge))
    fitting = {tuple(arch) for arch in archs[(cost <= highest) & (cost >= lowest)].tolist()}
    if data.draw(st.booleans()):
        with pytest.MonkeyPatch.context() as patch:
            unlisted(patch, coarse=data.draw(st.booleans()))
            reached = drawn_set(space, table, highest, lowest)
    else:
        reached = drawn_set(space, table, highest, lowest)
    assert reached == fitting


def drawn_set(
    space: hn.SearchSpace, table: hn.LatencyTable, highest: float, lowest: float
) -> set[tuple[int, ...]]:
    try:
        drawn = hn.sample(space, 20_000, seed=0, cost=table, max_ms=highest, min_ms=lowest)
    except hn.InfeasibleBudget:
        return set()
    return {tuple(arch) for arch in drawn.tolist()}


@pytest.mark.parametrize("excess", [1 / 3 + 1e-6, 1 / 3 + 1e-9, 1 / 3, 0.2 + 1e-7, 1.0, 1 + 1e-9])
def test_costs_just_beside_a_fraction_of_the_budget_are_told_apart(excess: float) -> None:
    # 40 layers of one cheap and 31 equally dear choices: how many dear ones fit is all that counts.
    space = space_of([32] * 40)
    table = table_of(space, [[0.0] + [excess] * 31] * 40, 1.0)
    sampler = Sampler(space, table.costs(space), 2.0)
    drawn = sampler.draw(2000, np.random.default_rng(0))
    most = max(k for k in range(6) if 1.0 + k * excess <= 2.0 * (1 + 1e-15))
    exact = sum(math.comb(40, k) * 31**k for k in range(most + 1))
    assert (table.predict(space, drawn) <= 2.0).all()
    assert ((drawn > 0).sum(axis=1) <= most).all()
    assert sampler.count == pytest.approx(exact, rel=0.05)


def test_the_budget_of_the_cheapest_architecture_is_met() -> None:
    space = space_of([4] * 11)
    rng = np.random.default_rng(1)
    for _ in range(20):
        table = table_of(space, rng.random((11, 4)).tolist(), float(rng.random()))
        cheapest = np.array([[int(layer.argmin()) for layer in table.costs(space).layers]])
        budget = float(table.predict(space, cheapest)[0])
        assert (hn.sample(space, 3, cost=table, max_ms=budget) == cheapest).all()
        with pytest.raises(hn.InfeasibleBudget) as caught:
            hn.sample(space, 3, cost=table, max_ms=math.nextafter(budget, 0.0))
        assert caught.value.cheapest_ms == budget


def test_a_budget_just_below_the_cheapest_is_told_apart_from_it() -> None:
    space = space_of([2, 3])
    table = table_of(space, [[0.1, 0.2], [0.2, 0.3, 0.4]], 0.7)
    with pytest.raises(hn.InfeasibleBudget, match=r"budget of 0\.99999999 ms: the cheapest costs 1 ms"):
        hn.sample(space, 1, cost=table, max_ms=0.99999999)


def test_an_empty_window_is_an_error_that_says_so() -> None:
    space = space_of([3] * 30)
    table = table_of(space, [[1.0, 2.0, 3.0]] * 30)
    for lowest, highest in ((40.2, 40.8), (41.0, 40.0), (90.5, 99.0)):
        with pytest.raises(hn.InfeasibleBudget, match="between"):
            hn.sample(space, 1, cost=table, max_ms=highest, min_ms=lowest)


def test_a_window_without_width_is_met_where_costs_repeat() -> None:
    space = space_of([3] * 30)
    table = table_of(space, [[1.0, 2.0, 3.0]] * 30)
    drawn = hn.sample(space, 500, cost=table, max_ms=55.0, min_ms=55.0)
    assert (table.predict(space, drawn) == 55.0).all()
    assert len(np.unique(drawn, axis=0)) == 500


def test_a_narrow_window_in_a_large_space_is_met() -> None:
    space = space_of([32] * 20)
    table = random_table(space, 7)
    middle = float(np.median(table.predict(space, space.random(2000, np.random.default_rng(0)))))
    drawn = hn.sample(space, 200, cost=table, max_ms=middle, min_ms=middle * (1 - 1e-4))
    cost = table.predict(space, drawn)
    assert ((cost <= middle) & (cost >= middle * (1 - 1e-4))).all()


def test_the_share_is_right_whether_large_or_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    space = space_of([5] * 6)
    table = random_table(space, 5)
    cost = table.predict(space, everything(space))
    unlisted(monkeypatch)
    for quantile in (0.002, 0.05, 0.5, 1.0):
        budget = float(np.quantile(cost, quantile))
        assert share_within(space, table, budget) == pytest.approx(float((cost <= budget).mean()), rel=0.04)
    # Of 100 layers of 32 choices, one cheap each, at most one may be dear.
    large = space_of([32] * 100)
    costs = table_of(large, [[0.0] + [1.0] * 31] * 100)
    assert share_within(large, costs, 1.5) == pytest.approx(3101 / 32.0**100, rel=1e-6)
    assert share_within(large, costs, 100.0) == pytest.approx(1.0)
    assert share_within(large, table_of(large, [[1.0] * 32] * 100), 99.0) == 0.0


def test_a_tiny_share_agrees_with_its_parts() -> None:
    # Two halves with separate budgets of their own: 1e-12 of the space, known by listing one half.
    half = space_of([10] * 5)
    rng = np.random.default_rng(3)
    steps = rng.random((5, 10))
    steps[:, 0] = 0.0
    cost = table_of(half, steps.tolist()).predict(half, everything(half))
    budget = float(np.quantile(cost, 3e-4))
    fitting = float((cost <= budget).sum())
    whole = space_of([10] * 15)
    # A dear choice in the other layers never fits, so only the listed half is free.
    dear = [[0.0] + [9.0] * 9] * 10
    share = share_within(whole, table_of(whole, dear[:5] + steps.tolist() + dear[5:]), budget)
    assert share == pytest.approx(fitting / 1e15, rel=0.03)


def test_equal_seeds_give_equal_draws_and_other_seeds_others() -> None:
    space = space_of([8] * 12)
    table = random_table(space, 2)
    budget = float(np.quantile(table.predict(space, space.random(1000, np.random.default_rng(0))), 0.1))
    one, same, other = (hn.sample(space, 50, seed=s, cost=table, max_ms=budget) for s in (4, 4, 5))
    assert (one == same).all()
    assert (one != other).any()


def test_a_budget_that_is_no_number_is_an_error() -> None:
    space = space_of([3, 3])
    with pytest.raises(HurricaneError, match="no number"):
        hn.sample(space, 1, cost=random_table(space, 0), max_ms=math.nan)


def test_an_infinite_budget_still_has_a_lower_bound() -> None:
    space = space_of([5] * 4)
    table = random_table(space, 9)
    archs = everything(space)
    cost = table.predict(space, archs)
    lowest = float(np.quantile(cost, 0.9))
    for highest in (None, math.inf):
        drawn = hn.sample(space, 20_000, cost=table, max_ms=highest, min_ms=lowest)
        assert_uniform(drawn, archs[cost >= lowest])


@pytest.mark.parametrize("bounds", [{"max_ms": 3.0}, {"min_ms": 1.0}])
def test_bounds_without_costs_are_an_error(bounds: dict[str, float]) -> None:
    with pytest.raises(HurricaneError, match="nothing that prices"):
        hn.sample(hn.preset("tiny", 8, 2), 3, **bounds)
