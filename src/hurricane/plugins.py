"""What third parties add by entry points: operators, devices and data sources.

A package offers one in its own pyproject.toml, for instance

    [project.entry-points."hurricane.operators"]
    my_operator = "my_package:MyOperator"

and Hurricane finds it by that name once the package is installed.
"""

import difflib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from hurricane.errors import HurricaneError


@cache
def load(group: str) -> dict[str, Any]:
    """What installed packages offer in an entry point group, by name; a class is called to make its object.

    Raises HurricaneError where a plug-in does not import, naming it and the reason.
    """
    found: dict[str, Any] = {}
    for entry in entry_points(group=group):
        try:
            offered = entry.load()
            found[entry.name] = offered() if isinstance(offered, type) else offered
        except Exception as error:
            raise HurricaneError(
                f"the plug-in {entry.value!r} for {group} does not load ({error}); "
                "repair or uninstall the package that offers it"
            ) from error
    return found


def closest(word: str, known: Iterable[str]) -> str:
    """', did you mean X?' for the known word nearest to a mistyped one, or nothing."""
    match = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {match[0]!r}?" if match else ""
