"""The one measurement: warm-up, calibrated blocks, interleaved rounds, a gate on disagreement.

Spread between processes on a shared machine is 1 to 4 % for the median of a block, but slow spells of seconds are 2 to
6 times slower; so every session has its turn in every round, and only rounds that agree with the best one count.
"""

from collections.abc import Callable, Sequence

import numpy as np

from hurricane.devices.protocol import Session
from hurricane.latency import Samples

WARM_UP_SECONDS = 0.01
SLOW_SPELL = 1.10
AGREEMENT = 1.05
EXTRA_ROUNDS = 3
MAX_RUNS, MAX_KEPT = 2000, 200


def measure(
    sessions: Sequence[Session],
    *,
    rounds: int = 3,
    seconds: float = 0.05,
    progress: Callable[[int, int], None] | None = None,
) -> list[Samples]:
    """Latency samples of each session, milliseconds, at batch 1.

    rounds : turns that each session has, interleaved. seconds : that one turn lasts, warm-up not counted.
    progress : told (turns done, turns planned).
    """
    blocks: list[list[list[float]]] = [[] for _ in sessions]
    planned, done = rounds * len(sessions), 0
    for _ in range(rounds):
        for session, mine in zip(sessions, blocks, strict=True):
            mine.append(_block(session, seconds))
            done += 1
            if progress is not None:
                progress(done, planned)
    for session, mine in zip(sessions, blocks, strict=True):
        for _ in range(EXTRA_ROUNDS):
            if _agree(mine):
                break
            mine.append(_block(session, seconds))
    return [_samples(mine) for mine in blocks]


def _block(session: Session, seconds: float) -> list[float]:
    warm = session.time(2)
    each = max(min(warm), 1e-4) / 1e3
    session.time(int(np.clip(WARM_UP_SECONDS / each, 1, MAX_RUNS // 4)))
    return session.time(int(np.clip(seconds / each, 5, MAX_RUNS)))


def _agree(blocks: Sequence[Sequence[float]]) -> bool:
    medians = sorted(float(np.median(block)) for block in blocks)
    return len(medians) == 1 or medians[1] <= medians[0] * AGREEMENT


def _samples(blocks: Sequence[Sequence[float]]) -> Samples:
    medians = [float(np.median(block)) for block in blocks]
    best = min(medians)
    kept = [block for block, median in zip(blocks, medians, strict=True) if median <= best * SLOW_SPELL]
    dropped = sum(map(len, blocks)) - sum(map(len, kept))
    values = np.concatenate([np.asarray(block) for block in kept])
    if len(values) > MAX_KEPT:
        # Evenly through the sorted values: the quantiles stay.
        values = np.sort(values)[np.linspace(0, len(values) - 1, MAX_KEPT).round().astype(int)]
    unstable = None
    if not _agree(blocks):
        others = ", ".join(f"{median:.3g}" for median in sorted(medians)[1:3])
        unstable = f"no two of {len(blocks)} rounds agree within 5 %: best {best:.3g} ms, next {others} ms"
    return Samples(tuple(float(value) for value in values), unstable, dropped)
