"""Search problems with a known best: made up, drawn from a seed, or read from a table of tried networks.

Scores are in points of accuracy. Each family has additive effects (of operators, of layers), interactions between
layers, saturation, and a part that no model can know; costs are random and mostly dearer for what is better.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyarrow import csv, parquet

import hurricane as hn
from hurricane.latency import Floats
from hurricane.search import Sampler
from hurricane.space import Archs


@dataclass(frozen=True)
class Tabulated:
    """A space, its costs, and the score of every architecture: (n, layers) -> (n,)."""

    name: str
    space: hn.SearchSpace
    table: hn.LatencyTable
    score: Callable[[Archs], Floats]
    point: float = 1.0
    """One point of accuracy: 1 where scores are percent, 0.01 where they are fractions."""

    def budget_ms(self, share: float) -> float:
        """The budget that about this share of the space keeps."""
        drawn = self.space.random(20_000, np.random.default_rng(5))
        return float(np.quantile(self.table.predict(self.space, drawn), share))

    def best_within(self, max_ms: float, min_ms: float = 0.0) -> float:
        """The best score within a budget: exact for small spaces, else by annealing from many starts."""
        sampler = Sampler(self.space, self.table.costs(self.space), max_ms, min_ms)
        if sampler.listed is not None:
            return float(self.score(sampler.listed).max())
        return max(_annealed(self, sampler, np.random.default_rng(seed)) for seed in range(3))


def space_of(counts: Sequence[int]) -> hn.SearchSpace:
    """A space of so many choices at each layer; its operators only lend their names."""
    names = ("skip", *(name for name in hn.OPERATORS))
    return hn.SearchSpace(
        layers=tuple(hn.LayerSpec(8, 8, 1, 8, names[:count]) for count in counts),
        image_size=8,
        classes=2,
        stem_channels=8,
        stem_stride=1,
        head_channels=8,
    )


def cell(seed: int) -> Tabulated:
    """6 edges of a cell with 5 operators (15,625): zero, skip, two convolutions, pooling; a cut cell is at chance."""
    rng = np.random.default_rng([seed, 1])
    space = space_of([5] * 6)
    order = np.stack([rng.permutation(5)] * 6)
    worth = np.array([0.0, 0.35, 0.85, 1.2, 0.1]) * rng.uniform(0.7, 1.3, 5)
    edge = rng.uniform(0.6, 1.3, 6)
    pairs = rng.normal(0, 0.12, (6, 6, 5, 5))
    noise = rng.normal(0, 0.25, (5,) * 6)
    scale = rng.uniform(3, 9)
    # Edges 0: 0-1, 1: 0-2, 2: 1-2, 3: 0-3, 4: 1-3, 5: 2-3; the paths from node 0 to node 3.
    paths = ((3,), (0, 4), (1, 5), (0, 2, 5))

    def score(archs: Archs) -> Floats:
        kind = np.stack([order[column][archs[:, column]] for column in range(6)], axis=1)
        value = worth[kind] * edge
        alive = kind != 0
        through = np.zeros(len(archs))
        depth = np.zeros(len(archs))
        for path in paths:
            whole = alive[:, path].all(axis=1)
            length = value[:, path].sum(axis=1) * whole
            through += whole * np.sqrt(length + 0.05)
            depth = np.maximum(depth, length)
        raw = through + 1.5 * depth
        for one in range(6):
            for two in range(one):
                raw = raw + pairs[one, two][kind[:, one], kind[:, two]] * 0.5
        grade = 94 - scale * np.exp(-(raw - 3) / 1.5) + noise[tuple(archs.T)]
        return np.where(through > 0, np.maximum(grade, 10), 10.0)

    base = np.array([0.0, 0.02, 0.5, 1.3, 0.25]) * rng.uniform(0.6, 1.4, 5)
    costs = [[float(base[order[la][c]] * rng.uniform(0.8, 1.2)) for c in range(5)] for la in range(6)]
    return Tabulated(f"cell {seed}", space, hn.LatencyTable.from_costs(space, costs, 1.0), score)


def widths(seed: int) -> Tabulated:
    """5 layers with 8 widths each (32,768): wider is better and dearer, the narrowest layer holds back."""
    rng = np.random.default_rng([seed, 2])
    space = space_of([8] * 5)
    weight = rng.uniform(0.3, 1.5, 5) * np.linspace(0.7, 1.4, 5)
    noise = rng.normal(0, 0.2, (8,) * 5)
    bottleneck = rng.uniform(0.2, 1.0)
    log_width = np.log2(np.arange(1, 9))

    def score(archs: Archs) -> Floats:
        wide = log_width[archs]
        raw = wide @ weight / weight.sum() + bottleneck * wide.min(axis=1) / 3
        drop = np.abs(np.diff(wide, axis=1)).sum(axis=1) * 0.05
        return 93 - 9 * np.exp(-raw) - drop + noise[tuple(archs.T)]

    slope = rng.uniform(0.5, 2.0, 5)
    costs = [(slope[la] * (np.arange(1, 9) + rng.uniform(0, 0.3, 8))).tolist() for la in range(5)]
    return Tabulated(f"widths {seed}", space, hn.LatencyTable.from_costs(space, costs, 1.0), score)


def layered(seed: int, layers: int, choices: int, scrambled: bool = False) -> Tabulated:
    """A chain of layers: operators and layers differ in worth, neighbours and some far pairs interact.

    scrambled : what is dear is not better, and an operator's worth at one layer says nothing of the others.
    """
    rng = np.random.default_rng([seed, layers, choices])
    space = space_of([choices] * layers)
    size = np.concatenate([[0.0], np.sort(rng.gamma(2, 0.5, choices - 1))])
    per_layer = np.exp(rng.normal(0, 0.5, layers)) * np.linspace(0.7, 1.3, layers)
    quality = 1.2 * np.sqrt(size) + rng.normal(0, 0.3, choices)
    effect = per_layer[:, None] * (quality + rng.normal(0, 0.35, (layers, choices)))
    if scrambled:
        size = size[np.stack([rng.permutation(choices) for _ in range(layers)])]
        effect[:] = rng.permuted(effect, axis=1)
    far = [(int(a), int(b)) for a, b in rng.integers(0, layers, (layers, 2)) if a != b]
    near = [(la, la + 1) for la in range(layers - 1)]
    pairs = [(a, b, rng.normal(0, 0.3, (choices, choices))) for a, b in near + far]
    triples = [(rng.choice(layers, 3, False), rng.normal(0, 0.3, (choices,) * 3)) for _ in range(layers)]
    curve, spread = rng.uniform(0.6, 1.4), rng.uniform(0.8, 2.0)

    def raw(archs: Archs) -> Floats:
        total = effect[np.arange(layers), archs].sum(axis=1)
        for a, b, worth in pairs:
            total = total + worth[archs[:, a], archs[:, b]]
        for (a, b, c), worth in triples:
            total = total + worth[archs[:, a], archs[:, b], archs[:, c]]
        return total

    probe = raw(space.random(4000, rng))
    mean, deviation = float(probe.mean()), float(probe.std())

    def score(archs: Archs) -> Floats:
        z = (raw(archs) - mean) / deviation
        return 74 - spread / curve * 2 * np.exp(-curve * z / 2)

    stage = np.exp(rng.normal(0, 0.4, layers))
    costs = (stage[:, None] * size * rng.uniform(0.7, 1.3, (layers, choices))).tolist()
    return Tabulated(
        f"{layers}x{choices} {seed}", space, hn.LatencyTable.from_costs(space, costs, 1.0), score
    )


def tabulated(path: Path) -> Tabulated:
    """A space whose every network was tried: CSV or parquet, a row each.

    Columns: one a layer, with the name (or number) of its choice; `score`, higher is better; and, where there is a
    budget, `ms`, of which the additive part is the cost. Scores that all lie from 0 to 1 are fractions.
    Raises ValueError where a combination is missing or double.
    """
    file = parquet.read_table(path) if path.suffix == ".parquet" else csv.read_csv(path)
    names = [name for name in file.column_names if name not in ("score", "ms")]
    values, archs = zip(
        *(np.unique(file[name].to_numpy(), return_inverse=True) for name in names), strict=True
    )
    counts, scores = [len(kinds) for kinds in values], np.asarray(file["score"].to_numpy(), dtype=np.float64)
    places = np.ravel_multi_index(archs, counts)
    if len(np.unique(places)) != len(places) or len(places) != np.prod(counts):
        raise ValueError(f"{path} has {len(places)} rows for {np.prod(counts)} combinations of {names}")
    grid = np.empty(len(scores))
    grid[places] = scores
    space = space_of(counts)
    costs = [np.zeros(count) for count in counts]
    if "ms" in file.column_names:
        hot = np.concatenate(
            [np.eye(count)[column] for count, column in zip(counts, archs, strict=True)], axis=1
        )
        fitted = np.linalg.lstsq(hot, np.asarray(file["ms"].to_numpy(), dtype=np.float64))[0]
        # The solver's last digits depend on the processor; a network that costs just the budget must fit it.
        costs = np.split(np.round(fitted, 9), np.cumsum(counts)[:-1])
    fixed = round(float(sum(layer.min() for layer in costs)), 9)
    table = hn.LatencyTable.from_costs(
        space, [np.round(layer - layer.min(), 9).tolist() for layer in costs], fixed
    )
    point = 0.01 if grid.min() >= 0.0 and grid.max() <= 1.0 else 1.0
    return Tabulated(
        path.stem, space, table, lambda asked: grid[np.ravel_multi_index(asked.T, counts)], point
    )


FAMILIES: dict[str, Callable[[int], Tabulated]] = {
    "cell 6x5": cell,
    "widths 5x8": widths,
    "macro 8x3": lambda seed: layered(seed, 8, 3),
    "chain 5x5": lambda seed: layered(seed, 5, 5),
    "chain 20x5": lambda seed: layered(seed, 20, 5),
    "chain 22x9": lambda seed: layered(seed, 22, 9),
    "scrambled 10x6": lambda seed: layered(seed, 10, 6, scrambled=True),
}


def _annealed(problem: Tabulated, sampler: Sampler, rng: np.random.Generator) -> float:
    """Annealing of 200 chains at once, changes of one or two genes, always within the budget."""
    counts = np.asarray(problem.space.counts)
    archs = sampler.draw(200, rng)
    scores = problem.score(archs)
    best, rows = float(scores.max()), np.arange(len(archs))
    for step in range(3000):
        children = archs.copy()
        for _ in range(1 + step % 2):
            column = rng.integers(0, archs.shape[1], len(archs))
            children[rows, column] = rng.integers(0, counts[column])
        found = problem.score(children)
        warm = 0.5 * (1 - step / 3000) ** 2 + 1e-6
        better = (found - scores > warm * np.log(rng.random(len(archs)))) & sampler.within(children)
        archs[better], scores[better] = children[better], found[better]
        best = max(best, float(scores.max()))
    return best
