"""Everything Hurricane can ask its user to put right: one tree, one sentence each.

A message says what was found, what was needed and what to do next. The command line prints it and
exits with status 2; any other exception is a bug and keeps its traceback.
"""


class HurricaneError(Exception):
    """Something the user can put right; the message is one sentence that says how."""


class ConfigError(HurricaneError):
    """A setting, budget or option that cannot be used as given."""


class DataError(HurricaneError):
    """Pictures or labels that cannot be read or are too few to learn from."""


class DeviceError(HurricaneError):
    """A device that is unknown, out of reach, or given settings that it does not have."""


class MissingExtraError(DeviceError):
    """A back end whose package is not installed; the message names the extra to install."""


class OperatorError(HurricaneError):
    """An operator that does not exist, or cannot stand at the place where it was put."""


class SpaceError(HurricaneError):
    """A search space or an architecture that does not fit together."""


class LatencyError(HurricaneError):
    """A latency table that is damaged, or lacks an operator that is asked of it."""


class RunError(HurricaneError):
    """A run folder that cannot be used: not a run, in use, of other settings or of a newer format."""


class ModelError(HurricaneError):
    """A file that is not a model the device can load."""


class InfeasibleBudget(HurricaneError):  # noqa: N818 - part of the fixed public surface
    """No architecture of the space costs what the budget allows.

    Attributes
    ----------
    budget_ms : the budget that was asked for, milliseconds.
    cheapest_ms : the least that an architecture of the space costs, milliseconds.
    """

    def __init__(self, budget_ms: float, cheapest_ms: float, advice: str) -> None:
        figures = [(f"{budget_ms:.{digits}g}", f"{cheapest_ms:.{digits}g}") for digits in range(6, 18)]
        # As few digits as tell the two apart.
        budget, cheapest = next((pair for pair in figures if pair[0] != pair[1]), figures[0])
        super().__init__(
            f"no architecture fits a budget of {budget} ms: the cheapest costs {cheapest} ms; {advice}"
        )
        self.budget_ms = budget_ms
        self.cheapest_ms = cheapest_ms
