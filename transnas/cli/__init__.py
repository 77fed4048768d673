"""The command line: parses, calls the API, prints."""

from transnas.cli._main import main

__all__ = ["main"]
