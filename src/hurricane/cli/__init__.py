"""The command line: the user's words to one call; results and errors to words."""

from hurricane.cli.main import app, main

__all__ = ["app", "main"]
