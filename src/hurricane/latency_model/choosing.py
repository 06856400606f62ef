"""Which whole networks to measure next: those that tell most about the others."""

import numpy as np

from hurricane.latency_model.model import LatencyModel
from hurricane.space import Archs, SearchSpace

# A network measured twice tells less than a new one; noise below this (a share) is not believed.
LEAST_NOISE = 0.005


def informative(model: LatencyModel, space: SearchSpace, candidates: Archs, n: int) -> Archs:
    """`n` of the candidates that, once measured, leave the least variance in predictions of all candidates.

    Greedy A-optimal design under the model's own covariance (a textbook criterion; its use here is ours): each choice
    takes into account what those before it will have told.

    Parameters
    ----------
    candidates : (m, layers) architectures of the kind that has to be predicted; more than n.
    """
    predicted = model.predict(space, candidates)
    spread = model.covariance(space, candidates) / np.outer(predicted, predicted)
    noise = max(model.belief.noise, LEAST_NOISE) ** 2
    chosen: list[int] = []
    for _ in range(min(n, len(candidates))):
        gain = (spread**2).sum(axis=0) / (np.diag(spread) + noise)
        gain[chosen] = -1.0
        best = int(gain.argmax())
        chosen.append(best)
        spread = spread - np.outer(spread[best], spread[best]) / (spread[best, best] + noise)
    return candidates[chosen]
