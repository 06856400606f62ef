"""TPE (Optuna) and NSGA-II (pymoo) as searchers under the same rules as `hurricane.evolve`.

Needs `pip install -e '.[benchmarks]'`. What they propose over the budget is never scored: they are told only by how
much it is over, which costs them nothing. What they propose again is answered from memory and costs nothing either.
"""

from typing import Any

import numpy as np
import optuna
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.crossover import Crossover
from pymoo.core.evaluator import Evaluator
from pymoo.core.mutation import Mutation
from pymoo.core.problem import Problem as PymooProblem
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.problems.static import StaticProblem

from hurricane.latency import Floats
from hurricane.search import Problem
from hurricane.search.running import Unseen
from hurricane.space import Archs

optuna.logging.set_verbosity(optuna.logging.ERROR)
POPULATION = 50
# Proposals that cost nothing, one after the other, until a uniform draw helps out.
TRIES = 100


def over_ms(problem: Problem, archs: Archs) -> Floats:
    """Milliseconds over the budget; zero or less is within."""
    if problem.sampler is None or problem.max_ms is None:
        return np.full(len(archs), -1.0)
    over = np.maximum(problem.cost_ms(archs) - problem.max_ms, 1e-6)
    return np.where(problem.sampler.within(archs), -1.0, over)


class Tpe:
    """Optuna's tree-structured Parzen estimator, multivariate, with the budget as its constraint."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self._problem, self._rng, self._unseen = problem, np.random.default_rng(seed), Unseen(problem)
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._choices = {
            str(layer): optuna.distributions.CategoricalDistribution(range(count))
            for layer, count in enumerate(problem.space.counts)
        }
        self._known: dict[bytes, float] = {}
        self._open: list[Any] = []

    def ask(self, n: int) -> Archs:
        """One at a time: it learns from each score at once."""
        for _ in range(TRIES):
            trial = self._study.ask(self._choices)
            arch = np.array([[trial.params[name] for name in self._choices]])
            over = float(over_ms(self._problem, arch)[0])
            trial.set_constraint("over_ms", over)
            if over > 0:
                self._study.tell(trial, -1e9)
            elif arch.tobytes() in self._known:
                self._study.tell(trial, self._known[arch.tobytes()])
            else:
                self._open = [trial]
                return self._unseen.hand_out(arch)
        arch = self._unseen.hand_out(self._unseen.drawn(1, self._rng))
        if len(arch):
            self._study.enqueue_trial({name: int(i) for name, i in zip(self._choices, arch[0], strict=True)})
            trial = self._study.ask(self._choices)
            trial.set_constraint("over_ms", -1.0)
            self._open = [trial]
        return arch

    def tell(self, archs: Archs, scores: Floats) -> None:
        for trial, arch, score in zip(self._open, archs, scores, strict=True):
            self._known[arch[None].tobytes()] = float(score)
            self._study.tell(trial, float(score))


class Redrawn(Mutation):  # type: ignore[misc]
    """Each gene redrawn with probability one in the number of layers."""

    def __init__(self, counts: tuple[int, ...]) -> None:
        super().__init__()
        self._counts = np.asarray(counts)

    def _do(self, problem: Any, archs: Archs, **kwargs: Any) -> Archs:
        rng = kwargs.get("random_state") or np.random.default_rng(0)
        change = rng.random(archs.shape) < 1.0 / archs.shape[1]
        return np.where(change, rng.integers(0, self._counts, size=archs.shape), archs)


class Nsga2:
    """pymoo's NSGA-II on score and latency, generations of 50 that begin with uniform draws from what fits."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self._problem, self._rng, self._unseen = problem, np.random.default_rng(seed), Unseen(problem)
        counts = problem.space.counts
        crossover: Crossover = UniformCrossover()
        self._algorithm = NSGA2(
            pop_size=POPULATION,
            sampling=problem.draw(POPULATION, self._rng),
            crossover=crossover,
            mutation=Redrawn(counts),
        )
        self._whole = PymooProblem(
            n_var=len(counts), n_obj=2, n_ieq_constr=1, xl=0, xu=np.asarray(counts) - 1, vtype=int
        )
        self._algorithm.setup(self._whole, termination=("n_gen", 1_000_000), seed=seed, verbose=False)
        self._known: dict[bytes, float] = {}
        self._generation: Any = None
        self._queue: Archs = np.empty((0, len(counts)), dtype=np.int64)

    def ask(self, n: int) -> Archs:
        for _ in range(TRIES):
            if len(self._queue):
                asked, self._queue = self._queue[:n], self._queue[n:]
                return self._unseen.hand_out(asked)
            if self._generation is not None:
                self._finish()
            self._generation = self._algorithm.ask()
            archs = np.asarray(self._generation.get("X")).astype(np.int64)
            self._queue = self._unseen.new(archs[over_ms(self._problem, archs) <= 0])
        return self._unseen.hand_out(self._unseen.drawn(n, self._rng))

    def tell(self, archs: Archs, scores: Floats) -> None:
        self._known.update({arch.tobytes(): float(score) for arch, score in zip(archs, scores, strict=True)})

    def _finish(self) -> None:
        """Tell the generation: known scores and costs; what is over the budget counts by how much."""
        archs = np.ascontiguousarray(np.asarray(self._generation.get("X")).astype(np.int64))
        over, cost = over_ms(self._problem, archs), self._problem.cost_ms(archs)
        scores = np.array([self._known.get(arch.tobytes(), 0.0) for arch in archs])
        static = StaticProblem(self._whole, F=np.stack([-scores, cost], axis=1), G=over[:, None])
        Evaluator().eval(static, self._generation)
        self._algorithm.tell(infills=self._generation)
        self._generation = None
