"""Published-size searches on CIFAR-10, in pieces that each end within ten minutes.

    python benchmarks/gpu/oneshot.py --method pc-darts --space darts --out runs --minutes 9

Repeat the command until it prints what was found: each call goes on exactly where the last one was
stopped, from the checkpoint in --out. Then it writes <out>/<method>-<space>-<seed>.json, with the
derived architecture, the curve, the time and the machine. --smoke tries it on a CPU in seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from _record import machine

from transnas import oneshot, spaces, tasks


class OutOfTime(Exception):
    """This call's time is over; the checkpoint is there."""


def main() -> int:
    """Search for a piece of time; return 3 if more is to be done."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--method", default="pc-darts")
    parser.add_argument("--space", default="darts")
    parser.add_argument("--task", default="cifar10")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="default: as published")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument(
        "--smoke", action="store_true", help="digits, a tiny supernet, three epochs"
    )
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    name = f"{given.method}-{given.space}-{given.seed}"
    settings: Any = replace(oneshot.get(given.method).Settings(), precision=given.precision)
    skeleton, task = None, given.task
    if given.smoke:
        name, task, skeleton = f"smoke-{name}", "digits", {"channels": 8, "layers": 3}
        settings = replace(settings, epochs=3, logits_from=0, precision="32-true", batch_size=256)
    elif given.epochs is not None:
        settings = replace(settings, epochs=given.epochs)
    started = time.monotonic()

    def until(epoch: int, metrics: Mapping[str, float]) -> None:
        numbers = ", ".join(f"{k} {v:.4g}" for k, v in metrics.items())
        print(f"epoch {epoch}/{settings.epochs}: {numbers}", flush=True)
        if time.monotonic() - started > 60 * given.minutes and epoch < settings.epochs:
            raise OutOfTime

    try:
        found = oneshot.search(
            tasks.get(task),
            spaces.get(given.space),
            given.method,
            settings,
            skeleton=skeleton,
            seed=given.seed,
            checkpoint=given.out / f"{name}.safetensors",
            progress=until,
        )
    except OutOfTime:
        print("stopped in time; the same command goes on")
        return 3
    result = {
        "machine": machine(),
        "device": found.method.at.label,
        "method": given.method,
        "space": given.space,
        "task": task,
        "seed": given.seed,
        "architecture": spaces.get(given.space).to_text(found.architecture),
        "seconds": found.seconds,
        "curve": found.curve,
    }
    path = given.out / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(result["architecture"], path, sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
