"""What measured networks make of the costs: corrections with their shrinkage, and what is still not known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hurricane.latency import AdditiveCosts, Floats
from hurricane.latency_model.components import (
    EXPECTED,
    TRUST,
    components,
    counted_costs,
    entries_of,
    one_hot,
    vector,
)
from hurricane.latency_model.evidence import left_out, weigh
from hurricane.space import Archs, SearchSpace

EXPECTED_NOISE, EXPECTED_DRIFT = 0.02, 0.01
# Drift: a smooth level of the machine that networks measured one after the other share; lengths in networks.
DRIFTS = {"fast drift": 3.0, "slow drift": 30.0}
# Fewer networks cannot tell drift from anything else.
FEWEST_FOR_DRIFT = 20
# A fit with drift must predict networks that it has not seen this much better than one without.
DRIFT_EARNS = 0.98
# A prediction below this share of a typical network is no scale for an error.
LEAST_SHARE = 0.2


@dataclass(frozen=True)
class Belief:
    """Everything that a fit decided; with space, networks and measurements it gives the posterior again.

    centre : costs that corrections start from. scale_ms : latency of a typical network.
    variances : of each component and each drift, as shares. noise : of one measurement, a share.
    references_ms, weights : (n,), by what each residual was divided, and how much it counts.
    """

    centre: AdditiveCosts
    scale_ms: float
    variances: Mapping[str, float]
    noise: float
    references_ms: tuple[float, ...]
    weights: tuple[float, ...]

    @property
    def drift(self) -> float:
        """Standard deviation of the machine's level, a share: a later measurement finds it anywhere."""
        return float(np.sqrt(sum(self.variances.get(name, 0.0) for name in DRIFTS)))

    def to_json(self) -> dict[str, Any]:
        """The belief as plain values; `from_json` reads them back."""
        return {
            "layers_ms": [layer.tolist() for layer in self.centre.layers],
            "fixed_ms": self.centre.fixed_ms,
            "scale_ms": self.scale_ms,
            "variances": dict(self.variances),
            "noise": self.noise,
            "references_ms": list(self.references_ms),
            "weights": list(self.weights),
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Belief":
        """The belief written by `to_json`."""
        return Belief(
            AdditiveCosts(tuple(np.array(layer) for layer in values["layers_ms"]), values["fixed_ms"]),
            values["scale_ms"],
            values["variances"],
            values["noise"],
            tuple(values["references_ms"]),
            tuple(values["weights"]),
        )


@dataclass(frozen=True)
class Posterior:
    """Corrected costs of every entry (see `components.vector`), and their covariance."""

    mean: Floats
    covariance: Floats

    def predict(self, space: SearchSpace, archs: Archs) -> Floats:
        """Latency of each architecture: (n, layers) -> (n,) milliseconds."""
        total: Floats = self.mean[entries_of(space, archs)].sum(axis=1)
        return total

    def variance(self, space: SearchSpace, archs: Archs) -> Floats:
        """Of the predicted latency of each architecture: (n, layers) -> (n,), square milliseconds."""
        places = entries_of(space, archs)
        total = np.zeros(len(archs))
        for column in places.T:  # a pair of layers at a time: a million architectures fit into memory
            for other in places.T:
                total += self.covariance[column, other]
        return np.maximum(total, 0.0)

    def between(self, space: SearchSpace, archs: Archs) -> Floats:
        """Covariance of the predicted latencies of architectures: (n, layers) -> (n, n), square milliseconds."""
        design = one_hot(space, archs)
        return design @ self.covariance @ design.T


@dataclass(frozen=True)
class Fit:
    """A belief; each network as fitted, and as the others predict it: mean and variance, milliseconds."""

    belief: Belief
    fitted_ms: Floats
    left_out_ms: Floats
    left_out_variance: Floats


def believe(space: SearchSpace, archs: Archs, measured: Floats, prior: AdditiveCosts | None) -> Fit:
    """The fit of whole networks around a table, or around counts where there is none."""
    scale = float(np.median(measured))
    rough = counted_costs(space) if prior is None else prior
    ratio = float(np.median(measured / np.maximum(rough.total(archs), 1e-12)))
    centre = AdditiveCosts(tuple(ratio * layer for layer in rough.layers), ratio * rough.fixed_ms)
    parts, known = components(space, centre, scale), prior is not None
    references = np.full(len(measured), scale)
    if known:  # a table tells from the start how long each takes; counts do not
        references = np.maximum(centre.total(archs), LEAST_SHARE * scale)

    def fitted(references: Floats, weights: Floats, drifts: tuple[str, ...] = ()) -> Fit:
        return _fitted(space, archs, measured, centre, parts, scale, references, weights, drifts, known)

    first = fitted(references, np.ones(len(measured)))
    references = np.maximum(first.fitted_ms, LEAST_SHARE * scale)
    # Weighed anew, with the outliers of the first fit out of the way.
    weights = np.array(first.belief.weights)
    steady = fitted(references, weights)
    if len(measured) < FEWEST_FOR_DRIFT:
        return steady
    drifting = fitted(references, weights, tuple(DRIFTS))
    return drifting if _error(drifting, measured) < DRIFT_EARNS * _error(steady, measured) else steady


def posterior_of(space: SearchSpace, archs: Archs, measured: Floats, belief: Belief) -> Posterior:
    """Corrected costs and what is still not known of them, from what `believe` decided."""
    parts = components(space, belief.centre, belief.scale_ms)
    every = np.hstack([np.sqrt(belief.variances[name]) * part for name, part in parts.items()])
    prior = every @ every.T
    references = np.array(belief.references_ms)
    design = one_hot(space, archs) / references[:, None]
    cross = design @ prior
    covariance = cross @ design.T + np.diag(belief.noise**2 / np.array(belief.weights))
    for name in DRIFTS:
        covariance += belief.variances.get(name, 0.0) * _drift(len(archs), DRIFTS[name])
    centre = vector(belief.centre)
    gain = np.linalg.solve(covariance, cross)
    residuals = measured / references - design @ centre
    return Posterior(centre + gain.T @ residuals, prior - gain.T @ cross)


def _fitted(
    space: SearchSpace,
    archs: Archs,
    measured: Floats,
    centre: AdditiveCosts,
    parts: Mapping[str, Floats],
    scale: float,
    references: Floats,
    weights: Floats,
    drifts: tuple[str, ...],
    known: bool,
) -> Fit:
    """One fit at given references, from given weights."""
    design = one_hot(space, archs) / references[:, None]
    kernels = [(design @ part) @ (design @ part).T for part in parts.values()]
    kernels += [_drift(len(archs), DRIFTS[name]) for name in drifts]
    expected = [EXPECTED[name][0 if known else 1] for name in parts] + [EXPECTED_DRIFT] * len(drifts)
    trust = np.array([TRUST.get(name, 1.0) for name in [*parts, *drifts]])
    residuals = measured / references - design @ vector(centre)
    stacked = np.array(kernels)
    evidence = weigh(residuals, stacked, np.array(expected), trust, EXPECTED_NOISE, weights)
    variances = dict(zip([*parts, *drifts], evidence.variances.tolist(), strict=True))
    decided = evidence.noise, tuple(references.tolist()), tuple(evidence.weights.tolist())
    belief = Belief(centre, scale, variances, *decided)
    lasting = np.tensordot(evidence.variances[: len(parts)], stacked[: len(parts)], axes=1)
    start = design @ vector(centre)
    mean, variance = left_out(lasting, evidence)
    fitted = references * (start + lasting @ evidence.pull)
    return Fit(belief, fitted, references * (start + mean), references**2 * variance)


def _error(fit: Fit, measured: Floats) -> float:
    """How far left-out predictions are off, outliers cut off at three times the median error."""
    size = np.abs(fit.left_out_ms / measured - 1.0)
    return float(np.minimum(size, 3.0 * np.median(size)).mean())


def _drift(n: int, length: float) -> Floats:
    """Covariance of the machine's level at n networks measured one after the other."""
    order = np.arange(n)
    level: Floats = np.exp(-np.abs(order[:, None] - order) / length)
    return level
