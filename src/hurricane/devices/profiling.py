"""Profiles: every distinct operator of a space timed, and whole networks measured as they would ship."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hurricane import ops
from hurricane.devices.measuring import measure
from hurricane.devices.protocol import Device, Session
from hurricane.devices.watching import Watched, beside
from hurricane.errors import ConfigError, ModelError, OperatorError
from hurricane.export import random_architecture, random_network
from hurricane.latency import LatencyTable, Samples
from hurricane.ops import Graph, OpSpec
from hurricane.space import Archs, SearchSpace

# Operators that are interleaved; with stacks of four they hold at most some hundred megabytes.
GROUP = 16
# A weight file of the largest networks has hundreds of megabytes; so many are held at once.
NETWORKS_AT_ONCE = 5
# What is left of a timing after the call's overhead may be nothing; a thing that runs costs at least this.
LEAST_MS = 1e-5
# Passes one pixel on: what a call costs whatever it computes.
_EMPTY = OpSpec("skip", 1, 1, 1, 1)

Progress = Callable[[int, int], None]


def profile(
    device: Device,
    space: SearchSpace,
    *,
    known: Mapping[OpSpec, Samples] | None = None,
    on_rows: Callable[[Mapping[OpSpec, Samples]], None] | None = None,
    progress: Progress | None = None,
    rounds: int = 5,
    seconds: float = 0.02,
    stack: int = 4,
) -> LatencyTable:
    """The latency of every distinct operator of a space on a device (arXiv 1910.11609).

    Operators that come to the same graph at a place (sep_k3 and mb_k3_e1) are timed once and share the figure.
    One that keeps its shape is timed as a stack and divided; the call's overhead is taken off. An operator that
    does nothing costs exactly 0 (listed in the provenance as "free"). What the device refuses, or what does not
    load there, is left out with its reason.

    Parameters
    ----------
    known : rows that need not be timed again.
    on_rows : told the rows of every few operators as soon as they are timed.
    progress : told (operators done, operators in all); fewer are done where some were timed in a slow spell.
    rounds, seconds : see `measure`.
    stack : equal operators timed at once; timed alone, weights stay in the cache as they do not in a network
        (DEVICES: whole networks were predicted to 2.4 % from single operators, to 1.7 % from stacks of four).
    """
    if stack < 1:
        raise ConfigError(f"a stack of {stack} operators cannot be timed; it must be at least 1")
    specs = space.distinct_specs()
    refused = {spec: why for spec in specs if (why := device.unsupported(spec)) is not None}
    rows, left = _sorted_out([spec for spec in specs if spec not in refused], known or {})
    report = progress or _nobody
    report(len(rows) + len(refused), len(specs))
    overhead_ms = _overhead_ms(device, rounds, seconds)
    groups = _Groups(device, [same[0] for same in left], rounds, seconds, stack)
    twins = {same[0]: same for same in left}

    def told(number: int) -> None:
        fresh = {}
        for spec, samples in groups.timed(number).items():
            fresh.update(dict.fromkeys(twins[spec], _each(samples, _copies(spec, stack), overhead_ms)))
        rows.update(fresh)
        if on_rows is not None:
            on_rows(fresh)

    for number in range(len(groups)):
        groups.watched.add()
        refused.update({twin: why for spec, why in groups.failed.items() for twin in twins[spec]})
        told(number)
        report(len(rows) + len(refused), len(specs))
    while due := groups.watched.due():
        waiting = len(due) * GROUP
        for number in due:
            report(max(0, len(rows) + len(refused) - waiting), len(specs))
            groups.watched.again(number)
            told(number)
            waiting -= GROUP
        report(len(rows) + len(refused), len(specs))
    for number in range(len(groups)):  # the usual pace is known only now
        told(number)
    provenance = {
        **device.facts(),
        "device": device.name,
        "overhead_ms": overhead_ms,
        "stack": stack,
        "rounds": rounds,
        "seconds": seconds,
        "free": [str(spec) for spec in rows if not ops.graph(spec).nodes],
    }
    ordered = {spec: rows[spec] for spec in specs if spec in rows}
    return LatencyTable(rows=ordered, provenance=provenance, unsupported=refused)


def _sorted_out(
    specs: Sequence[OpSpec], known: Mapping[OpSpec, Samples]
) -> tuple[dict[OpSpec, Samples], list[list[OpSpec]]]:
    """Rows that need no timing, and what is left to time: lists of operators with one graph."""
    twins: dict[Graph, list[OpSpec]] = {}
    for spec in specs:
        twins.setdefault(ops.graph(spec), []).append(spec)
    rows: dict[OpSpec, Samples] = {}
    left = []
    for graph, same in twins.items():
        found = [known[spec] for spec in same if spec in known]
        if not graph.nodes:  # nothing to run: free by construction, not by measurement
            found = [Samples((0.0,))]
        if found:
            rows.update(dict.fromkeys(same, found[0]))
        else:
            left.append(same)
    return rows, left


def _nobody(done: int, total: int) -> None:
    return None


class _Groups:
    """Operators in groups that are timed at once, beside a witness: the first operator that loads.

    failed : why operators could not be timed.
    """

    def __init__(
        self, device: Device, specs: Sequence[OpSpec], rounds: int, seconds: float, stack: int
    ) -> None:
        self._device, self._rounds, self._seconds, self._stack = device, rounds, seconds, stack
        self._groups = [list(specs[start : start + GROUP]) for start in range(0, len(specs), GROUP)]
        self._timed: dict[int, list[OpSpec]] = {}
        self._witness: Session | None = None
        self.failed: dict[OpSpec, str] = {}
        self.watched = Watched(self._measured)

    def __len__(self) -> int:
        return len(self._groups)

    def timed(self, number: int) -> dict[OpSpec, Samples]:
        """Samples of a group's stacks as they count by now."""
        return dict(zip(self._timed[number], self.watched.samples(number), strict=True))

    def _measured(self, number: int) -> tuple[list[Samples], Samples]:
        known = self._timed.get(number)
        loaded: dict[OpSpec, Session] = {}
        for spec in self._groups[number] if known is None else known:
            try:
                session = _session(self._device, (spec,) * _copies(spec, self._stack))
                session.time(1)  # some runtimes load what they cannot run
                loaded[spec] = session
            except (ModelError, OperatorError) as error:
                if known is not None:  # it ran the first time, and that has to do
                    return [], Samples((math.inf,))
                self.failed[spec] = str(error)
        self._timed[number] = list(loaded)
        if self._witness is None:
            self._witness = next(iter(loaded.values()), None)
        if self._witness is None:
            return [], Samples((math.nan,))
        return beside(self._witness, list(loaded.values()), rounds=self._rounds, seconds=self._seconds)


def _copies(spec: OpSpec, stack: int) -> int:
    """How many of an operator are timed at once: a classifier's output cannot be fed to it again."""
    chains = spec.stride == 1 and spec.cin == spec.cout and ops.graph(spec).nodes[-1].op != "linear"
    return stack if chains else 1


def _each(samples: Samples, copies: int, overhead_ms: float) -> Samples:
    values = tuple(max(LEAST_MS, (value - overhead_ms) / copies) for value in samples.values_ms)
    return replace(samples, values_ms=values)


def _session(device: Device, specs: Sequence[OpSpec]) -> Session:
    return device.load(device.export(random_network(specs, np.random.default_rng(0))))


def _overhead_ms(device: Device, rounds: int, seconds: float) -> float:
    """What a call costs whatever it computes, milliseconds: that of an almost empty model."""
    session = _session(device, [_EMPTY])
    # Three times the same: from three on `measure` tells the usual pace instead of the best.
    return float(np.median([one.median_ms for one in measure([session] * 3, rounds=rounds, seconds=seconds)]))


def measure_architectures(
    device: Device,
    space: SearchSpace,
    archs: Any,
    *,
    rounds: int = 5,
    seconds: float = 0.02,
    progress: Progress | None = None,
) -> list[Samples]:
    """Latency samples of whole networks with random weights, exported as they would ship.

    archs : (n, layers) integers; the result has n entries. progress : told (networks done, networks in all).
    Raises SpaceError where archs do not fit the space, ModelError where the device cannot run a network.
    """
    archs = space.checked(archs)
    samples: list[Samples] = []
    for start in range(0, len(archs), NETWORKS_AT_ONCE):
        sessions = load_architectures(device, space, archs[start : start + NETWORKS_AT_ONCE])
        samples += measure(sessions, rounds=rounds, seconds=seconds)
        (progress or _nobody)(len(samples), len(archs))
    return samples


def load_architectures(device: Device, space: SearchSpace, archs: Archs) -> list[Session]:
    """Whole networks with random weights, exported as they would ship, and loaded: one session a row of archs."""
    return [device.load(device.export(random_architecture(space, arch))) for arch in archs]


def measure_architecture(device: Device, space: SearchSpace, indices: Sequence[int]) -> Samples:
    """Latency samples of one whole network with random weights, exported as it would ship.

    indices : one choice a layer. Raises SpaceError where they do not fit the space.
    """
    return measure_architectures(device, space, np.asarray(indices)[None], rounds=5, seconds=0.1)[0]


def bench_model(device: Device, path: str | Path, *, rounds: int = 5, seconds: float = 0.2) -> Samples:
    """Latency samples of any exported model on a device, at batch 1 on fixed random input.

    Raises ModelError where the file is no model, cannot run there, or leaves other sizes than the batch open.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"there is no model {path}; give the path of an exported model ({device.suffix})")
    try:
        session = device.load(path)
    except ModelError as error:
        raise ModelError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    return measure([session], rounds=rounds, seconds=seconds)[0]
