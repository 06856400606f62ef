"""The one measurement: warm-up, calibrated blocks, interleaved rounds, a gate on disagreement.

A processor's pace wanders by some percent within a tenth of a second to a second, and spells of seconds are 2 to 6
times slower: a longer block averages out little, but sessions that take short turns all see the same pace
(benchmarks/pace.py). So turns are short, what a round was slower for all is taken out, and rounds that agree count.
"""

from collections.abc import Callable, Sequence

import numpy as np

from hurricane.devices.protocol import Session
from hurricane.errors import ConfigError
from hurricane.latency import Floats, Samples

# Until another network's weights have left the cache: the first run is 1 to 6 % slower, the eighth at most 1 %.
WARM_UP_SECONDS = 0.02
# A round whose median is this far above the usual fell into a slow spell.
SLOW_SPELL = 1.10
# Two rounds this close say that neither was disturbed.
AGREEMENT = 1.05
EXTRA_ROUNDS = 3
MIN_RUNS, MAX_RUNS = 3, 5000
# Samples kept of each thing; their quantiles are those of all runs.
MAX_KEPT = 200
# Sessions that tell the pace of a round apart from their own noise.
FEWEST_TOGETHER = 3
SWEEPS = 5

Block = list[float]


def measure(
    sessions: Sequence[Session],
    *,
    rounds: int = 5,
    seconds: float = 0.02,
    progress: Callable[[int, int], None] | None = None,
) -> list[Samples]:
    """Latency samples of each session, milliseconds, at batch 1.

    From three sessions on, a round that was slower or faster for all of them is scaled to the usual pace of these
    rounds. One or two cannot tell the machine's pace from their own noise: of them the rounds near the best count.

    rounds : turns that each session has, interleaved; what disagrees has up to three more.
    seconds : that one turn lasts, warm-up not counted; a turn has 3 to 5000 runs.
    progress : told (turns done, turns planned).

    Raises ConfigError where rounds or seconds are not positive.
    """
    if rounds < 1 or not seconds > 0:
        raise ConfigError(f"{rounds} rounds of {seconds} s cannot be measured; both must be above 0")
    turns: list[dict[int, Block]] = [{} for _ in sessions]
    together = len(sessions) >= FEWEST_TOGETHER
    planned, done = rounds * len(sessions), 0
    for number in range(rounds):
        for session, mine in zip(sessions, turns, strict=True):
            mine[number] = _block(session, seconds)
            done += 1
            if progress is not None:
                progress(done, planned)
    for number in range(rounds, rounds + EXTRA_ROUNDS):
        # Interleaved again: one after the other, they would share a slow spell.
        again = {place for place, blocks in enumerate(_at_usual_pace(turns)) if not _agree(blocks)}
        if again and together:
            again |= set(range(FEWEST_TOGETHER))  # so many that they tell the pace of this round, too
        for place in sorted(again):
            turns[place][number] = _block(sessions[place], seconds)
    return [_samples(blocks, together) for blocks in _at_usual_pace(turns)]


def _block(session: Session, seconds: float) -> Block:
    """One turn. Lengths follow from the session's own figures, so a simulated one takes no real time."""
    each = max(min(session.time(2)), 1e-4) / 1e3
    session.time(int(np.clip(WARM_UP_SECONDS / each, 1, MAX_RUNS)))
    return session.time(int(np.clip(seconds / each, MIN_RUNS, MAX_RUNS)))


def _at_usual_pace(turns: Sequence[dict[int, Block]]) -> list[list[Floats]]:
    """The blocks of each session, divided by the pace of their rounds."""
    count = 1 + max((max(mine) for mine in turns), default=0)
    medians = np.full((len(turns), count), np.nan)
    for row, mine in zip(medians, turns, strict=True):
        for number, block in mine.items():
            row[number] = np.median(block)
    pace = _pace(medians)
    return [[np.asarray(block) / pace[number] for number, block in mine.items()] for mine in turns]


def _pace(medians: Floats) -> Floats:
    """How much slower than usual each round was for all: (rounds,) factors, from medians (sessions, rounds).

    Median polish of logarithms: level of the session + pace of the round. NaN: no turn. 1 where too few tell.
    """
    pace, told = np.zeros(medians.shape[1]), (~np.isnan(medians)).sum(axis=0) >= FEWEST_TOGETHER
    if told.any():
        logs = np.log(np.maximum(medians, 1e-9))
        for _ in range(SWEEPS):
            own = np.nanmedian(logs - pace, axis=1, keepdims=True)
            pace[told] = np.nanmedian((logs - own)[:, told], axis=0)
            pace[told] -= np.median(pace[told])
    return np.exp(pace)


def _agree(blocks: Sequence[Floats]) -> bool:
    medians = sorted(float(np.median(block)) for block in blocks)
    return len(medians) == 1 or medians[1] <= medians[0] * AGREEMENT


def _samples(blocks: Sequence[Floats], together: bool) -> Samples:
    """What counts of the blocks: those near the best, or, where the machine's pace is out, near the middle one."""
    medians = [float(np.median(block)) for block in blocks]
    usual = float(np.median(medians)) if together else min(medians)
    kept = [block for block, median in zip(blocks, medians, strict=True) if median <= usual * SLOW_SPELL]
    dropped = sum(map(len, blocks)) - sum(map(len, kept))
    values = np.concatenate(kept)
    if len(values) > MAX_KEPT:
        # Evenly through the sorted values, from the middle of each share: the quantiles stay.
        shares = (np.arange(MAX_KEPT) + 0.5) / MAX_KEPT
        values = np.sort(values)[(shares * len(values)).astype(int)]
    unstable = None
    if not _agree(blocks):
        others = ", ".join(f"{median:.3g}" for median in sorted(medians)[1:3])
        best = min(medians)
        unstable = f"no two of {len(blocks)} rounds agree within 5 %: best {best:.3g} ms, next {others} ms"
    return Samples(tuple(values.tolist()), unstable, dropped)
