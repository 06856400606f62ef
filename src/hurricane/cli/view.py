"""How a run is watched: bars on a terminal, plain lines elsewhere, silence on request."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

# A plain line is worth printing only for what takes longer than this, and not more often.
PLAIN_INTERVAL_S = 10.0


class TerminalView:
    """Rich progress bars with the time left, and lines above them; writes to stderr."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, label: str, total: float) -> Iterator["_TerminalBar"]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            yield _TerminalBar(progress, label, total)


class _TerminalBar:
    def __init__(self, progress: Progress, label: str, total: float) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=total)

    def advance(self, amount: float) -> None:
        self._progress.advance(self._task, amount)


class PlainView:
    """Plain lines: what is said, and now and then how far a long task is; writes to stderr."""

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    @contextmanager
    def bar(self, label: str, total: float) -> Iterator["_PlainBar"]:
        yield _PlainBar(label, total)


class _PlainBar:
    def __init__(self, label: str, total: float) -> None:
        self._label, self._total, self._done = label, total, 0.0
        self._started = self._told = time.monotonic()

    def advance(self, amount: float) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._told < PLAIN_INTERVAL_S or self._done <= 0:
            return
        self._told = now
        left = (now - self._started) * (self._total - self._done) / self._done
        print(
            f"{self._label}: {self._done / self._total:.0%}, {left:.0f} s left", file=sys.stderr, flush=True
        )
