"""The report: what a run found, as one self-contained HTML page."""

from hurricane.report.facts import (
    ChoiceFacts,
    Curve,
    Finalist,
    LatencyPoint,
    LayerFacts,
    OperatorRow,
    ReportFacts,
    Rival,
    ScoredFacts,
    SpaceFacts,
    Verdict,
)
from hurricane.report.page import render

__all__ = [
    "ChoiceFacts",
    "Curve",
    "Finalist",
    "LatencyPoint",
    "LayerFacts",
    "OperatorRow",
    "ReportFacts",
    "Rival",
    "ScoredFacts",
    "SpaceFacts",
    "Verdict",
    "render",
]
