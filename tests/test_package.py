"""What importing and listing load."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import transnas", ["numpy", "torch", "optuna", "matplotlib", "ray"]),
        ("import transnas; transnas.spaces.names()", ["torch", "optuna"]),
        ("import transnas; transnas.strategies.names()", ["torch", "optuna", "ray", "matplotlib"]),
    ],
)
def test_imports_are_lazy(code: str, absent: list[str]) -> None:
    check = f"{code}; import sys; print([m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
