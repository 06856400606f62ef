"""Latency learned from whole networks: a table corrected by a few of them, or no table at all."""

from hurricane.latency_model.choosing import informative
from hurricane.latency_model.model import LatencyModel, fit_latency

__all__ = ["LatencyModel", "fit_latency", "informative"]
