"""Search: drawing architectures within a budget, and finding good ones with few scores."""

from hurricane.search.conformance import check_searcher
from hurricane.search.evolution import Evolution, PlainEvolution, RegularizedEvolution, evolve
from hurricane.search.running import (
    EvolutionResult,
    Problem,
    RandomSearch,
    Scored,
    Searcher,
    random_search,
    run_search,
)
from hurricane.search.sampling import Sampler, sample, share_within

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
    "random_search",
    "run_search",
    "sample",
    "share_within",
]
