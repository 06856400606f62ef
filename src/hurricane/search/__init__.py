"""Search: drawing architectures within a budget, and finding good ones with few scores."""

from hurricane.search.baselines import (
    PlainEvolution,
    RandomSearch,
    RegularizedEvolution,
    plain_evolution,
    random_search,
    regularized_evolution,
)
from hurricane.search.conformance import check_searcher
from hurricane.search.evolution import Evolution, evolve
from hurricane.search.knapsack import most_within
from hurricane.search.running import EvolutionResult, Problem, Scored, Searcher, run_search
from hurricane.search.sampling import Sampler, sample, share_within
from hurricane.search.smoothing import expected_scores, merits, worths

__all__ = [
    "Evolution",
    "EvolutionResult",
    "PlainEvolution",
    "Problem",
    "RandomSearch",
    "RegularizedEvolution",
    "Sampler",
    "Scored",
    "Searcher",
    "check_searcher",
    "evolve",
    "expected_scores",
    "merits",
    "most_within",
    "plain_evolution",
    "random_search",
    "regularized_evolution",
    "run_search",
    "sample",
    "share_within",
    "worths",
]
