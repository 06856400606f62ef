"""A surrogate of the score: a Gaussian process over choices, layer by layer, learned from what was scored.

Its kernel is the sum of an additive part (each layer contributes on its own) and of a product part that falls with
the number of layers that differ (interactions). Scales and noise are chosen by marginal likelihood on a small grid.
"""

from dataclasses import dataclass

import numpy as np

from hurricane.latency import Floats
from hurricane.space import Archs

# (weight of the product part, its decay per differing layer relative to the depth, noise variance)
GRID = tuple((w, d, s) for w in (0.0, 0.3, 0.7) for d in (1.0, 3.0) for s in (0.01, 0.1, 0.4))
MOST_LEARNED = 600


@dataclass(frozen=True)
class Surrogate:
    """A fitted process; `predict` gives mean and standard deviation on the scale of the scores."""

    archs: Archs
    alpha: Floats
    factor: Floats
    hyper: tuple[float, float, float]
    mean: float
    scale: float

    def predict(self, archs: Archs) -> tuple[Floats, Floats]:
        """(n, layers) -> mean (n,) and standard deviation (n,) of the score, noise not counted."""
        cross = _kernel(archs, self.archs, self.hyper)
        mean = cross @ self.alpha
        solved = np.linalg.solve(self.factor, cross.T)
        variance = np.maximum(1.0 - (solved**2).sum(axis=0), 1e-9)
        return self.mean + self.scale * mean, self.scale * np.sqrt(variance)


def fit(archs: Archs, scores: Floats, hyper: tuple[float, float, float] | None = None) -> Surrogate:
    """The surrogate of these scores. hyper : as found before, to save choosing it again."""
    if len(archs) > MOST_LEARNED:
        # The best and the latest matter most for what is asked next.
        order = np.argsort(-scores)
        kept = np.unique(
            np.concatenate(
                [order[: MOST_LEARNED // 2], np.arange(len(archs) - MOST_LEARNED // 2, len(archs))]
            )
        )
        archs, scores = archs[kept], scores[kept]
    # Scores far below the rest are all equally bad: how bad must not bend the fit.
    floor = np.median(scores) - 3 * max(float(np.median(np.abs(scores - np.median(scores)))) * 1.4826, 1e-12)
    scores = np.maximum(scores, floor)
    mean, scale = float(scores.mean()), float(scores.std()) or 1.0
    target = (scores - mean) / scale
    candidates = GRID if hyper is None else (hyper,)
    fitted = [(_likelihood(archs, target, one), one) for one in candidates]
    best = max(fitted, key=lambda pair: pair[0])[1]
    factor = np.linalg.cholesky(_kernel(archs, archs, best) + best[2] * np.eye(len(archs)))
    alpha: Floats = np.asarray(np.linalg.solve(factor.T, np.linalg.solve(factor, target)), dtype=np.float64)
    return Surrogate(archs, alpha, np.asarray(factor, dtype=np.float64), best, mean, scale)


def _likelihood(archs: Archs, target: Floats, hyper: tuple[float, float, float]) -> float:
    factor = np.linalg.cholesky(_kernel(archs, archs, hyper) + hyper[2] * np.eye(len(archs)))
    whitened = np.linalg.solve(factor, target)
    return float(-0.5 * whitened @ whitened - np.log(np.diag(factor)).sum())


def _kernel(one: Archs, other: Archs, hyper: tuple[float, float, float]) -> Floats:
    weight, decay, _ = hyper
    layers = one.shape[1]
    equal = np.zeros((len(one), len(other)))
    for column in range(layers):
        equal += one[:, column][:, None] == other[:, column][None, :]
    additive = equal / layers
    product = np.exp(-decay * (layers - equal) / layers * 2.0)
    kernel: Floats = (1.0 - weight) * additive + weight * product
    return kernel
