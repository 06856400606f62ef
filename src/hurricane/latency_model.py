"""Latency learned from whole networks: a table corrected by a few of them, or no table at all."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hurricane.errors import LatencyError
from hurricane.latency import AdditiveCosts, CostModel, Floats
from hurricane.space import Archs, SearchSpace


@dataclass(frozen=True)
class LatencyModel:
    """Additive costs learned from whole networks, with an honest interval; made by `fit_latency`.

    space : the space it was fitted on; narrowings of it are priced too.
    additive : corrected costs of each (layer, choice).
    archs, measured_ms : the networks it was fitted on, (n, layers) and (n,).
    error : relative residuals of these networks, each predicted by a fit without it.
    """

    space: SearchSpace
    additive: AdditiveCosts
    archs: tuple[tuple[int, ...], ...]
    measured_ms: tuple[float, ...]
    error: tuple[float, ...]

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
        predicted = self.predict(space, archs)[:, None]
        low, high = np.quantile(self.error, (0.05, 0.95)) if self.error else (-0.25, 0.25)
        # Few networks say little about the tails: widen as a t distribution would.
        widening = 1.0 + 2.0 / max(1, len(self.error))
        return predicted * (1.0 + widening * np.array([min(low, 0.0), max(high, 0.0)]))

    @property
    def median_error(self) -> float:
        """Median of the absolute relative errors on networks left out of the fit, a fraction."""
        return float(np.median(np.abs(self.error))) if self.error else math.nan

    def to_json(self) -> dict[str, Any]:
        """The model as plain values; `from_json` reads them back."""
        return {
            "space": self.space.to_json(),
            "layers_ms": [list(layer) for layer in self.additive.layers],
            "fixed_ms": self.additive.fixed_ms,
            "archs": [list(arch) for arch in self.archs],
            "measured_ms": list(self.measured_ms),
            "error": list(self.error),
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
        )


def fit_latency(
    space: SearchSpace, archs: Any, measured_ms: Any, prior: CostModel | None = None
) -> LatencyModel:
    """A latency model from whole networks: corrects a table, or learns without one.

    With a prior, the fit is a factor on its sum and an offset, both shrunk towards 1 and 0, and robust
    against outliers; without one, an offset and one cost for each (layer, choice), shrunk towards
    a cost that is equal for all choices of all layers.

    Parameters
    ----------
    archs : (n, layers) integers, networks that were measured.
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
    additive = _fit(space, archs, measured, costs)
    errors = []
    if len(archs) > 2:
        for left_out in range(len(archs)):
            rest = np.arange(len(archs)) != left_out
            without = _fit(space, archs[rest], measured[rest], costs)
            predicted = float(without.total(archs[[left_out]])[0])
            errors.append(float(measured[left_out] / predicted - 1.0))
    rows = tuple(tuple(int(index) for index in arch) for arch in archs)
    return LatencyModel(space, additive, rows, tuple(float(m) for m in measured), tuple(errors))


def _fit(space: SearchSpace, archs: Archs, measured: Floats, prior: AdditiveCosts | None) -> AdditiveCosts:
    return _fit_affine(archs, measured, prior) if prior is not None else _fit_choices(space, archs, measured)


def _fit_affine(archs: Archs, measured: Floats, prior: AdditiveCosts) -> AdditiveCosts:
    """Factor and offset by iteratively reweighted least squares (Huber), relative errors."""
    summed = prior.total(archs)
    scale = float(np.median(measured))
    design = np.stack([summed, np.full_like(summed, scale)], axis=1) / measured[:, None]
    # Shrinkage worth a tenth of a network: without it, networks of equal cost leave the slope undetermined.
    ratio = float(np.median(measured / summed))
    penalty = np.diag([0.1 * (scale / ratio) ** 2 / scale**2, 0.1])
    target, centre = np.ones(len(measured)), np.array([ratio, 0.0])
    weights, solution = np.ones(len(measured)), centre
    for _ in range(20):
        weighted = design * weights[:, None]
        solution = np.linalg.solve(weighted.T @ design + penalty, weighted.T @ target + penalty @ centre)
        residual = np.abs(design @ solution - target)
        limit = 1.5 * max(1.4826 * float(np.median(residual)), 1e-6)
        weights = np.minimum(1.0, limit / np.maximum(residual, 1e-12))
    factor, offset = max(float(solution[0]), 1e-6), float(solution[1]) * scale
    layers = tuple(layer * factor for layer in prior.layers)
    return AdditiveCosts(layers, prior.fixed_ms * factor + offset)


def _fit_choices(space: SearchSpace, archs: Archs, measured: Floats) -> AdditiveCosts:
    """One cost for each (layer, choice) by ridge regression around a common mean."""
    counts = np.array(space.counts)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    design = np.zeros((len(archs), int(counts.sum())))
    design[np.arange(len(archs))[:, None], archs + starts] = 1.0
    mean = float(measured.mean())
    # Noise of about 1 % a network against choices that move a network by about 5 %.
    strength = (0.01 / 0.05) ** 2
    kernel = design @ design.T + strength * np.eye(len(archs))
    effects = design.T @ np.linalg.solve(kernel, measured - mean)
    each = mean / len(counts)
    layers = [each + effects[start : start + count] for start, count in zip(starts, counts, strict=True)]
    # Costs are at least 0; what a layer would fall short of is carried by the fixed part.
    shifts = [min(0.0, float(layer.min())) for layer in layers]
    layers = [layer - shift for layer, shift in zip(layers, shifts, strict=True)]
    return AdditiveCosts(tuple(layers), float(sum(shifts)))
