"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from transnas._data import data_folder


@pytest.fixture(scope="session")
def data_file() -> Callable[[str], Path]:
    """Return a function from a name under TRANSNAS_DATA to its path; skips where it is absent.

    In CI, absence is an error, so that no test is lost unseen.
    """

    def find(name: str) -> Path:
        path = data_folder() / name
        if not path.exists():
            if os.environ.get("CI"):
                pytest.fail(f"{path} is missing; CI needs it")
            pytest.skip(f"{path} is absent; set TRANSNAS_DATA")
        return path

    return find
