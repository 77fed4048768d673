"""Start-up times: `import transnas` (goal < 0.3 s) and `transnas --help` (goal < 0.5 s).

    python benchmarks/startup.py

Writes benchmarks/results/startup.json.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from _record import write_result

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import transnas": [sys.executable, "-c", "import transnas"],
    "transnas --help": [str(Path(sys.executable).parent / "transnas"), "--help"],
    "transnas list strategies": [
        str(Path(sys.executable).parent / "transnas"), "list", "strategies",
    ],
}  # fmt: skip
RUNS = 11


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    rows = {}
    for name, command in COMMANDS.items():
        seconds(command)  # the first run fills the file cache
        times = [seconds(command) for _ in range(RUNS)]
        rows[name] = {
            "median_s": statistics.median(times),
            "min_s": min(times),
            "max_s": max(times),
        }
        print(f"{name:28s} {rows[name]['median_s']:.3f} s")
    write_result("startup", {"runs": RUNS, "commands": rows})


if __name__ == "__main__":
    main()
