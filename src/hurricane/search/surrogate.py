"""A surrogate of the score: a Gaussian process over architectures, learned from what was scored.

Two choices of a layer are apart by being different and by how far their costs lie apart; a layer's scale says how much
it matters. From these distances come an additive part (each layer on its own) and a product part (interactions).
Beside them stand a part that an operator's name has in common over all layers, and one of the whole cost. All scales,
the parts' weights and the noise maximise the marginal likelihood under weak priors, so what does not help fades out.
"""

from dataclasses import dataclass

import numpy as np

from hurricane.latency import AdditiveCosts, Floats
from hurricane.space import Archs, SearchSpace

# Architectures that the scales, and that predictions, are learned from at most: cubic time in both.
MOST_TUNED = 250
MOST_LEARNED = 1000
STEPS, RATE = 30, 0.1
# Distance of two architectures without a common choice before anything was learned.
WHOLE_DISTANCE = 3.0
# Spread of the priors of the logarithms: layers' scales, then weights, noise and mixture.
LAYER_SPREAD, OTHER_SPREAD = 0.6, 1.0
# Weights of the parts (additive, product, names, cost), the noise and the logit of the mixture before any data.
WEIGHTS, NOISE, MIXTURE = (0.5, 0.5, 0.3, 0.3), 0.05, 0.5
JITTER = 1e-6


class Features:
    """What the process knows of a space: for each layer how far choices are apart, their names and their costs."""

    def __init__(self, space: SearchSpace, costs: AdditiveCosts | None) -> None:
        counts = np.array(space.counts)
        self.starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        """Column of each layer's first choice in one-hot rows."""
        self.width = int(counts.sum())
        self.layers = len(counts)
        self.differ = [1.0 - np.eye(count) for count in counts]
        """Per layer (choices, choices): 1 where two choices differ."""
        layers = [np.zeros(count) for count in counts] if costs is None else costs.layers
        self.apart = [_cost_distance(layer) for layer in layers]
        """Per layer (choices, choices): 0 to 1 by cost, half by its value and half by its rank."""
        self.cost = np.concatenate(layers)
        names = sorted({name for layer in space.layers for name in layer.choices})
        self.names = np.zeros((self.width, len(names)))
        rows = [names.index(name) for layer in space.layers for name in layer.choices]
        self.names[np.arange(self.width), rows] = 1.0 / np.sqrt(self.layers)

    def one_hot(self, archs: Archs) -> Floats:
        """(n, layers) -> (n, all choices) of zeros and ones."""
        rows = np.zeros((len(archs), self.width))
        np.put_along_axis(rows, archs + self.starts, 1.0, axis=1)
        return rows

    def distances(self, archs: Archs, scales: Floats, mixture: float) -> Floats:
        """Scaled distances of every choice from those of each architecture: (n, all choices)."""
        parts = [
            scale * (mixture * differ + (1.0 - mixture) * apart)[archs[:, layer]]
            for layer, (scale, differ, apart) in enumerate(zip(scales, self.differ, self.apart, strict=True))
        ]
        return np.concatenate(parts, axis=1)


def _cost_distance(costs: Floats) -> Floats:
    span = float(np.ptp(costs))
    if span == 0.0:
        return 1.0 - np.eye(len(costs))
    ranks = np.unique(costs, return_inverse=True)[1]
    place = 0.5 * (costs - costs.min()) / span + 0.5 * ranks / ranks.max()
    distance: Floats = np.abs(place[:, None] - place[None, :])
    return distance


@dataclass(frozen=True)
class Scales:
    """Hyperparameters as one vector: logarithms of a scale a layer, four weights and noise, and a logit (mixture)."""

    logs: Floats

    @staticmethod
    def prior(layers: int) -> "Scales":
        """Where learning starts, and what it is drawn back to."""
        each = np.full(layers, np.log(WHOLE_DISTANCE / layers))
        return Scales(np.concatenate([each, np.log(WEIGHTS), [np.log(NOISE), MIXTURE]]))

    @property
    def layers(self) -> Floats:
        """Scale of each layer's distances."""
        return np.exp(self.logs[:-6])

    @property
    def weights(self) -> Floats:
        """Weights of the additive, product, name and cost parts: variances."""
        return np.exp(self.logs[-6:-2])

    @property
    def noise(self) -> float:
        """Variance of what no part explains."""
        return float(np.exp(self.logs[-2]))

    @property
    def mixture(self) -> float:
        """How much of a distance is being different; the rest is the difference in cost. 0 to 1."""
        return float(1.0 / (1.0 + np.exp(-self.logs[-1])))


@dataclass(frozen=True)
class Surrogate:
    """A fitted process. Means and deviations are in units of `unit` above `origin`; scores far below are clipped.

    hot, distant : the learned architectures as one-hot rows and as distances of all choices from them.
    inverse : inverse of their covariance with noise; target : their scores in these units; alpha : both multiplied.
    """

    features: Features
    scales: Scales
    hot: Floats
    distant: Floats
    inverse: Floats
    target: Floats
    alpha: Floats
    origin: float
    unit: float
    cost_origin: float
    cost_unit: float

    def scaled(self, score: float) -> float:
        """A score in the units of the predictions."""
        return (score - self.origin) / self.unit

    def predict(self, archs: Archs) -> tuple[Floats, Floats]:
        """(n, layers) -> mean (n,) and standard deviation (n,) without noise."""
        hot = self.features.one_hot(archs)
        cross = self._covariance(hot, self.hot, self.distant)
        additive, product, _, cost = self.scales.weights
        named = ((hot @ self.features.names) ** 2).sum(axis=1) * self.scales.weights[2]
        known = np.einsum("ij,ij->i", cross @ self.inverse, cross)
        variance = additive + product + cost + named - known
        return cross @ self.alpha, np.sqrt(np.maximum(variance, 1e-9))

    def joint(self, archs: Archs) -> tuple[Floats, Floats]:
        """(n, layers) -> mean (n,) and covariance (n, n) without noise."""
        hot = self.features.one_hot(archs)
        cross = self._covariance(hot, self.hot, self.distant)
        distant = self.features.distances(archs, self.scales.layers, self.scales.mixture)
        return cross @ self.alpha, self._covariance(hot, hot, distant) - cross @ self.inverse @ cross.T

    def _covariance(self, hot: Floats, other: Floats, distant: Floats) -> Floats:
        cost, cost_other = (
            (rows @ self.features.cost - self.cost_origin) / self.cost_unit for rows in (hot, other)
        )
        names = (hot @ self.features.names) @ (other @ self.features.names).T
        parts = _parts(hot @ distant.T, self.scales.layers.sum(), names, cost, cost_other)
        return _weighted(self.scales.weights, parts)


def _parts(
    distance: Floats, whole: float, names: Floats, cost: Floats, other: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Covariance of each part: additive, product, names, cost (a width of two standard deviations)."""
    near = cost[:, None] - other[None, :]
    np.exp(-0.125 * near * near, out=near)
    return 1.0 - distance / whole, np.exp(-distance), names, near


def _weighted(weights: Floats, parts: tuple[Floats, ...]) -> Floats:
    total: Floats = weights[0] * parts[0]
    for weight, part in zip(weights[1:], parts[1:], strict=True):
        total += weight * part
    return total


def fit(features: Features, archs: Archs, scores: Floats, scales: Scales, tuned: bool) -> Surrogate:
    """The surrogate of these scores. scales : where to start; tuned : whether to improve them first."""
    # Scores far below the rest are all equally bad: how bad must not bend the fit.
    middle = float(np.median(scores))
    # 1.4826 times the median distance from the median is the deviation of normal scores; 0 where most are equal.
    typical = 1.4826 * float(np.median(np.abs(scores - middle))) or float(scores.std())
    scores = np.maximum(scores, middle - 3 * typical)
    if len(archs) > MOST_LEARNED:
        kept = _best_and_spread(scores, MOST_LEARNED)
        archs, scores = archs[kept], scores[kept]
    origin, unit = float(scores.mean()), float(scores.std()) or 1.0
    target = (scores - origin) / unit
    hot = features.one_hot(archs)
    cost = hot @ features.cost
    cost_origin, cost_unit = float(cost.mean()), float(cost.std()) or 1.0
    if tuned:
        kept = _best_and_spread(target, MOST_TUNED)
        scales = _tuned(features, archs[kept], target[kept], ((cost - cost_origin) / cost_unit)[kept], scales)
    distant = features.distances(archs, scales.layers, scales.mixture)
    empty = np.empty((0, 0))
    blank = Surrogate(
        features, scales, hot, distant, empty, target, empty, origin, unit, cost_origin, cost_unit
    )
    covariance = blank._covariance(hot, hot, distant) + (scales.noise + JITTER) * np.eye(len(hot))
    inverse = np.linalg.inv(covariance).astype(np.float64, copy=False)
    alpha: Floats = inverse @ target
    return Surrogate(
        features, scales, hot, distant, inverse, target, alpha, origin, unit, cost_origin, cost_unit
    )


def _best_and_spread(scores: Floats, most: int) -> Archs:
    """Rows to learn from: half the best, half evenly from the rest in order of scoring."""
    if len(scores) <= most:
        return np.arange(len(scores))
    order = np.argsort(-scores, kind="stable")
    rest = np.sort(order[most // 2 :])
    evenly = rest[np.linspace(0, len(rest) - 1, most - most // 2).astype(np.int64)]
    return np.sort(np.concatenate([order[: most // 2], evenly]))


def _tuned(features: Features, archs: Archs, target: Floats, cost: Floats, start: Scales) -> Scales:
    """Scales of higher marginal likelihood: some steps of Adam on the logarithms, by the exact gradient."""
    differ = np.stack([table[np.ix_(c, c)] for table, c in zip(features.differ, archs.T, strict=True)])
    apart = np.stack([table[np.ix_(c, c)] for table, c in zip(features.apart, archs.T, strict=True)])
    named = features.one_hot(archs) @ features.names
    names, prior = named @ named.T, Scales.prior(features.layers).logs
    spread = np.full(len(prior), OTHER_SPREAD)
    spread[:-6] = LAYER_SPREAD
    logs, first, second = start.logs, np.zeros(len(prior)), np.zeros(len(prior))
    for step in range(1, STEPS + 1):
        slope = _gradient(Scales(logs), target, differ, apart, names, cost) - (logs - prior) / spread**2
        first, second = 0.8 * first + 0.2 * slope, 0.95 * second + 0.05 * slope**2
        logs = logs + RATE * (first / (1 - 0.8**step)) / (np.sqrt(second / (1 - 0.95**step)) + 1e-8)
    return Scales(logs)


def _gradient(
    scales: Scales, target: Floats, differ: Floats, apart: Floats, names: Floats, cost: Floats
) -> Floats:
    """Derivative of the log marginal likelihood by the logarithms of `Scales`."""
    layers, weights, whole = scales.layers, scales.weights, scales.layers.sum()
    each = scales.mixture * differ + (1.0 - scales.mixture) * apart
    distance = np.tensordot(layers, each, 1)
    parts = _parts(distance, whole, names, cost, cost)
    covariance = _weighted(weights, parts)
    inverse = np.linalg.inv(covariance + (scales.noise + JITTER) * np.eye(len(target)))
    alpha = inverse @ target
    by_covariance = 0.5 * (np.outer(alpha, alpha) - inverse)
    by_distance = by_covariance * (-weights[0] / whole - weights[1] * parts[1])
    by_layers = np.tensordot(each, by_distance, 2) + weights[0] * (by_covariance * distance).sum() / whole**2
    by_weights = [float((by_covariance * part).sum()) for part in parts]
    mixed = np.tensordot(layers, differ - apart, 1)
    by_mixture = scales.mixture * (1.0 - scales.mixture) * float((by_distance * mixed).sum())
    by_noise = scales.noise * float(np.trace(by_covariance))
    return np.concatenate([layers * by_layers, weights * by_weights, [by_noise, by_mixture]])
