"""Results of benchmarks as JSON, with the machine and the commit they came from."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_FLAT = re.compile(r"\[[^][{}]*\]")
"""A list of numbers or names: one line of the file."""


def machine() -> dict[str, Any]:
    """Return what a reader needs to place a figure: processor, cores, versions, commit."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    packages = ("numpy", "scipy", "torch", "optuna")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        **_gpu(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "commit": _commit(),
        "date": date.today().isoformat(),
    }


def _gpu() -> dict[str, str]:
    """Return the name of the GPU, if there is one."""
    import torch

    return {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}


def _commit() -> str:
    """Return the commit, marked `-dirty` if anything but results differs from it."""

    def git(*words: str) -> str:
        call = ["git", "-C", str(RESULTS.parents[1]), *words]
        return subprocess.run(call, capture_output=True, text=True).stdout.strip()

    changed = git("diff", "--stat", "HEAD", "--", ".", ":!benchmarks/results", ":!docs/results")
    return git("describe", "--always") + ("-dirty" if changed else "")


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Write benchmarks/results/<name>.json, with the machine, and return its path."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine(), **result}, indent=1)
    path.write_text(_FLAT.sub(lambda found: " ".join(found[0].split()), text) + "\n")
    return path
