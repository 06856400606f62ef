"""What operators and architectures cost: latency tables, and models corrected by whole networks.

A `LatencyTable` holds a latency for each operator; `fit_latency` corrects it with a few measured networks.
Both are cost models: `predict(space, archs)` prices architectures in bulk, and `costs(space)` gives the
additive costs from which samplers count.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hurricane.errors import LatencyError
from hurricane.ops import OpSpec
from hurricane.space import Archs, SearchSpace

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Samples:
    """Latencies of one thing, measured: each value is one run, in milliseconds.

    unstable : in words, why the device was not quiet enough to trust the median; None where it was.
    dropped : runs left out because they fell into a slow spell of the machine.
    """

    values_ms: tuple[float, ...]
    unstable: str | None = None
    dropped: int = 0

    @property
    def median_ms(self) -> float:
        """Median, milliseconds."""
        return float(np.median(self.values_ms))

    @property
    def p10_ms(self) -> float:
        """10th percentile, milliseconds."""
        return float(np.percentile(self.values_ms, 10))

    @property
    def p90_ms(self) -> float:
        """90th percentile, milliseconds."""
        return float(np.percentile(self.values_ms, 90))

    @property
    def spread(self) -> float:
        """(p90 - p10) / median, a fraction."""
        return (self.p90_ms - self.p10_ms) / self.median_ms if self.median_ms > 0 else 0.0


@dataclass(frozen=True, slots=True)
class AdditiveCosts:
    """Costs in milliseconds that add up: one array a layer (aligned with its choices), and what is fixed."""

    layers: tuple[Floats, ...]
    fixed_ms: float

    @property
    def cheapest_ms(self) -> float:
        """The least that an architecture costs."""
        return self.fixed_ms + float(sum(layer.min() for layer in self.layers))

    @property
    def dearest_ms(self) -> float:
        """The most that an architecture costs."""
        return self.fixed_ms + float(sum(layer.max() for layer in self.layers))

    def total(self, archs: Archs) -> Floats:
        """Cost of each architecture: (n, layers) -> (n,) milliseconds."""
        total = np.full(len(archs), self.fixed_ms)
        for column, costs in zip(archs.T, self.layers, strict=True):
            total += costs[column]
        return total


class CostModel(Protocol):
    """Prices the architectures of a space, or of a narrowing of it."""

    def costs(self, space: SearchSpace) -> AdditiveCosts:
        """The additive costs of a space's choices; LatencyError where one is unknown."""
        ...

    def predict(self, space: SearchSpace, archs: Any) -> Floats:
        """Latency of each architecture: (n, layers) -> (n,) float64 milliseconds."""
        ...


FORMAT = 1


@dataclass(frozen=True)
class LatencyTable:
    """A latency for every operator, with where it comes from.

    rows : samples of each operator spec, as timed on a device.
    provenance : device, runtime, version, threads, precision, batch, date; whatever the device tells.
    unsupported : why the device cannot run an operator, for those that it cannot.
    given : alternatively, per layer a cost for each choice name (`from_costs`); rows are then empty.
    """

    rows: Mapping[OpSpec, Samples] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    unsupported: Mapping[OpSpec, str] = field(default_factory=dict)
    given: tuple[Mapping[str, float], ...] | None = None
    given_fixed_ms: float = 0.0

    @staticmethod
    def from_costs(
        space: SearchSpace, costs_ms: Sequence[Sequence[float]], fixed_ms: float = 0.0
    ) -> "LatencyTable":
        """A table of known costs: per layer a sequence aligned with its choices, milliseconds.

        A cost belongs to (layer, choice): equal operators at different layers may cost differently.
        Raises LatencyError where a cost is missing, negative or not a number.
        """
        if len(costs_ms) != len(space.layers):
            raise LatencyError(f"costs for {len(costs_ms)} layers given; the space has {len(space.layers)}")
        given = []
        for number, (layer, costs) in enumerate(zip(space.layers, costs_ms, strict=True)):
            if len(costs) != len(layer.choices):
                raise LatencyError(
                    f"layer {number} has {len(layer.choices)} choices but {len(costs)} costs were given"
                )
            pairs = dict(zip(layer.choices, map(float, costs), strict=True))
            for choice, cost in pairs.items():
                _check_cost(cost, f"{choice} at layer {number}")
            given.append(pairs)
        _check_cost(float(fixed_ms), "what is fixed")
        return LatencyTable(given=tuple(given), given_fixed_ms=float(fixed_ms))

    def costs(self, space: SearchSpace) -> AdditiveCosts:
        """Costs of the choices of a space; LatencyError naming the operator that was never timed."""
        layers = [
            np.array([self.cost_of(number, layer.spec(choice)) for choice in layer.choices])
            for number, layer in enumerate(space.layers)
        ]
        if self.given is not None:
            return AdditiveCosts(tuple(layers), self.given_fixed_ms)
        fixed = sum(self._timed(spec) for spec in space.fixed_specs)
        return AdditiveCosts(tuple(layers), float(fixed))

    def predict(self, space: SearchSpace, archs: Any) -> Floats:
        """Latency of each architecture: (n, layers) -> (n,) float64 milliseconds, the sum of its operators.

        `space` is the table's own or a narrowing of it, matched by layer and choice name.
        """
        return self.costs(space).total(space.checked(archs))

    def cost_of(self, number: int, spec: OpSpec) -> float:
        """Cost of one operator at one layer, milliseconds; LatencyError where it is unknown."""
        if self.given is None:
            return self._timed(spec)
        if number >= len(self.given) or spec.kind not in self.given[number]:
            raise LatencyError(f"the table has no cost for {spec.kind} at layer {number}")
        return self.given[number][spec.kind]

    def _timed(self, spec: OpSpec) -> float:
        if spec in self.unsupported:
            raise LatencyError(f"the device cannot run {spec}: {self.unsupported[spec]}")
        if spec not in self.rows:
            raise LatencyError(f"{spec} was never timed; profile the space that holds it")
        return self.rows[spec].median_ms

    def save(self, path: str | Path) -> None:
        """Write the table as JSON."""
        rows = [{**asdict(spec), **_samples_json(samples)} for spec, samples in self.rows.items()]
        document = {
            "format": FORMAT,
            "provenance": dict(self.provenance),
            "rows": rows,
            "unsupported": [{**asdict(spec), "reason": why} for spec, why in self.unsupported.items()],
            "given": None if self.given is None else [dict(layer) for layer in self.given],
            "given_fixed_ms": self.given_fixed_ms,
        }
        Path(path).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: str | Path) -> "LatencyTable":
        """The table written by `save`; LatencyError where the file is missing, damaged or too new."""
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
            if document["format"] > FORMAT:
                raise LatencyError(f"{path} was written by a newer Hurricane; upgrade to read it")
            rows = {}
            for row in document["rows"]:
                spec = _spec(row)
                rows[spec] = samples_from_json(row)
                _check_cost(rows[spec].median_ms, str(spec))
            given = document["given"]
            return LatencyTable(
                rows=rows,
                provenance=document["provenance"],
                unsupported={_spec(row): row["reason"] for row in document["unsupported"]},
                given=None if given is None else tuple(given),
                given_fixed_ms=document["given_fixed_ms"],
            )
        except OSError as error:
            raise LatencyError(f"the latency table {path} cannot be read: {error.strerror}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise LatencyError(
                f"the latency table {path} is damaged ({error}); delete it and profile again"
            ) from error


def _spec(row: Mapping[str, Any]) -> OpSpec:
    return OpSpec(*(row[key] for key in ("kind", "cin", "cout", "stride", "size")))


def _check_cost(cost: float, what: str) -> None:
    if not math.isfinite(cost) or cost < 0:
        raise LatencyError(f"the cost of {what} is {cost}; a cost is a number of milliseconds of at least 0")


def _samples_json(samples: Samples) -> dict[str, Any]:
    return {
        "median_ms": samples.median_ms,
        "values_ms": [round(value, 7) for value in samples.values_ms],
        "unstable": samples.unstable,
        "dropped": samples.dropped,
    }


def samples_to_json(samples: Samples) -> dict[str, Any]:
    """Samples as plain values, the median beside them for readers."""
    return _samples_json(samples)


def samples_from_json(row: Mapping[str, Any]) -> Samples:
    """The samples written by `samples_to_json`."""
    return Samples(tuple(map(float, row["values_ms"])), row["unstable"], int(row["dropped"]))


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
