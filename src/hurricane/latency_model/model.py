"""The latency model of a space on a device, and the fit that makes it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from hurricane.errors import LatencyError
from hurricane.latency import AdditiveCosts, CostModel, Floats
from hurricane.latency_model.belief import Belief, Fit, Posterior, believe, posterior_of
from hurricane.latency_model.components import costs_of, vector
from hurricane.space import Archs, SearchSpace

# Up to so many networks each is left out by a fit of its own; above, in closed form with the shrinkage of all.
REFITTED = 10
# An interval's width in standard deviations before errors are seen: 9 of 10 of a t distribution with 2 degrees.
WIDTH, WIDTH_TRUST = 2.92, 10
COVERED = 0.9
# No architecture is predicted below this share of what the cheapest cost before corrections.
LEAST_SHARE = 0.1


@dataclass(frozen=True)
class LatencyModel:
    """Additive costs learned from whole networks, with an honest interval; made by `fit_latency`.

    The model adds up over layers, so what samplers count (`costs`) is what is predicted (`predict`): "cost <= budget"
    in a search is exactly "predicted <= budget". Interactions of neighbouring layers were tried and did not earn their
    place (docs/measuring.md).

    space : the space it was fitted on; narrowings of it are priced too.
    additive : corrected costs of each (layer, choice).
    archs, measured_ms : the networks it was fitted on, (n, layers) and (n,), in order of measurement.
    error : relative residuals of these networks, each predicted by a fit without it.
    belief : what the fit decided; intervals follow from it.
    width : half of a 9-in-10 interval, in standard deviations, from left-out errors.
    """

    space: SearchSpace
    additive: AdditiveCosts
    archs: tuple[tuple[int, ...], ...]
    measured_ms: tuple[float, ...]
    error: tuple[float, ...]
    belief: Belief
    width: float

    def costs(self, space: SearchSpace) -> AdditiveCosts:
        """Corrected costs of a narrowing's choices; LatencyError where one is not in the fitted space."""
        if len(space.layers) != len(self.space.layers):
            raise LatencyError(f"the model knows {len(self.space.layers)} layers, not {len(space.layers)}")
        layers = []
        for number, (ours, theirs) in enumerate(zip(self.space.layers, space.layers, strict=True)):
            known = dict(zip(ours.choices, self.additive.layers[number], strict=True))
            for choice in theirs.choices:
                if choice not in known or ours.spec(choice) != theirs.spec(choice):
                    raise LatencyError(f"the latency model knows no {theirs.spec(choice)} at layer {number}")
            layers.append(np.array([known[choice] for choice in theirs.choices]))
        return AdditiveCosts(tuple(layers), self.additive.fixed_ms)

    def predict(self, space: SearchSpace, archs: Any) -> Floats:
        """Latency of each architecture: (n, layers) -> (n,) float64 milliseconds."""
        return self.costs(space).total(space.checked(archs))

    def interval(self, space: SearchSpace, archs: Any) -> Floats:
        """Bounds between which the measured latency is expected in 9 of 10 cases: (n, 2) milliseconds."""
        predicted, archs = self.predict(space, archs), self.space.translate(archs, space)
        noise = (self.belief.noise**2 + self.belief.drift**2) * predicted**2
        half = self.width * np.sqrt(self._posterior.variance(self.space, archs) + noise)
        return np.stack([np.maximum(predicted - half, 0.0), predicted + half], axis=1)

    def covariance(self, space: SearchSpace, archs: Any) -> Floats:
        """What is not known of each prediction, and how that hangs together: (n, n), square milliseconds."""
        self.costs(space)
        return self._posterior.between(self.space, self.space.translate(archs, space))

    @property
    def median_error(self) -> float:
        """Median of the absolute relative errors on networks left out of the fit, a fraction."""
        return float(np.median(np.abs(self.error))) if self.error else math.nan

    @cached_property
    def _posterior(self) -> Posterior:
        return posterior_of(self.space, np.array(self.archs), np.array(self.measured_ms), self.belief)

    def to_json(self) -> dict[str, Any]:
        """The model as plain values; `from_json` reads them back."""
        return {
            "space": self.space.to_json(),
            "layers_ms": [list(layer) for layer in self.additive.layers],
            "fixed_ms": self.additive.fixed_ms,
            "archs": [list(arch) for arch in self.archs],
            "measured_ms": list(self.measured_ms),
            "error": list(self.error),
            "belief": self.belief.to_json(),
            "width": self.width,
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "LatencyModel":
        """The model written by `to_json`."""
        layers = tuple(np.array(layer, dtype=np.float64) for layer in values["layers_ms"])
        additive = AdditiveCosts(layers, float(values["fixed_ms"]))
        return LatencyModel(
            SearchSpace.from_json(values["space"]),
            additive,
            tuple(tuple(arch) for arch in values["archs"]),
            tuple(values["measured_ms"]),
            tuple(values["error"]),
            Belief.from_json(values["belief"]),
            float(values["width"]),
        )


def fit_latency(
    space: SearchSpace, archs: Any, measured_ms: Any, prior: CostModel | None = None
) -> LatencyModel:
    """A latency model from whole networks: corrects a table, or learns without one.

    A linear model: offset and factor, and corrections that operators share by layer, kind, shape, size and counts
    (MACs, parameters, ...), each shrunk as the networks themselves suggest; without a prior they correct costs in
    proportion to counts. Outliers lose weight; a drift of the machine's speed is taken out where that helps to
    predict networks that were left out. Networks that are measured later are predicted at the usual speed.

    Parameters
    ----------
    archs : (n, layers) integers, networks that were measured, in order of measurement.
    measured_ms : (n,) their measured latencies, milliseconds.
    prior : a table or model that prices the space.

    Raises LatencyError where lengths differ or a latency is not a positive number.
    """
    archs = space.checked(archs)
    measured = np.asarray(measured_ms, dtype=np.float64)
    if measured.shape != (len(archs),) or len(archs) == 0:
        raise LatencyError(f"{measured.shape} latencies given for {len(archs)} networks; one each is needed")
    if not np.isfinite(measured).all() or (measured <= 0).any():
        raise LatencyError("a measured latency is not a positive number of milliseconds")
    costs = None if prior is None else prior.costs(space)
    # Matrices are small: on a busy machine two threads took 2 to 13 seconds for what one did in half a second.
    with threadpool_limits(limits=1, user_api="blas"):
        fit = believe(space, archs, measured, costs)
        posterior = posterior_of(space, archs, measured, fit.belief)
        alone, variance = _left_out(space, archs, measured, costs, fit)
    known = len(archs) > 2
    errors = tuple(float(error) for error in measured / alone - 1.0) if known else ()
    noise = (fit.belief.noise**2 + fit.belief.drift**2) * alone**2
    return LatencyModel(
        space,
        _positive(space, vector(fit.belief.centre), posterior.mean),
        tuple(tuple(int(index) for index in arch) for arch in archs),
        tuple(float(one) for one in measured),
        errors,
        fit.belief,
        _width((measured - alone) / np.sqrt(variance + noise)) if known else 2 * WIDTH,
    )


def _positive(space: SearchSpace, centre: Floats, mean: Floats) -> AdditiveCosts:
    """Corrected costs, corrections shrunk together until every architecture costs something.

    Two or three networks may tell a slope that leads below nothing at the far end of the space.
    """
    costs, least = costs_of(space, mean), LEAST_SHARE * costs_of(space, centre).cheapest_ms
    share = 1.0
    while costs.cheapest_ms < least:
        share *= 0.9
        costs = costs_of(space, centre + share * (mean - centre))
    return costs


def _left_out(
    space: SearchSpace, archs: Archs, measured: Floats, prior: AdditiveCosts | None, fit: Fit
) -> tuple[Floats, Floats]:
    """Each network as the others predict it: mean and variance, (n,) and (n,)."""
    least = 0.01 * measured  # a prediction of nothing is no scale for an error
    if not 2 < len(archs) <= REFITTED:
        return np.maximum(fit.left_out_ms, least), fit.left_out_variance
    means, variances = np.empty(len(archs)), np.empty(len(archs))
    for number in range(len(archs)):
        rest, one = np.arange(len(archs)) != number, archs[[number]]
        belief = believe(space, archs[rest], measured[rest], prior).belief
        posterior = posterior_of(space, archs[rest], measured[rest], belief)
        means[number] = posterior.predict(space, one)[0]
        variances[number] = posterior.variance(space, one)[0]
    return np.maximum(means, least), variances


def _width(scores: Floats) -> float:
    """Standard deviations that cover 9 of 10 left-out errors; few errors leave much to what was expected."""
    n = len(scores)
    rank = min(1.0, COVERED * (n + 1) / n)
    seen = float(np.quantile(np.abs(scores), rank))
    return (n * seen + WIDTH_TRUST * WIDTH) / (n + WIDTH_TRUST)
