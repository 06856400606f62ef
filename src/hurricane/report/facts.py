"""What a report is made from: plain values, gathered by a step and read by the page; missing parts are empty."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome on the device. Latencies in milliseconds, accuracies as fractions of the test split.

    architecture : choice names, one a layer. unstable : why the measurement is not steady, None where it is.
    """

    budget_ms: float
    predicted_ms: float
    measured_ms: float
    p10_ms: float
    p90_ms: float
    within: bool
    top1: float
    top1_torch: float
    balanced_top1: float
    test_pictures: int
    params: int
    macs: int
    model: str
    unstable: str | None = None
    device: str = ""
    architecture: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "architecture", tuple(self.architecture))


@dataclass(frozen=True, slots=True)
class ChoiceFacts:
    """One operator at one layer. cost_ms is None where it was not timed (`reason` says why)."""

    name: str
    cost_ms: float | None
    score: float
    kept: bool
    reason: str
    macs: int | None = None
    params: int | None = None


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """One searched layer with the judgement of each of its choices."""

    number: int
    cin: int
    cout: int
    stride: int
    size: int
    choices: tuple[ChoiceFacts, ...]


@dataclass(frozen=True, slots=True)
class SpaceFacts:
    """The space before and after it was made hardware-aware. share: within the budget, 0 to 1."""

    preset: str
    width: float
    depth: float
    width_reason: str
    beta: float
    layers: tuple[LayerFacts, ...]
    size_before: float
    size_after: float
    share_before: float
    share_after: float
    cheapest_ms: float
    dearest_ms: float


@dataclass(frozen=True, slots=True)
class LatencyPoint:
    """A measured whole network: the table's sum, what was predicted before it was measured, and what was measured.

    low_ms, high_ms : between which it was expected in 9 of 10 cases; None where that was not recorded.
    """

    table_ms: float
    predicted_ms: float
    measured_ms: float
    low_ms: float | None = None
    high_ms: float | None = None


@dataclass(frozen=True, slots=True)
class ScoredFacts:
    """An architecture scored by the supernet, in the order of scoring.

    source : "search" or "random". stage : name of an earlier stage; empty for the search that found the winner.
    """

    source: str
    cost_ms: float
    score: float
    stage: str = ""


@dataclass(frozen=True, slots=True)
class Finalist:
    """One of the best by score and by what they compute, measured whole on the device before anything was retrained.

    fits : whether what was measured keeps the budget. outcome : what became of it, in words. score : None without a
    search. mixing_macs : multiply-accumulates of one picture, without those of depthwise convolutions.
    """

    architecture: tuple[str, ...]
    score: float | None
    mixing_macs: int
    predicted_ms: float
    measured_ms: float
    fits: bool
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """One operator of the winner. share: of the network's latency, 0 to 1."""

    place: str
    kind: str
    cin: int
    cout: int
    stride: int
    size: int
    cost_ms: float
    share: float
    macs: int
    params: int


@dataclass(frozen=True, slots=True)
class Curve:
    """A training: (epoch, loss, share of augmented training pictures recognised or None) points."""

    name: str
    points: tuple[tuple[int, float, float | None], ...]


@dataclass(frozen=True, slots=True)
class Rival:
    """What the winner has to beat, trained by the same recipe."""

    name: str
    measured_ms: float
    top1: float
    how: str


@dataclass(frozen=True)
class ReportFacts:
    """Everything that the page shows. What a run lacks is None or empty, and the page says that it is missing.

    device, data, versions : facts in words and numbers; of `data` the page knows `image_size` (pixels) and
        `balanced` (bool), and lists the rest.
    rejected : (predicted, measured) milliseconds of finalists whose file missed the budget.
    command : those that made the run, one a line.
    searched : whether there was a choice of operators, or one for all layers (`--no-search`).
    gain : what a search could gain above one operator at all layers, in words.
    seconds : of each step. winner : (cost, score) of the architecture that was chosen.
    per_class : (class, test pictures, recognised). confusion : rows true, columns predicted.
    """

    command: str
    created: str
    seed: int
    device: Mapping[str, Any]
    data: Mapping[str, Any]
    versions: Mapping[str, str]
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    verdict: Verdict | None = None
    rejected: tuple[tuple[float, float], ...] = ()
    space: SpaceFacts | None = None
    points: tuple[LatencyPoint, ...] = ()
    searched: bool = True
    gain: str = ""
    scored: tuple[ScoredFacts, ...] = ()
    finalists: tuple[Finalist, ...] = ()
    winner: tuple[float, float] | None = None
    architecture: tuple[OperatorRow, ...] = ()
    curves: tuple[Curve, ...] = ()
    per_class: tuple[tuple[str, int, int], ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    rivals: tuple[Rival, ...] = ()
