"""The one measurement: warm-up, calibrated blocks, interleaved rounds, a gate on disagreement.

Spread between processes on a shared machine is 1 to 4 % for the median of a block, but slow spells of seconds are 2 to
6 times slower; so every session has its turn in every round, and only rounds that agree with the best one count.
"""

from collections.abc import Callable, Sequence

import numpy as np

from hurricane.devices.protocol import Session
from hurricane.errors import ConfigError
from hurricane.latency import Samples

WARM_UP_SECONDS = 0.01
# A round whose median is this far above the best round's fell into a slow spell.
SLOW_SPELL = 1.10
# Two rounds this close say that neither was disturbed.
AGREEMENT = 1.05
EXTRA_ROUNDS = 3
MIN_RUNS, MAX_RUNS = 5, 5000
# Samples kept of each thing; their quantiles are those of all runs.
MAX_KEPT = 200

Block = list[float]


def measure(
    sessions: Sequence[Session],
    *,
    rounds: int = 3,
    seconds: float = 0.05,
    progress: Callable[[int, int], None] | None = None,
) -> list[Samples]:
    """Latency samples of each session, milliseconds, at batch 1.

    rounds : turns that each session has, interleaved; what disagrees has up to three more.
    seconds : that one turn lasts, warm-up not counted; a turn has 5 to 5000 runs.
    progress : told (turns done, turns planned).

    Raises ConfigError where rounds or seconds are not positive.
    """
    if rounds < 1 or not seconds > 0:
        raise ConfigError(f"{rounds} rounds of {seconds} s cannot be measured; both must be above 0")
    blocks: list[list[Block]] = [[] for _ in sessions]
    planned, done = rounds * len(sessions), 0
    for _ in range(rounds):
        for session, mine in zip(sessions, blocks, strict=True):
            mine.append(_block(session, seconds))
            done += 1
            if progress is not None:
                progress(done, planned)
    for _ in range(EXTRA_ROUNDS):
        # Interleaved again: one after the other, they would share a slow spell.
        for session, mine in zip(sessions, blocks, strict=True):
            if not _agree(mine):
                mine.append(_block(session, seconds))
    return [_samples(mine) for mine in blocks]


def _block(session: Session, seconds: float) -> Block:
    """One turn. Lengths follow from the session's own figures, so a simulated one takes no real time."""
    each = max(min(session.time(2)), 1e-4) / 1e3
    session.time(int(np.clip(WARM_UP_SECONDS / each, 1, MAX_RUNS)))
    return session.time(int(np.clip(seconds / each, MIN_RUNS, MAX_RUNS)))


def _agree(blocks: Sequence[Block]) -> bool:
    medians = sorted(float(np.median(block)) for block in blocks)
    return len(medians) == 1 or medians[1] <= medians[0] * AGREEMENT


def _samples(blocks: Sequence[Block]) -> Samples:
    medians = [float(np.median(block)) for block in blocks]
    best = min(medians)
    kept = [block for block, median in zip(blocks, medians, strict=True) if median <= best * SLOW_SPELL]
    dropped = sum(map(len, blocks)) - sum(map(len, kept))
    values = np.concatenate([np.asarray(block) for block in kept])
    if len(values) > MAX_KEPT:
        # Evenly through the sorted values, from the middle of each share: the quantiles stay.
        shares = (np.arange(MAX_KEPT) + 0.5) / MAX_KEPT
        values = np.sort(values)[(shares * len(values)).astype(int)]
    unstable = None
    if not _agree(blocks):
        others = ", ".join(f"{median:.3g}" for median in sorted(medians)[1:3])
        unstable = f"no two of {len(blocks)} rounds agree within 5 %: best {best:.3g} ms, next {others} ms"
    return Samples(tuple(values.tolist()), unstable, dropped)
