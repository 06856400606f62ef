"""What operators and architectures cost: samples, additive costs, and the latency table of a device.

A cost model prices architectures in bulk (`predict`) and gives the additive costs from which samplers count
(`costs`). The `LatencyTable` is one; `hurricane.latency_model` corrects it with whole networks.
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
        try:
            numbers = [[float(cost) for cost in layer] for layer in costs_ms]
            fixed_ms = float(fixed_ms)
        except (TypeError, ValueError) as error:
            raise LatencyError(
                f"costs are one number for each choice of each layer, milliseconds ({error})"
            ) from error
        if len(numbers) != len(space.layers):
            raise LatencyError(f"costs for {len(numbers)} layers given; the space has {len(space.layers)}")
        given = []
        for number, (layer, costs) in enumerate(zip(space.layers, numbers, strict=True)):
            if len(costs) != len(layer.choices):
                raise LatencyError(
                    f"layer {number} has {len(layer.choices)} choices but {len(costs)} costs were given"
                )
            pairs = dict(zip(layer.choices, costs, strict=True))
            for choice, cost in pairs.items():
                _check_cost(cost, f"{choice} at layer {number}")
            given.append(pairs)
        _check_cost(fixed_ms, "what is fixed")
        return LatencyTable(given=tuple(given), given_fixed_ms=fixed_ms)

    def costs(self, space: SearchSpace) -> AdditiveCosts:
        """Costs of the choices of a space; LatencyError naming the operator that was never timed."""
        if self.given is not None and len(self.given) != len(space.layers):
            raise LatencyError(f"the table has costs of {len(self.given)} layers, not of {len(space.layers)}")
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
            newer = document["format"] > FORMAT
            table = LatencyTable() if newer else _table(document)
        except OSError as error:
            raise LatencyError(f"the latency table {path} cannot be read: {error.strerror}") from error
        except (AttributeError, KeyError, TypeError, ValueError, LatencyError) as error:
            raise LatencyError(
                f"the latency table {path} is damaged ({error}); delete it and profile again"
            ) from error
        if newer:
            raise LatencyError(f"{path} was written by a newer Hurricane; upgrade to read it")
        return table


def _table(document: Mapping[str, Any]) -> LatencyTable:
    """The table of what `save` writes; LatencyError, or whatever plain values raise, where it is something else."""
    rows = {_spec(row): samples_from_json(row) for row in document["rows"]}
    given, fixed_ms = document["given"], float(document["given_fixed_ms"])
    if given is not None:
        given = tuple({str(name): float(cost) for name, cost in layer.items()} for layer in given)
    for spec, samples in rows.items():
        _check_cost(samples.median_ms if samples.values_ms else math.nan, str(spec))
    for cost in (fixed_ms, *(cost for layer in given or () for cost in layer.values())):
        _check_cost(cost, "what was given")
    return LatencyTable(
        rows=rows,
        provenance=dict(document["provenance"]),
        unsupported={_spec(row): row["reason"] for row in document["unsupported"]},
        given=given,
        given_fixed_ms=fixed_ms,
    )


def _spec(row: Mapping[str, Any]) -> OpSpec:
    return OpSpec(*(row[key] for key in ("kind", "cin", "cout", "stride", "size")))


def _check_cost(cost: float, what: str) -> None:
    if not math.isfinite(cost) or cost < 0:
        raise LatencyError(f"the cost of {what} is {cost}; a cost is a number of milliseconds of at least 0")


def _samples_json(samples: Samples) -> dict[str, Any]:
    return {
        "median_ms": samples.median_ms,
        "values_ms": list(samples.values_ms),
        "unstable": samples.unstable,
        "dropped": samples.dropped,
    }


def samples_to_json(samples: Samples) -> dict[str, Any]:
    """Samples as plain values, the median beside them for readers."""
    return _samples_json(samples)


def samples_from_json(row: Mapping[str, Any]) -> Samples:
    """The samples written by `samples_to_json`."""
    return Samples(tuple(map(float, row["values_ms"])), row["unstable"], int(row["dropped"]))
