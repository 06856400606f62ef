"""Search problems for judging only: no default of the search was chosen on any of these.

They are built otherwise than those of `search_problems.py`, after what tables of really trained networks are like:
training noise that is larger for worse networks, scores rounded to whole pictures, ties, broken networks at chance,
saturation at the top, percent or fractions, latency that follows accuracy or does not, no latency at all.
"""

from collections.abc import Callable

import numpy as np

import hurricane as hn
from benchmarks.search_problems import Tabulated, space_of
from hurricane.latency import Floats
from hurricane.space import Archs


def graph_cell(seed: int) -> Tabulated:
    """A cell of 4 nodes and 6 edges (15,625): none, skip, 1x1, 3x3, pool; signals flow along a graph.

    Depth, breadth, receptive field and a short way for the gradient make the score. Equal graphs are equal but for
    training noise; a cell without a way through is at chance, one without a convolution far below.
    """
    rng = np.random.default_rng([seed, 11])
    space = space_of([5] * 6)
    order = rng.permutation(5)
    kind_of = np.stack([order] * 6)
    top, chance, stretch = ((94.5, 10.0, 4.0), (73.5, 1.0, 14.0), (46.5, 0.8, 15.0))[seed % 3]
    power = np.array([0.0, 0.0, 0.6, 1.0, 0.0]) * rng.uniform(0.8, 1.2, 5)
    field = np.array([0.0, 0.0, 0.0, 1.0, 0.7])
    blur = rng.uniform(0.1, 0.5)
    taste = rng.uniform(0.3, 0.8, 3)
    noise = rng.standard_normal((5,) * 6) * rng.uniform(0.15, 0.35) * (1.0 if seed % 3 == 0 else 1.6)
    ways = ((3,), (0, 4), (1, 5), (0, 2, 5))

    def score(archs: Archs) -> Floats:
        kind = np.take_along_axis(kind_of.T, archs, axis=0)
        alive, strength = kind != 0, power[kind]
        depth, broad, seen = (np.zeros(len(archs)) for _ in range(3))
        short, through = (np.zeros(len(archs), dtype=bool) for _ in range(2))
        for way in map(list, ways):
            whole = alive[:, way].all(axis=1)
            along = strength[:, way].sum(axis=1) * whole
            lost = blur * ((kind[:, way] == 4).sum(axis=1) * whole)
            depth = np.maximum(depth, along - lost)
            broad += np.log1p(np.maximum(along - lost, 0))
            seen = np.maximum(seen, field[kind[:, way]].sum(axis=1) * whole)
            short |= whole & (along <= 0.1) & (lost == 0)
            through |= whole
        raw = 1.2 * depth + taste[0] * broad + taste[1] * np.sqrt(seen) + taste[2] * short * (depth > 0.5)
        miss = stretch * np.exp(-0.55 * raw) * 2.2
        grade = top - miss + noise[tuple(archs.T)] * (0.7 + miss / stretch)
        grade = np.where(depth > 0, grade, chance + (grade - chance) * 0.5)
        return np.where(through, np.maximum(np.round(grade, 2), chance), chance)

    base = np.array([0.0, 0.05, 0.6, 1.5, 0.5]) * rng.uniform(0.7, 1.3, 5)
    costs = (base[kind_of] * rng.uniform(0.9, 1.1, (6, 1))).tolist()
    return Tabulated(f"graph cell {seed}", space, hn.LatencyTable.from_costs(space, costs, 2.0), score)


def sizes(seed: int) -> Tabulated:
    """5 layers of 8 widths (32,768): MACs and parameters of pairs of layers make the score, less what is lopsided."""
    rng = np.random.default_rng([seed, 12])
    space = space_of([8] * 5)
    width = np.arange(1, 9) * 8.0
    resolution = np.array([32, 32, 16, 16, 8]) ** 2.0
    weight = rng.uniform(0.5, 1.5, 6)
    top, stretch = ((93.5, 5.0), (71.0, 13.0), (46.0, 11.0))[seed % 3]
    noise = rng.standard_normal((8,) * 5) * rng.uniform(0.15, 0.45)

    def score(archs: Archs) -> Floats:
        wide = np.concatenate(
            [np.full((len(archs), 1), 16.0), width[archs], np.full((len(archs), 1), 64.0)], 1
        )
        pairs = np.log(wide[:, :-1] * wide[:, 1:])
        raw = (pairs * weight).sum(axis=1) / weight.sum() - 4.0
        lopsided = np.maximum(np.log(wide[:, 1:5] / wide[:, 2:6]), 0).sum(axis=1)
        return top - stretch * np.exp(-0.8 * raw) - 0.25 * lopsided * stretch / 5 + noise[tuple(archs.T)]

    slope = resolution / 256 * rng.uniform(0.7, 1.3, 5)
    costs = [(rate * (width / 8) ** rng.uniform(0.9, 1.3)).tolist() for rate in slope]
    return Tabulated(f"sizes {seed}", space, hn.LatencyTable.from_costs(space, costs, 3.0), score)


def macro(seed: int) -> Tabulated:
    """8 layers of nothing, a small and a large block (6,561): depth counts most, late layers saturate; little noise."""
    rng = np.random.default_rng([seed, 13])
    space = space_of([3] * 8)
    strength = np.array([0.0, 1.0, 1.35]) * rng.uniform(0.9, 1.1, 3)
    stage = np.array([0, 0, 1, 1, 1, 2, 2, 2])
    curve, share = rng.uniform(0.3, 0.7, 3), rng.uniform(0.7, 1.3, 3)
    swap = rng.normal(0, 0.15, (7, 3, 3))
    noise = rng.standard_normal((3,) * 8) * rng.uniform(0.08, 0.2)

    def score(archs: Archs) -> Floats:
        each = strength[archs]
        raw = sum(
            share[part] * (1 - np.exp(-curve[part] * each[:, stage == part].sum(axis=1))) for part in range(3)
        )
        raw = raw + sum(swap[la][archs[:, la], archs[:, la + 1]] for la in range(7)) * 0.1
        return 94.0 - 16.0 * np.exp(-1.1 * raw) + noise[tuple(archs.T)]

    grade = np.array([1.6, 1.2, 1.0])[stage]
    costs = (np.array([0.05, 0.6, 1.2]) * grade[:, None] * rng.uniform(0.85, 1.15, (8, 3))).tolist()
    return Tabulated(
        f"nothing or block 8x3 {seed}", space, hn.LatencyTable.from_costs(space, costs, 1.0), score
    )


def learned(seed: int) -> Tabulated:
    """22 layers of 9 operators, scores as fractions from a random network of kernels and expansions at each layer."""
    rng = np.random.default_rng([seed, 14])
    space = space_of([9] * 22)
    kernel, expansion = np.array([0, 3, 3, 3, 5, 5, 5, 7, 7.0]), np.array([0, 1, 3, 6, 1, 3, 6, 3, 6.0])
    facts = np.stack([kernel / 7, np.sqrt(expansion / 6), kernel == 0], axis=1)
    facts = (facts[None] + rng.normal(0, 0.12, (22, 9, 3))) * np.linspace(0.6, 1.4, 22)[:, None, None]
    inner, outer = rng.normal(0, 1, (66, 48)) / np.sqrt(22), rng.normal(0, 1, 48) / np.sqrt(48)
    ahead = np.tile([0.25, 0.6, -0.3], 22) * np.repeat(rng.uniform(0.5, 1.5, 22), 3)
    shift = rng.normal(0, 0.5, 48)

    def raw(archs: Archs) -> Floats:
        rows = facts[np.arange(22), archs].reshape(len(archs), 66)
        total: Floats = rows @ ahead / 3 + np.maximum((rows - 0.5) @ inner * 2 + shift, 0) @ outer
        return total

    probe = raw(space.random(4000, rng))
    mean, deviation = float(probe.mean()), float(probe.std())

    def score(archs: Archs) -> Floats:
        return 0.76 - 0.02 * np.exp(-0.5 * (raw(archs) - mean) / deviation)

    size = 0.1 + np.sqrt(expansion) * (1 + kernel / 10)
    size[0] = 0.0
    costs = (size * np.exp(rng.normal(0, 0.4, (22, 1))) * rng.uniform(0.9, 1.1, (22, 9))).tolist()
    table = hn.LatencyTable.from_costs(space, costs, 2.0)
    return Tabulated(f"learned 22x9 {seed}", space, table, score, 0.01)


def mobile(seed: int) -> Tabulated:
    """6 layers of 5 operators (15,625), trained briefly: noise of 0.2 to 0.5 points, scores in whole pictures of 1,000.

    Half of the seeds as fractions.
    """
    rng = np.random.default_rng([seed, 15])
    space = space_of([5] * 6)
    kernel, expansion = np.array([0, 3, 5, 3, 5.0]), np.array([0, 3, 3, 6, 6.0])
    matters = rng.gamma(3, 0.3, 6)
    prefers = np.linspace(-0.15, 0.25, 6) + rng.normal(0, 0.1, 6)
    noise = rng.standard_normal((5,) * 6) * rng.uniform(0.2, 0.5)
    odd = rng.normal(0, 0.15, (6, 5))

    def score(archs: Archs) -> Floats:
        gain = np.sqrt(expansion[archs] / 6) + prefers * (kernel[archs] - 3) * 0.5 * (expansion[archs] > 0)
        each = matters * (gain + odd[np.arange(6), archs])
        field = np.minimum(kernel[archs].sum(axis=1) / 18, 1.0)
        skips = (archs == 0).sum(axis=1)
        raw = each.sum(axis=1) + 0.8 * field - 0.15 * np.maximum(skips - 2, 0) ** 2
        return np.round(72 - 22 * np.exp(-0.45 * raw) + noise[tuple(archs.T)], 1) * (0.01 if seed % 2 else 1)

    size = np.where(kernel > 0, expansion * (1 + kernel / 8), 0.3)
    costs = (size * np.exp(rng.normal(0, 0.4, (6, 1))) * rng.uniform(0.85, 1.15, (6, 5))).tolist()
    table = hn.LatencyTable.from_costs(space, costs, 1.0)
    return Tabulated(f"mobile 6x5 {seed}", space, table, score, 0.01 if seed % 2 else 1.0)


def trees(seed: int) -> Tabulated:
    """7 layers of 4 operators (16,384), fractions: a sum of random decision trees, noise; costs tell nothing."""
    rng = np.random.default_rng([seed, 16])
    space = space_of([4] * 7)
    forest = []
    for _ in range(30):
        layers = rng.choice(7, 3, replace=False)
        sets = rng.random((3, 4)) < 0.5
        forest.append((layers, sets, rng.normal(0, 1, (2, 2, 2))))
    noise = rng.standard_normal((4,) * 7) * rng.uniform(0.001, 0.003)

    def score(archs: Archs) -> Floats:
        raw = np.zeros(len(archs))
        for layers, sets, leaf in forest:
            raw += leaf[tuple(sets[i][archs[:, la]].astype(int) for i, la in enumerate(layers))]
        return np.maximum(0.9 - 0.03 * np.exp(-raw / 5.5) + noise[tuple(archs.T)], 0.1)

    costs = rng.uniform(0.2, 2.0, (7, 4)).tolist()
    table = hn.LatencyTable.from_costs(space, costs, 1.0)
    return Tabulated(f"trees 7x4 {seed}", space, table, score, 0.01)


def saturated(seed: int) -> Tabulated:
    """10 layers of 3 operators (59,049): most come near the top, scores rounded to 0.05, some trainings fail."""
    rng = np.random.default_rng([seed, 17])
    space = space_of([3] * 10)
    effect = rng.gamma(1.5, 0.5, (10, 1)) * np.sort(rng.uniform(0, 1, (10, 3)), axis=1)
    fatal = [(rng.choice(10, 2, False), rng.integers(0, 3, 2)) for _ in range(2)]
    noise = rng.standard_normal((3,) * 10) * rng.uniform(0.1, 0.3)

    def score(archs: Archs) -> Floats:
        raw = effect[np.arange(10), archs].sum(axis=1)
        grade = np.minimum(98.5 - 12 * np.exp(-0.9 * raw) + noise[tuple(archs.T)], 99.2)
        for layers, choices in fatal:
            grade = np.where((archs[:, layers] == choices).all(axis=1), 10.0, grade)
        return np.round(grade * 20) / 20

    costs = (
        np.array([0.2, 0.6, 1.1]) * np.exp(rng.normal(0, 0.3, (10, 1))) * rng.uniform(0.9, 1.1, (10, 3))
    ).tolist()
    return Tabulated(f"saturated 10x3 {seed}", space, hn.LatencyTable.from_costs(space, costs, 1.0), score)


HELD_OUT: dict[str, Callable[[int], Tabulated]] = {
    "graph cell 6x5": graph_cell,
    "sizes 5x8": sizes,
    "blocks 8x3": macro,
    "learned 22x9": learned,
    "mobile 6x5": mobile,
    "trees 7x4": trees,
    "saturated 10x3": saturated,
}
