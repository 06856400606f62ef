"""What scores are worth: the noise of each smoothed out by all the others, and what is computed beside it."""

from collections.abc import Sequence

import numpy as np

from hurricane.latency import CostModel, Floats
from hurricane.search import surrogate
from hurricane.search.running import Scored
from hurricane.search.surrogate import Features, Scales
from hurricane.space import Archs, SearchSpace

# Fewer scores say too little about each other.
LEAST = 8
# What e times the mixing MACs are worth, as a share of pictures recognised.
PER_FOLD = 0.1


def expected_scores(space: SearchSpace, scored: Sequence[Scored], cost: CostModel | None = None) -> Floats:
    """The score that each architecture would get on average, (n,), where single scores are noisy (ours).

    The best of many noisy scores is mostly a lucky one. A surrogate learned from all of them knows how much is noise:
    what it expects is nearer to the truth. Fewer than eight scores are given back as they are.
    """
    scores = np.array([one.score for one in scored])
    if len(scored) < LEAST or float(np.ptp(scores)) == 0.0:
        return scores
    archs = np.array([one.indices for one in scored], dtype=np.int64)
    features = Features(space, None if cost is None else cost.costs(space))
    model = surrogate.fit(features, archs, scores, Scales.prior(len(space.layers)), tuned=True)
    mean = model.predict(archs)[0]
    if len(model.alpha) == len(archs):
        # Half what is expected with an architecture's own score, half what the others alone say of it: on made-up
        # scores with noise that lost 0.3 to 0.7 times what the best single score lost; either alone lost more.
        others = model.target - model.alpha / np.diag(model.inverse)
        mean = 0.5 * (mean + others)
    expected: Floats = model.origin + model.unit * mean
    return expected


def worths(
    space: SearchSpace, scored: Sequence[Scored], cost: CostModel | None = None, *, macs: float = 1.0
) -> Floats:
    """By what to choose among what was scored, (n,): expected score, and `merits` of what it computes (ours)."""
    archs = np.array([one.indices for one in scored], dtype=np.int64)
    result: Floats = expected_scores(space, scored, cost) + merits(space, archs, macs=macs)
    return result


def merits(space: SearchSpace, archs: Archs, *, macs: float = 1.0) -> Floats:
    """What architectures (n, layers) are worth by what they compute, on the scale of scores, (n,) (ours).

    A supernet prefers what learns fast, large kernels above all. Of inverted bottlenecks that take as long those are
    better when they are trained to the end that compute more where channels are mixed; other forms need more or less of
    that for the same, which this does not know: twice as much is worth some points (docs/RESULTS.md, what decides at
    one latency).

    Parameters
    ----------
    macs : weight; at 1 twice the mixing MACs are worth 7 points, 0 leaves them out.

    The result is 0 for the architecture of the space that mixes most, and below for all others.
    """
    most = np.array([[int(layer.argmax()) for layer in space.mixing_macs_by_layer()]])
    own, largest = (np.log(np.maximum(space.mixing_macs(rows), 1)) for rows in (archs, most))
    result: Floats = macs * PER_FOLD * (own - largest)
    return result
