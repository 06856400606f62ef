"""Profiles: every distinct operator of a space timed, and whole networks measured as they would ship."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hurricane import ops
from hurricane.devices.measuring import measure
from hurricane.devices.protocol import Device, Session
from hurricane.errors import HurricaneError, ModelError
from hurricane.export import random_architecture, random_network
from hurricane.latency import LatencyTable, Samples
from hurricane.ops import Graph, OpSpec
from hurricane.space import SearchSpace

GROUP = 16
# A weight file of the largest networks has hundreds of megabytes; so many are held at once.
NETWORKS_AT_ONCE = 4
# A difference of two timings may come out at or below nothing; a thing that runs costs at least this.
LEAST_MS = 1e-5

Progress = Callable[[int, int], None]


def profile(
    device: Device,
    space: SearchSpace,
    *,
    known: Mapping[OpSpec, Samples] | None = None,
    on_rows: Callable[[Mapping[OpSpec, Samples]], None] | None = None,
    progress: Progress | None = None,
    rounds: int = 3,
    seconds: float = 0.05,
    stack: int = 4,
) -> LatencyTable:
    """The latency of every distinct operator of a space on a device (arXiv 1910.11609).

    Operators that come to the same graph at a place (sep_k3 and mb_k3_e1) are timed once. One that keeps its shape
    is timed as a stack and divided; the call's overhead is taken off. What the device refuses is left out with its
    reason.

    Parameters
    ----------
    known : rows that need not be timed again. on_rows : told every few operators what was timed.
    progress : told (operators done, operators in all). rounds, seconds : see `measure`.
    stack : equal operators timed at once.
    """
    specs = space.distinct_specs()
    rows: dict[OpSpec, Samples] = {
        spec: samples for spec, samples in (known or {}).items() if spec in set(specs)
    }
    refused: dict[OpSpec, str] = {}
    twins: dict[Graph, list[OpSpec]] = {}
    for spec in specs:
        reason = device.unsupported(spec)
        if reason is not None:
            refused[spec] = reason
        elif not ops.graph(spec).nodes:
            rows[spec] = Samples((0.0,))  # nothing to run: free by construction, not by measurement
        else:
            twins.setdefault(ops.graph(spec), []).append(spec)
    for same in twins.values():
        timed = next((rows[spec] for spec in same if spec in rows), None)
        if timed is not None:
            rows.update(dict.fromkeys(same, timed))
    overhead_ms = _overhead_ms(device, rounds, seconds)
    left = [same for same in twins.values() if same[0] not in rows]
    for start in range(0, len(left), GROUP):
        _report(progress, len(rows) + len(refused), len(specs))
        group = left[start : start + GROUP]
        timed_group = _time_group(
            device, [same[0] for same in group], rounds, seconds, stack, overhead_ms, refused
        )
        fresh = {spec: timed_group[same[0]] for same in group if same[0] in timed_group for spec in same}
        refused.update({spec: refused[same[0]] for same in group if same[0] in refused for spec in same})
        rows.update(fresh)
        if on_rows is not None:
            on_rows(fresh)
    _report(progress, len(specs), len(specs))
    provenance = {
        **device.facts(),
        "device": device.name,
        "overhead_ms": overhead_ms,
        "stack": stack,
        "rounds": rounds,
    }
    return LatencyTable(
        rows={s: rows[s] for s in specs if s in rows}, provenance=provenance, unsupported=refused
    )


def _report(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


def _time_group(
    device: Device,
    specs: Sequence[OpSpec],
    rounds: int,
    seconds: float,
    stack: int,
    overhead_ms: float,
    refused: dict[OpSpec, str],
) -> dict[OpSpec, Samples]:
    sessions: dict[OpSpec, Session] = {}
    for spec in specs:
        try:
            sessions[spec] = _session(device, (spec,) * _copies(spec, stack))
        except HurricaneError as error:
            refused[spec] = str(error)
    measured = measure(list(sessions.values()), rounds=rounds, seconds=seconds)
    return {
        spec: _each(samples, _copies(spec, stack), overhead_ms)
        for spec, samples in zip(sessions, measured, strict=True)
    }


def _copies(spec: OpSpec, stack: int) -> int:
    return stack if spec.stride == 1 and spec.cin == spec.cout else 1


def _each(samples: Samples, copies: int, overhead_ms: float) -> Samples:
    values = tuple(max(LEAST_MS, (value - overhead_ms) / copies) for value in samples.values_ms)
    return replace(samples, values_ms=values)


def _session(device: Device, specs: Sequence[OpSpec]) -> Session:
    return device.load(device.export(random_network(specs, np.random.default_rng(0))))


def _overhead_ms(device: Device, rounds: int, seconds: float) -> float:
    """What a call costs whatever it computes: an almost empty model (a shuffle-free 1x1 classifier of one pixel)."""
    session = _session(device, [OpSpec("classifier", 2, 2, 1, 1)])
    return measure([session], rounds=rounds, seconds=seconds)[0].median_ms


def measure_architectures(
    device: Device,
    space: SearchSpace,
    archs: Any,
    *,
    rounds: int = 3,
    seconds: float = 0.05,
    progress: Progress | None = None,
) -> list[Samples]:
    """Latency samples of whole networks with random weights, exported as they would ship: (n, layers) -> n."""
    archs = space.checked(archs)
    samples: list[Samples] = []
    for start in range(0, len(archs), NETWORKS_AT_ONCE):
        sessions = []
        for arch in archs[start : start + NETWORKS_AT_ONCE]:
            sessions.append(device.load(device.export(random_architecture(space, arch))))
        samples += measure(sessions, rounds=rounds, seconds=seconds)
        _report(progress, len(samples), len(archs))
    return samples


def measure_architecture(device: Device, space: SearchSpace, indices: Sequence[int]) -> Samples:
    """Latency samples of one whole network with random weights, exported as it would ship.

    indices : one choice a layer. Raises SpaceError where they do not fit the space.
    """
    return measure_architectures(device, space, np.asarray(indices)[None], rounds=5, seconds=0.1)[0]


def bench_model(device: Device, path: Path, *, rounds: int = 5, seconds: float = 0.2) -> Samples:
    """Latency samples of any exported model on a device; ModelError where the file is none."""
    if not path.is_file():
        raise ModelError(f"there is no model {path}; give the path of an exported model ({device.suffix})")
    return measure([device.load(path)], rounds=rounds, seconds=seconds)[0]
