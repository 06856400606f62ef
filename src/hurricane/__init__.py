"""Hurricane: hardware-aware neural architecture search that keeps a measured latency budget.

    import hurricane as hn

The names listed in `__all__` are the public surface. They load on first use, so that importing the package
costs next to nothing; only training needs torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "OPERATORS": "hurricane.ops",
    "LayerSpec": "hurricane.space",
    "SearchSpace": "hurricane.space",
    "preset": "hurricane.space",
    "LatencyTable": "hurricane.latency",
    "LatencyModel": "hurricane.latency_model",
    "fit_latency": "hurricane.latency_model",
    "HurricaneError": "hurricane.errors",
    "InfeasibleBudget": "hurricane.errors",
    "specialize": "hurricane.specialization",
    "sample": "hurricane.search",
    "evolve": "hurricane.search",
    "open_device": "hurricane.devices",
    "profile": "hurricane.devices",
    "measure_architecture": "hurricane.devices",
    "export_architecture": "hurricane.export",
}

__all__ = [*sorted(_HOME), "__version__"]  # noqa: PLE0604

if TYPE_CHECKING:
    from hurricane.devices import measure_architecture, open_device, profile
    from hurricane.errors import HurricaneError, InfeasibleBudget
    from hurricane.export import export_architecture
    from hurricane.latency import LatencyTable
    from hurricane.latency_model import LatencyModel, fit_latency
    from hurricane.ops import OPERATORS
    from hurricane.search import evolve, sample
    from hurricane.space import LayerSpec, SearchSpace, preset
    from hurricane.specialization import specialize


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hurricane' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
