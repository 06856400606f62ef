"""What scores are worth: the noise of each smoothed out by all the others."""

from collections.abc import Sequence

import numpy as np

from hurricane.latency import CostModel, Floats
from hurricane.search import surrogate
from hurricane.search.running import Scored
from hurricane.search.surrogate import Features, Scales
from hurricane.space import SearchSpace

# Fewer scores say too little about each other.
LEAST = 8


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
    """By what to choose among architectures of about equal cost, (n,): expected score, and what they compute (ours).

    A supernet prefers what learns fast to what computes much, and of networks that take as long the ones that compute
    more are better when they are trained to the end, so MACs are a second, weak judge (docs/RESULTS.md, what raises
    the ranking). The result is on the scale of scores; equal scores have equal worths.

    Parameters
    ----------
    macs : what one standard deviation of the logarithm of MACs counts, in standard deviations of the expected score.
    """
    expected = expected_scores(space, scored, cost)
    computed = np.log(np.maximum(space.macs(np.array([one.indices for one in scored], dtype=np.int64)), 1))
    if float(np.ptp(computed)) == 0.0:
        return expected
    result: Floats = expected + macs * expected.std() * (computed - computed.mean()) / computed.std()
    return result
